//! Making processes: clone3(2), or clone(2) where a sandbox or the kernel lacks it.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::unistd::Pid;

/// A new time namespace for the child, Linux 5.6; nix does not name it.
pub const CLONE_NEWTIME: u64 = 0x80;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// The bits of the exit signal among the flags of clone(2).
const CSIGNAL: u64 = 0xff;

/// On which side of the clone the caller stands.
#[derive(Debug)]
pub enum Cloned {
    /// The caller; `pidfd` refers to the child whatever becomes of its number.
    Parent {
        /// The child, as the caller's PID namespace counts.
        pid: Pid,
        /// Closed on exec, as every pidfd is.
        pidfd: OwnedFd,
    },
    /// The new process: a copy of the caller's memory, alone in its thread group.
    Child,
}

// include/uapi/linux/sched.h, size CLONE_ARGS_SIZE_VER2 (Linux 5.7).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Makes a process with `flags` (`CLONE_NEW*`, `CLONE_PARENT`) and a pidfd for it.
///
/// clone3(2), Linux 5.3; with `cgroup`, the directory of a v2 cgroup, the child is born there
/// (`CLONE_INTO_CGROUP`, Linux 5.7). Nothing is shared, so the child goes on with its own copy
/// of everything, as after fork(2). The profiles of container engines answer clone3 with ENOSYS;
/// then clone(2) does the same, except for the cgroup.
///
/// # Errors
/// Those of clone3(2), ENOSYS too with `cgroup`. EACCES, EBUSY, EAGAIN and ENODEV concern the
/// cgroup.
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> nix::Result<Cloned> {
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: flags | c_long_bits(libc::CLONE_PIDFD),
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        ..CloneArgs::default()
    };
    // CLONE_PARENT makes a sibling and takes the parent's exit signal (clone(2)).
    if flags & c_long_bits(libc::CLONE_PARENT) == 0 {
        args.exit_signal = c_long_bits(libc::SIGCHLD);
    }
    if let Some(dir) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::try_from(dir.as_raw_fd()).map_err(|_| Errno::EBADF)?;
    }
    let args = std::ptr::from_ref(&args);
    // SAFETY: `args` lives during the call and has the size given; `pidfd` is written by the
    // kernel before the call returns. No stack is passed and CLONE_VM is never among the flags,
    // so the child runs on its own copy of this stack. No module of the program starts a
    // thread, so no lock of the C library can be held by somebody who does not exist in the
    // child.
    let rc = unsafe { libc::syscall(libc::SYS_clone3, args, size_of::<CloneArgs>()) };
    match Errno::result(rc) {
        Err(Errno::ENOSYS) if cgroup.is_none() => clone(flags),
        other => cloned(other?, pidfd),
    }
}

/// As [`clone3`], by the older call, whose lowest eight bits are the exit signal.
fn clone(flags: u64) -> nix::Result<Cloned> {
    if flags & CSIGNAL != 0 {
        return Err(Errno::ENOSYS);
    }
    let mut pidfd: RawFd = -1;
    let parent = flags & c_long_bits(libc::CLONE_PARENT) != 0;
    let signal = if parent { 0 } else { c_long_bits(libc::SIGCHLD) };
    let flags = flags | c_long_bits(libc::CLONE_PIDFD) | signal;
    let pidfd_at = std::ptr::from_mut(&mut pidfd);
    // SAFETY: as in `clone3`: no stack and no CLONE_VM, a single thread; the third argument is
    // where CLONE_PIDFD has the kernel put the descriptor (clone(2)), on every architecture.
    let rc = unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, pidfd_at, 0_usize, 0_usize) };
    cloned(Errno::result(rc)?, pidfd)
}

fn cloned(pid: libc::c_long, pidfd: RawFd) -> nix::Result<Cloned> {
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    let pid = i32::try_from(pid).map_err(|_| Errno::EOVERFLOW)?;
    // SAFETY: CLONE_PIDFD made this descriptor for the caller; nobody else owns it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Cloned::Parent { pid: Pid::from_raw(pid), pidfd })
}

/// Widens a flag that C declares as `int`.
fn c_long_bits(flag: libc::c_int) -> u64 {
    u64::from(flag.cast_unsigned())
}
