//! What stat(2) says in bits, and statx(2), for what stat(2) does not say.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::stat::{FileStat, SFlag, major, minor};

/// The type of a file: inode(7).
#[must_use]
pub fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// The file is the null device: null(4), character device 1:3.
#[must_use]
pub fn is_null(stat: &FileStat) -> bool {
    kind(stat) == SFlag::S_IFCHR && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3)
}

/// Returns the id of the mount that `fd` was opened through: statx(2) `STATX_MNT_ID`, Linux 5.8.
///
/// The number is the first field of a line of `/proc/PID/mountinfo`. It is used again when the
/// mount is gone.
pub fn mount_id(fd: BorrowedFd<'_>) -> nix::Result<u64> {
    statx_mount(fd, libc::STATX_MNT_ID)
}

/// As [`mount_id`], a number that is never used again: `STATX_MNT_ID_UNIQUE`, Linux 6.8.
///
/// # Errors
/// ENOSYS where the kernel does not know it.
pub fn unique_mount_id(fd: BorrowedFd<'_>) -> nix::Result<u64> {
    statx_mount(fd, libc::STATX_MNT_ID_UNIQUE)
}

fn statx_mount(fd: BorrowedFd<'_>, mask: libc::c_uint) -> nix::Result<u64> {
    // SAFETY: `statx` is plain data for which all zeroes is a valid value.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    let flags = libc::AT_EMPTY_PATH | libc::AT_NO_AUTOMOUNT;
    // SAFETY: the empty path is a literal, and the kernel writes one `statx` to the pointer.
    let rc = unsafe { libc::statx(fd.as_raw_fd(), c"".as_ptr(), flags, mask, &raw mut stat) };
    Errno::result(rc)?;
    if stat.stx_mask & mask == 0 {
        return Err(Errno::ENOSYS);
    }
    Ok(stat.stx_mnt_id)
}

/// Sets the label that SELinux sees on an open file: fsetxattr(2), `security.selinux`.
///
/// # Errors
/// EOPNOTSUPP when its file system has no labels.
pub fn set_label(file: BorrowedFd<'_>, label: &CStr) -> nix::Result<()> {
    let (name, value) = (c"security.selinux".as_ptr(), label.to_bytes_with_nul());
    let (start, size) = (value.as_ptr().cast(), value.len());
    // SAFETY: the name ends in NUL; the kernel reads `size` bytes, which live during the call.
    Errno::result(unsafe { libc::fsetxattr(file.as_raw_fd(), name, start, size, 0) }).map(drop)
}
