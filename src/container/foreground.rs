//! `run` without `--detach`: relay signals, reap, and report the program's status.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use super::create::Init;
use crate::log;
use crate::sys::process::pidfd_send_signal;

/// Signals that concern this process and not the container: the end of a child, and what the
/// kernel raises for an error of our own.
const OWN: [Signal; 7] = [
    Signal::SIGCHLD,
    Signal::SIGPIPE,
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGURG,
];

/// Signals that wait until somebody reads them. Made before the container starts, so that none
/// is lost.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Holds signals back from their default action.
    ///
    /// # Errors
    /// Those of sigprocmask(2) and signalfd(2).
    pub fn hold() -> Result<Self> {
        let mut set = SigSet::all();
        for signal in OWN.into_iter().filter(|signal| *signal != Signal::SIGCHLD) {
            set.remove(signal);
        }
        set.thread_block().context("hold signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self { fd: SignalFd::with_flags(&set, flags).context("make a signalfd")? })
    }

    /// Passes signals on to `init` and reaps children until `init` has ended; returns its exit
    /// status as a shell gives it.
    ///
    /// # Errors
    /// Those of poll(2) and waitid(2).
    pub fn relay_until_end(&self, init: &Init) -> Result<i32> {
        loop {
            let mut fds =
                [self.fd.as_fd(), init.pidfd.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("wait for the container"),
            }
            self.relay(init.pidfd.as_fd())?;
            // Orphans of the container come to a subreaper; init is reaped for its status.
            if let Some(status) = reap(init)? {
                return Ok(status);
            }
        }
    }

    fn relay(&self, init: BorrowedFd<'_>) -> Result<()> {
        while let Some(info) = self.fd.read_signal().context("read a signal")? {
            let number = info.ssi_signo.cast_signed();
            if OWN.iter().any(|own| *own as i32 == number) {
                continue;
            }
            match pidfd_send_signal(init, number) {
                Ok(()) | Err(Errno::ESRCH) => {}
                // A program that may not be signalled (it changed its user) is no reason to end.
                Err(errno) => log::warn(format!("pass signal {number} on: {errno}")),
            }
        }
        Ok(())
    }
}

/// Reaps every child that has ended; returns the status of `init` if it was among them.
fn reap(init: &Init) -> Result<Option<i32>> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
    loop {
        let (pid, status) = match waitid(Id::All, flags) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, code),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
            Ok(_) | Err(Errno::ECHILD) => return Ok(None),
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno).context("reap children"),
        };
        if pid == init.pid {
            return Ok(Some(status));
        }
    }
}
