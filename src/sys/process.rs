//! Calls on processes that nix lacks: pidfds, close_range, prlimit, execveat, waiting by pidfd.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::resource::Resource;
use nix::unistd::Pid;

/// Returns a pidfd of the process `pid`: pidfd_open(2), Linux 5.3.
///
/// # Errors
/// ESRCH when there is no such process: also when a thread of another one has the number by now,
/// for which the kernel says EINVAL, or ENOENT since Linux 6.15.
pub fn pidfd_open(pid: Pid) -> nix::Result<OwnedFd> {
    // SAFETY: only numbers are passed.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) });
    let fd = fd.map_err(|errno| match errno {
        Errno::EINVAL | Errno::ENOENT => Errno::ESRCH,
        other => other,
    })?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EOVERFLOW)?;
    // SAFETY: the kernel has just made this descriptor for the caller; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends signal number `signal` to the process of `pidfd`: pidfd_send_signal(2), Linux 5.1.
///
/// # Errors
/// ESRCH when the process has ended and was reaped.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> nix::Result<()> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a NULL siginfo asks the kernel to fill it in as kill(2) does.
    let rc =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, 0) };
    Errno::result(rc).map(drop)
}

/// Marks every descriptor from `first` to `last` close-on-exec: close_range(2), Linux 5.11.
fn close_range_on_exec(first: u32, last: u32) -> nix::Result<()> {
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: only numbers are passed, and a flag on a descriptor breaks no owner.
    let rc = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    Errno::result(rc).map(drop)
}

/// Closes every descriptor from `first` to `last`: close_range(2), Linux 5.9.
///
/// For the moment after which only descriptors outside the range are used: an owner of one
/// inside must not touch it any more. Where a sandbox lacks the call they stay open until the
/// program is executed, being close-on-exec.
pub fn close_range(first: u32, last: u32) {
    // SAFETY: only numbers are passed. Init, the only caller, has let go of every owner of a
    // descriptor in the range: what is left there was inherited and has no owner.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}

/// Borrows a descriptor that the caller of this program left open under `number`.
///
/// # Errors
/// EBADF when there is none.
pub fn inherited_fd(number: RawFd) -> nix::Result<BorrowedFd<'static>> {
    // SAFETY: only numbers are passed; F_GETFD changes nothing.
    Errno::result(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    // SAFETY: the descriptor is open, as the call above shows, and stays so: it was inherited,
    // so nothing in this program owns or closes it.
    Ok(unsafe { BorrowedFd::borrow_raw(number) })
}

/// Sets the NIS domain name of the UTS namespace: setdomainname(2).
pub fn set_domain_name(name: &str) -> nix::Result<()> {
    // SAFETY: the kernel copies as many bytes as the string has.
    let rc = unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) };
    Errno::result(rc).map(drop)
}

/// Ends this process without running what was registered for the end: _exit(2).
pub fn exit_now(status: i32) -> ! {
    // SAFETY: the call has no precondition and does not return.
    unsafe { libc::_exit(status) }
}

/// Marks every descriptor after the standard streams close-on-exec.
///
/// By close_range(2) with `CLOSE_RANGE_CLOEXEC`, Linux 5.11, or one by one as procfs lists them.
pub fn close_inherited_on_exec() {
    if close_range_on_exec(3, u32::MAX).is_ok() {
        return;
    }
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers: Vec<RawFd> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // SAFETY: only numbers are passed, and a flag on a descriptor breaks no owner.
        unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Sets soft and hard limit of `resource` for `pid`: prlimit(2).
pub fn prlimit(pid: Pid, resource: Resource, soft: u64, hard: u64) -> nix::Result<()> {
    let new = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    let old = std::ptr::null_mut::<libc::rlimit64>();
    // SAFETY: `new` lives during the call and is copied; no old value is asked for.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            pid.as_raw(),
            resource as i64,
            std::ptr::from_ref(&new),
            old,
        )
    };
    Errno::result(rc).map(drop)
}

/// Binds the caller to the processors of a mask, as far as its cgroup has them:
/// sched_setaffinity(2).
///
/// # Errors
/// EINVAL when none of them can be had.
pub fn set_affinity(mask: &[u8]) -> nix::Result<()> {
    let (size, mask) = (mask.len(), mask.as_ptr());
    // SAFETY: the kernel reads `size` bytes, which live during the call; 0 is the caller.
    Errno::result(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size, mask) }).map(drop)
}

/// Returns the mask of the caller's processors: sched_getaffinity(2).
pub fn affinity() -> nix::Result<Vec<u8>> {
    let mut mask = vec![0_u8; 8192];
    let (size, bytes) = (mask.len(), mask.as_mut_ptr());
    // SAFETY: the kernel writes at most `size` bytes to the buffer, which lives longer; 0 is the
    // caller.
    let rc = unsafe { libc::syscall(libc::SYS_sched_getaffinity, 0, size, bytes) };
    mask.truncate(usize::try_from(Errno::result(rc)?).map_err(|_| Errno::EOVERFLOW)?);
    Ok(mask)
}

/// Sets the execution domain of the caller: personality(2).
pub fn set_personality(domain: u32) -> nix::Result<()> {
    // SAFETY: only a number is passed.
    Errno::result(unsafe { libc::personality(domain.into()) }).map(drop)
}

/// A NULL-terminated vector of C strings, built before a filter may forbid allocation.
#[derive(Debug)]
pub struct Vector {
    // `pointers` points into `strings`, whose buffers do not move with the vector.
    strings: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

impl Vector {
    /// Takes the strings over and makes the array of pointers to them.
    #[must_use]
    pub fn new(strings: Vec<CString>) -> Self {
        let mut pointers: Vec<_> = strings.iter().map(|s| s.as_ptr()).collect();
        pointers.push(std::ptr::null());
        Self { strings, pointers }
    }

    /// The strings, in order.
    #[must_use]
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }
}

/// Replaces the process image by the program at `path`: execve(2). Returns only an error.
#[must_use]
pub fn execve(path: &CStr, argv: &Vector, envp: &Vector) -> Errno {
    // SAFETY: the path and all strings end in NUL, both arrays end in NULL, and all of them
    // live in the caller until the call either fails or replaces this image.
    unsafe { libc::execve(path.as_ptr(), argv.pointers.as_ptr(), envp.pointers.as_ptr()) };
    Errno::last()
}

/// Replaces the process image by the open file `program`: execveat(2). Returns only an error.
#[must_use]
pub fn execveat(program: BorrowedFd<'_>, argv: &Vector, envp: &Vector) -> Errno {
    let (argv, envp) = (argv.pointers.as_ptr(), envp.pointers.as_ptr());
    let (fd, empty, flags) = (program.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH);
    // SAFETY: as for `execve`; the empty path is a literal.
    unsafe { libc::syscall(libc::SYS_execveat, fd, empty, argv, envp, flags) };
    Errno::last()
}

/// Does what this program needs of std's own start, which costs a tenth of a millisecond more.
///
/// Writing to a pipe that nobody reads is an error and not the end (hooks need not read their
/// input), and a standard stream that the caller closed is open on `/dev/null`, so that no file
/// of ours gets its number.
pub fn prepare_runtime() {
    // SAFETY: SIG_IGN installs no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    for number in 0..=2 {
        if inherited_fd(number).is_err() {
            // SAFETY: the path is a literal. The lowest free number is the closed one.
            unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        }
    }
}

/// Signals that ask a process to end, or come of an error of its own: those that end a program in
/// Go that does nothing about them.
const ENDING: [i32; 8] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGSYS,
    libc::SIGTERM,
];

/// Lets this process end of the signals that end others, until it executes a program.
///
/// The kernel spares the first process of a PID namespace the default action of signals
/// (pid_namespaces(7)), so they need a handler.
pub fn end_by_signals() {
    extern "C" fn end(_: libc::c_int) {
        exit_now(2);
    }
    for signal in ENDING {
        let handler = end as extern "C" fn(libc::c_int);
        // SAFETY: _exit(2) may be called from a handler (signal-safety(7)); it does not return.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

/// Sets every signal to its default action, those a parent ignored included.
///
/// An ignored signal stays ignored across execve (signal(7)): conmon leaves SIGPIPE so, and
/// nohup SIGHUP.
pub fn default_signals() {
    // The kernel's `struct sigaction`: SIG_DFL, no flags, no restorer, an empty mask.
    let default = [0_u64; 4];
    for signal in 1..=64 {
        let action = default.as_ptr();
        let old = std::ptr::null_mut::<u64>();
        // SAFETY: rt_sigaction(2) reads one `struct sigaction` and a signal set of 8 bytes; the
        // default action runs no code of ours. Where the kernel refuses (SIGKILL, SIGSTOP)
        // nothing changes. The C library's own function would leave out two signals that it
        // keeps for threads, which there are none of.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, action, old, 8) };
    }
}

/// A copy of the descriptor `number` of another process: pidfd_getfd(2), Linux 5.6.
///
/// # Errors
/// EPERM for who may not trace the process, EBADF if it has no such descriptor.
pub fn descriptor_of(process: BorrowedFd<'_>, number: RawFd) -> nix::Result<OwnedFd> {
    // SAFETY: the call takes three integers.
    let rc = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) };
    let fd = RawFd::try_from(Errno::result(rc)?).map_err(|_| Errno::EOVERFLOW)?;
    // SAFETY: the kernel has just made this descriptor for the caller; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::{getpid, gettid};

    /// `kill` said "invalid argument" when a thread had got the number of a process that had ended.
    #[test]
    fn a_thread_is_no_process() {
        assert!(pidfd_open(getpid()).is_ok());
        let thread = std::thread::spawn(|| pidfd_open(gettid()).map(drop));
        assert_eq!(thread.join().unwrap(), Err(Errno::ESRCH));
    }
}
