//! seccomp(2): install a filter, and what the kernel knows.

use std::os::fd::RawFd;

use libc::sock_filter;
use nix::errno::Errno;

/// Installs a filter for this thread with these flags: Linux 3.17. With
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER` the result is the number of the listener's descriptor, which
/// is close-on-exec; without, it is 0.
///
/// The number and not the descriptor is returned: whoever wraps it has to close it, and the filter
/// may forbid that.
///
/// # Errors
/// EACCES without `CAP_SYS_ADMIN` in the user namespace and without `no_new_privs`, EINVAL for a
/// program or a flag that the kernel does not take.
pub fn install(program: &[sock_filter], flags: u64) -> nix::Result<RawFd> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Errno::E2BIG)?,
        filter: program.as_ptr().cast_mut(),
    };
    let operation = libc::SECCOMP_SET_MODE_FILTER;
    let program = std::ptr::from_ref(&program);
    // SAFETY: the program has the length given and lives during the call; the kernel copies it and
    // writes nothing to it.
    let rc = unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, program) };
    RawFd::try_from(Errno::result(rc)?).map_err(|_| Errno::EOVERFLOW)
}

/// Whether the kernel knows all of these flags.
#[must_use]
pub fn knows_flags(flags: u64) -> bool {
    let (operation, nothing) = (libc::SECCOMP_SET_MODE_FILTER, std::ptr::null::<()>());
    // SAFETY: the kernel looks at the flags first and then finds no program at address zero, so it
    // installs nothing and answers EFAULT.
    let rc = unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, nothing) };
    Errno::result(rc) == Err(Errno::EFAULT)
}
