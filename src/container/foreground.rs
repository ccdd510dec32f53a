//! `run` and `exec` without `--detach`: relay signals and the terminal, reap, and report the
//! program's status.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use super::child::Child;
use super::notify::Proxy;
use super::relay::Relay;
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

/// Signals that end a process that does not care, in the ordinary course of things.
const ENDING: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

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

    /// Passes signals on to `program`, copies between its terminal and the caller's if there is
    /// one, tells a service manager that it is ready, and reaps children, until `program` has
    /// ended; returns its exit status as a shell gives it.
    ///
    /// # Errors
    /// Those of poll(2) and waitid(2).
    pub fn relay_until_end(
        &self,
        program: &Child,
        mut relay: Option<&mut Relay>,
        mut proxy: Option<Proxy>,
    ) -> Result<i32> {
        loop {
            let mut others = vec![self.fd.as_fd(), program.pidfd.as_fd()];
            others.extend(proxy.as_ref().and_then(Proxy::waiting));
            match relay.as_deref_mut() {
                Some(relay) => {
                    let ready = relay.wait(&others)?;
                    relay.copy(ready);
                }
                None => wait(&others)?,
            }
            if let Some(proxy) = &mut proxy {
                // Whoever waits for the container need not wait for the manager as well.
                drop(proxy.pass_on(program.pid));
            }
            self.pass_on(program, relay.as_deref())?;
            // Orphans of the container come to a subreaper; the program is reaped for its status.
            if let Some(status) = reap(program)? {
                return Ok(status);
            }
        }
    }

    fn pass_on(&self, program: &Child, relay: Option<&Relay>) -> Result<()> {
        while let Some(number) = self.next()? {
            match relay {
                // The terminal tells the program.
                Some(relay) if number == libc::SIGWINCH => relay.resize(),
                _ => match pidfd_send_signal(program.pidfd.as_fd(), number) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    // A program that may not be signalled (it changed its user) is no reason to
                    // end.
                    Err(errno) => log::warn(format!("pass signal {number} on: {errno}")),
                },
            }
        }
        Ok(())
    }

    /// The next signal that has come and is not of this process alone.
    fn next(&self) -> Result<Option<i32>> {
        while let Some(info) = self.fd.read_signal().context("read a signal")? {
            let number = info.ssi_signo.cast_signed();
            if !OWN.iter().any(|own| *own as i32 == number) {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// Shows what is left of the program's output and gives the caller his terminal back.
    ///
    /// # Errors
    /// Those of poll(2).
    pub fn finish(&self, relay: Option<Relay>) -> Result<()> {
        let Some(relay) = relay else { return Ok(()) };
        relay.finish(self.fd.as_fd(), || Ok(self.interrupted()?.is_some()))
    }

    /// Returns a signal that asks this process to end, if one has come. Others are dropped.
    fn interrupted(&self) -> Result<Option<i32>> {
        while let Some(number) = self.next()? {
            if ENDING.iter().any(|ending| *ending as i32 == number) {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// Waits until `fd` can be read.
    ///
    /// # Errors
    /// When a signal asks this process to end meanwhile.
    pub fn wait_for(&self, fd: BorrowedFd<'_>) -> Result<()> {
        loop {
            let mut fds = [self.fd.as_fd(), fd].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("wait for the container's process"),
            }
            if fds[1].any() == Some(true) {
                return Ok(());
            }
            if let Some(number) = self.interrupted()? {
                bail!("interrupted by signal {number}");
            }
        }
    }
}

fn wait(files: &[BorrowedFd<'_>]) -> Result<()> {
    let mut fds: Vec<_> = files.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno).context("wait for the container"),
    }
}

/// Reaps every child that has ended; returns the status of `program` if it was among them.
fn reap(program: &Child) -> Result<Option<i32>> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
    loop {
        let (pid, status) = match waitid(Id::All, flags) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, code),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
            Ok(_) | Err(Errno::ECHILD) => return Ok(None),
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno).context("reap children"),
        };
        if pid == program.pid {
            return Ok(Some(status));
        }
    }
}
