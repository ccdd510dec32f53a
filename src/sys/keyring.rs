//! keyctl(2): a session keyring of the container's own.

use std::ffi::CStr;

use nix::errno::Errno;

const KEYCTL_JOIN_SESSION_KEYRING: i32 = 1;
const KEYCTL_SETPERM: i32 = 5;
const KEYCTL_DESCRIBE: i32 = 6;

/// Joins the session keyring called `name`, which is made when it is missing; returns its serial.
///
/// keyctl_join_session_keyring(3).
pub fn join_session(name: &CStr) -> nix::Result<i64> {
    // SAFETY: the name ends in NUL and lives during the call; the kernel copies it.
    let rc = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    Errno::result(rc)
}

/// Returns the permission mask of `key`: keyctl_describe(3), field 4 of the description.
///
/// # Errors
/// EINVAL when the kernel's description is not `type;uid;gid;perm;name`.
pub fn permissions(key: i64) -> nix::Result<u32> {
    // Four short fields and the name, which is that of a container: at most 255 bytes. With too
    // small a buffer the kernel writes nothing.
    let mut text = [0u8; 512];
    let (buffer, size) = (text.as_mut_ptr(), text.len());
    // SAFETY: the kernel writes at most `size` bytes to the buffer, which lives longer.
    let rc = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_DESCRIBE, key, buffer, size) };
    Errno::result(rc)?;
    let text = CStr::from_bytes_until_nul(&text).map_err(|_| Errno::EINVAL)?;
    let field = text.to_str().ok().and_then(|t| t.split(';').nth(3)).ok_or(Errno::EINVAL)?;
    u32::from_str_radix(field, 16).map_err(|_| Errno::EINVAL)
}

/// Sets the permission mask of `key`: keyctl_setperm(3).
pub fn set_permissions(key: i64, mask: u32) -> nix::Result<()> {
    // SAFETY: only numbers are passed.
    let rc = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_SETPERM, key, mask) };
    Errno::result(rc).map(drop)
}
