//! A process that the runtime has made for a container.

use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::console::connect;
use crate::procfs::Procfs;
use crate::seccomp::Filter;
use crate::spec::state::State;
use crate::sys::clone::Cloned;
use crate::sys::process::{descriptor_of, pidfd_open, pidfd_send_signal};
use crate::sys::socket::send;

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
        reap(&self.pidfd)
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
            Ok(WaitStatus::Signaled(_, Signal::SIGSYS, _)) => anyhow!(
                "{name} was killed by SIGSYS: linux.seccomp forbids a call that starting the \
                program takes"
            ),
            Ok(WaitStatus::Signaled(_, signal, _)) => anyhow!("{name} was killed by {signal}"),
            Ok(WaitStatus::Exited(_, code)) => anyhow!("{name} ended with status {code}"),
            Ok(status) => anyhow!("{name} ended unexpectedly: {status:?}"),
            Err(error) => error.context(format!("{name} ended unexpectedly")),
        }
    }

    /// Takes the listener of its filter, which is its descriptor `number`, and sends it to who
    /// decides about calls, with the `state` of the container.
    ///
    /// # Errors
    /// Those of pidfd_getfd(2), and when nobody listens.
    pub fn hand_over_listener(
        &self,
        number: RawFd,
        filter: Option<&Filter>,
        state: &State<'_>,
    ) -> Result<()> {
        let listener = filter.and_then(|filter| filter.listener.as_ref());
        let listener = listener.context("a seccomp listener that nobody asked for")?;
        let descriptor = self.descriptor(number).context("linux.seccomp: the listener")?;
        listener.send(descriptor.as_fd(), self.pid.as_raw(), state)
    }

    /// Takes a copy of its descriptor `number`.
    ///
    /// # Errors
    /// Those of pidfd_getfd(2).
    pub fn descriptor(&self, number: RawFd) -> Result<OwnedFd> {
        descriptor_of(self.pidfd.as_fd(), number)
            .context("take a descriptor from the container's process")
    }

    /// Sends its pidfd to the socket at `path`, with the word that receivers expect (BXC-20).
    ///
    /// # Errors
    /// Those of connect(2) and sendmsg(2).
    pub fn send_pidfd(&self, path: &Path, word: &str) -> Result<()> {
        send(connect(path)?.as_fd(), word.as_bytes(), self.pidfd.as_fd())
            .with_context(|| format!("send the pidfd to {}", path.display()))?;
        Ok(())
    }
}

fn reap(pidfd: &OwnedFd) -> Result<WaitStatus> {
    wait(pidfd, WaitPidFlag::WEXITED)
}

fn wait(pidfd: &OwnedFd, flags: WaitPidFlag) -> Result<WaitStatus> {
    loop {
        match waitid(Id::PIDFd(pidfd.as_fd()), flags) {
            Err(Errno::EINTR) => {}
            other => return other.context("wait for the container's process"),
        }
    }
}

/// The clone that was to place a process into a cgroup could not: the process then has to be made
/// without that, and moves itself. `placed` says that the clone had a cgroup to place it in.
///
/// # Errors
/// Those of reading procfs, and of waitid(2).
pub(super) fn cannot_place(
    cloned: &nix::Result<Cloned>,
    placed: bool,
    procfs: &Procfs,
) -> Result<bool> {
    match cloned {
        _ if !placed => Ok(false),
        // No such call or flag: a kernel before 5.7, a sandbox.
        Err(errno) => Ok(matches!(errno, Errno::ENOSYS | Errno::E2BIG | Errno::EINVAL)),
        Ok(Cloned::Parent { pid, pidfd }) => killed_at_birth(procfs, *pid, pidfd),
        Ok(Cloned::Child) => Ok(false),
    }
}

/// Since Linux 6.14 (and 6.12.14) a fork fails that `cgroup.kill` has overtaken, which the kernel
/// finds out by counting the kills of a cgroup. For a clone into another cgroup it compares the
/// counts of the two, and kills the child of a runtime whose cgroup, or the container's, was ever
/// killed and the other was not. Its signal is there before clone3(2) returns.
fn killed_at_birth(procfs: &Procfs, pid: Pid, pidfd: &OwnedFd) -> Result<bool> {
    if !procfs.stat(pid)?.is_some_and(|stat| stat.killed || stat.ended()) {
        return Ok(false);
    }
    // An intermediate process may have done its work by now; that is for others to reap.
    let status = wait(pidfd, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?;
    let killed = matches!(status, WaitStatus::Signaled(_, Signal::SIGKILL, _));
    if killed {
        reap(pidfd)?;
    }
    Ok(killed)
}
