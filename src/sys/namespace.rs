//! ioctl_nsfs(2): what a namespace file is.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// `_IO(0xb7, 3)`
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;

/// Returns the `CLONE_NEW*` bit of the open namespace: `NS_GET_NSTYPE`, Linux 4.11.
///
/// # Errors
/// ENOTTY when the descriptor is no namespace.
pub fn kind(fd: BorrowedFd<'_>) -> nix::Result<u64> {
    // SAFETY: this request takes no argument.
    let rc = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) };
    Errno::result(rc).map(|bits| u64::from(bits.cast_unsigned()))
}
