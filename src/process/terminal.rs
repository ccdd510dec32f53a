//! The program's terminal: a pseudo-terminal of the container's own devpts.
//!
//! It is made inside, so that the program finds it under `/dev/pts`, and its controlling end goes
//! to whoever reads what the program writes. No path in the container is trusted for it
//! (CVE-2025-52565): the directory has to be a devpts, nothing mounted on top of its `ptmx` is
//! entered, and the program's end comes from the controlling one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::fcntl::OFlag;
use nix::sys::statfs::{DEVPTS_SUPER_MAGIC, fstatfs};
use nix::sys::termios::{OutputFlags, SetArg, tcgetattr, tcsetattr};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::resolve::{Root, open_beneath};
use crate::sys::socket::send;
use crate::sys::tty;
pub use crate::sys::tty::Size;

/// For whom a terminal is made.
#[derive(Debug)]
pub struct Console {
    /// Where its controlling end goes.
    pub socket: OwnedFd,
    /// Its first size, if anybody knows one.
    pub size: Option<Size>,
    /// The runtime will copy between it and the caller's own terminal, which turns newlines into
    /// line ends itself.
    pub relayed: bool,
}

/// A new terminal, both of its ends.
#[derive(Debug)]
pub struct Terminal {
    controlling: OwnedFd,
    end: OwnedFd,
    name: String,
}

impl Terminal {
    /// Makes a terminal in the `/dev/pts` of the container.
    ///
    /// # Errors
    /// When that is no devpts, or has no terminal left.
    pub fn make(root: &Root) -> Result<Self> {
        let pts = root.open(Path::new("/dev/pts"), OFlag::O_PATH | OFlag::O_DIRECTORY);
        let pts = pts.context("open /dev/pts")?;
        let is_devpts = fstatfs(&pts).context("statfs /dev/pts")?.filesystem_type();
        ensure!(is_devpts == DEVPTS_SUPER_MAGIC, "/dev/pts is not a devpts file system");
        let controlling = open_beneath(pts.as_fd(), "ptmx", OFlag::O_RDWR | OFlag::O_NOCTTY);
        let controlling = controlling.context("open /dev/pts/ptmx")?;
        tty::unlock(controlling.as_fd()).context("unlock the terminal")?;
        let number = tty::number(controlling.as_fd()).context("ask for the terminal's number")?;
        let end = tty::peer(controlling.as_fd()).context("open the terminal")?;
        Ok(Self { controlling, end, name: format!("/dev/pts/{number}") })
    }

    /// The program's end.
    #[must_use]
    pub fn end(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }

    /// Prepares the terminal for whom it was made and sends its controlling end there.
    ///
    /// # Errors
    /// Those of ioctl_tty(2) and sendmsg(2).
    pub fn send(&self, console: &Console) -> Result<()> {
        if let Some(size) = console.size {
            tty::set_size(self.end(), size).context("process.consoleSize: set it")?;
        }
        if console.relayed {
            let mut modes = tcgetattr(self.end()).context("read the terminal's modes")?;
            modes.output_flags.remove(OutputFlags::ONLCR);
            tcsetattr(self.end(), SetArg::TCSANOW, &modes).context("set the terminal's modes")?;
        }
        send(console.socket.as_fd(), self.name.as_bytes(), self.controlling.as_fd())
            .context("send the terminal to its reader")?;
        Ok(())
    }

    /// Makes it the standard streams and the controlling terminal of the caller, a session
    /// leader, and lets go of the controlling end.
    ///
    /// # Errors
    /// Those of dup2(2) and ioctl_tty(2).
    pub fn become_streams(self) -> Result<()> {
        let dup = || {
            dup2_stdin(self.end())?;
            dup2_stdout(self.end())?;
            dup2_stderr(self.end())
        };
        dup().context("make the terminal the standard streams")?;
        tty::take_control(self.end()).context("make the terminal the controlling one")
    }
}
