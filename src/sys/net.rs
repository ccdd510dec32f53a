//! The one network call that every new network namespace needs.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// netdevice(7); of a type that differs between C libraries.
const SIOCSIFFLAGS: libc::Ioctl = 0x8914;

/// Sets the interface `lo` of the socket's network namespace up: netdevice(7), `SIOCSIFFLAGS`.
pub fn loopback_up(socket: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: `ifreq` is plain data for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let up = libc::IFF_UP | libc::IFF_RUNNING;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(up).map_err(|_| Errno::EINVAL)?;
    let request = std::ptr::from_ref(&request);
    // SAFETY: the request is an `ifreq` with a NUL-terminated name and lives during the call.
    let rc = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCSIFFLAGS, request) };
    Errno::result(rc).map(drop)
}
