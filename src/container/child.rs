//! A process that the runtime has made for a container.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::console::connect;
use crate::process::terminal::send;
use crate::procfs::Procfs;
use crate::sys::process::{pidfd_open, pidfd_send_signal};

/// A child of this process.
#[derive(Debug)]
pub struct Child {
    /// Its number on the host.
    pub pid: Pid,
    /// Itself.
    pub pidfd: OwnedFd,
}

impl Child {
    /// Goes on with the process `pid`, which this one has made before it ended by itself.
    ///
    /// # Errors
    /// Those of pidfd_open(2) and waitid(2).
    pub fn replace(&mut self, pid: Pid) -> Result<()> {
        let pidfd = pidfd_open(pid).context("watch the container's process")?;
        std::mem::replace(self, Self { pid, pidfd }).reap().map(drop)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Those of waitid(2); ECHILD when it was waited for before.
    pub fn reap(&self) -> Result<WaitStatus> {
        wait_for_end(&self.pidfd, WaitPidFlag::WEXITED)
    }

    /// Kills it and waits for its end.
    pub fn end(&self) {
        let killed = pidfd_send_signal(self.pidfd.as_fd(), libc::SIGKILL);
        if matches!(killed, Ok(()) | Err(Errno::ESRCH)) {
            // It was reaped already if its end is why it is to end.
            let _ = self.reap();
        }
    }

    /// Says why it ended without a word: somebody killed it, and mostly that was the kernel.
    /// `name` says what it is; `oom` that the kernel killed somebody in its cgroup.
    #[must_use]
    pub fn why_it_ended(&self, name: &str, oom: bool) -> anyhow::Error {
        match self.reap() {
            Ok(WaitStatus::Signaled(_, Signal::SIGKILL, _)) if oom => {
                anyhow!("container init was OOM-killed (memory limit too low?)")
            }
            Ok(WaitStatus::Signaled(_, signal, _)) => anyhow!("{name} was killed by {signal}"),
            Ok(WaitStatus::Exited(_, code)) => anyhow!("{name} ended with status {code}"),
            Ok(status) => anyhow!("{name} ended unexpectedly: {status:?}"),
            Err(error) => error.context(format!("{name} ended unexpectedly")),
        }
    }

    /// Sends its pidfd to the socket at `path`, with the word that receivers expect (BXC-20).
    ///
    /// # Errors
    /// Those of connect(2) and sendmsg(2).
    pub fn send_pidfd(&self, path: &Path, word: &str) -> Result<()> {
        send(connect(path)?.as_fd(), word, self.pidfd.as_fd())
            .with_context(|| format!("send the pidfd to {}", path.display()))
    }
}

/// Since Linux 6.14 (and 6.12.14) a fork fails that `cgroup.kill` has overtaken, which the kernel
/// finds out by counting the kills of a cgroup. For a clone into another cgroup it compares the
/// counts of the two, and kills the child of a runtime whose cgroup, or the container's, was ever
/// killed and the other was not. Its signal is there before clone3(2) returns.
pub(super) fn killed_at_birth(procfs: &Procfs, pid: Pid, pidfd: &OwnedFd) -> Result<bool> {
    if !procfs.stat(pid)?.is_some_and(|stat| stat.killed || stat.ended()) {
        return Ok(false);
    }
    // An intermediate process may have done its work by now; that is for others to reap.
    let status = wait_for_end(pidfd, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?;
    let killed = matches!(status, WaitStatus::Signaled(_, Signal::SIGKILL, _));
    if killed {
        wait_for_end(pidfd, WaitPidFlag::WEXITED)?;
    }
    Ok(killed)
}

fn wait_for_end(pidfd: &OwnedFd, flags: WaitPidFlag) -> Result<WaitStatus> {
    loop {
        match waitid(Id::PIDFd(pidfd.as_fd()), flags) {
            Err(Errno::EINTR) => {}
            other => return other.context("wait for the container's process"),
        }
    }
}
