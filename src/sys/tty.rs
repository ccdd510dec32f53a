//! ioctl_tty(2): pseudo-terminals.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// The size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// Lets the other end of `controlling` be opened: `TIOCSPTLCK` of ioctl_tty(2).
pub fn unlock(controlling: BorrowedFd<'_>) -> nix::Result<()> {
    let locked: libc::c_int = 0;
    let locked = std::ptr::from_ref(&locked);
    // SAFETY: this request reads one int through the pointer.
    let rc = unsafe { libc::ioctl(controlling.as_raw_fd(), libc::TIOCSPTLCK, locked) };
    Errno::result(rc).map(drop)
}

/// Returns the number of the terminal in its devpts: `TIOCGPTN` of ioctl_tty(2).
pub fn number(controlling: BorrowedFd<'_>) -> nix::Result<u32> {
    let mut number: libc::c_uint = 0;
    // SAFETY: this request writes one unsigned int through the pointer.
    let rc = unsafe { libc::ioctl(controlling.as_raw_fd(), libc::TIOCGPTN, &raw mut number) };
    Errno::result(rc).map(|_| number)
}

/// Opens the program's end, whatever is at its path: `TIOCGPTPEER`, Linux 4.13.
///
/// It does not become a controlling terminal, and is closed on exec.
pub fn peer(controlling: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: this request takes flags by value.
    let rc = unsafe { libc::ioctl(controlling.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    let fd = Errno::result(rc)?;
    // SAFETY: the kernel has just made this descriptor for the caller; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Returns the size of a terminal: `TIOCGWINSZ` of ioctl_tty(2).
///
/// # Errors
/// ENOTTY when it is none.
pub fn size(terminal: BorrowedFd<'_>) -> nix::Result<Size> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: this request writes one `winsize` through the pointer.
    let rc = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    Errno::result(rc).map(|_| Size { rows: size.ws_row, columns: size.ws_col })
}

/// Sets the size of a terminal, which its foreground hears of by SIGWINCH: `TIOCSWINSZ`.
pub fn set_size(terminal: BorrowedFd<'_>, size: Size) -> nix::Result<()> {
    let Size { rows, columns } = size;
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let size = std::ptr::from_ref(&size);
    // SAFETY: this request reads one `winsize` through the pointer.
    let rc = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, size) };
    Errno::result(rc).map(drop)
}

/// Makes a terminal the controlling one of the caller, a session leader without one: `TIOCSCTTY`.
pub fn take_control(terminal: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: this request takes a number; 0 does not steal the terminal from anybody.
    let rc = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) };
    Errno::result(rc).map(drop)
}
