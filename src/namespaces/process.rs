//! Joining the namespaces that a process is in.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sched::setns;
use nix::unistd::Pid;

use super::join::Joined;
use super::{Kind, clone_flags};
use crate::procfs::Procfs;
use crate::sys::process::pidfd_send_signal;

/// The first process of a container, whose namespaces are joined as they are now.
#[derive(Debug)]
pub struct Target {
    /// Its number on the host.
    pub pid: Pid,
    /// Itself.
    pub pidfd: OwnedFd,
}

impl Target {
    /// Moves the caller (for PID: its children) into its namespaces of these `kinds`: all of them
    /// or none.
    ///
    /// setns(2) with a pidfd joins them in one call since Linux 5.8, and sorts out itself which of
    /// them needs the rights of which. A namespace that belongs to neither the caller nor to the
    /// user namespace among them makes the call fail as a whole, so then, and on older kernels,
    /// they are joined one by one.
    ///
    /// # Errors
    /// Those of setns(2), or that the process is gone.
    pub fn join(&self, procfs: &Procfs, kinds: &[Kind]) -> Result<()> {
        let flags = kinds.iter().fold(0, |flags, kind| flags | kind.flag());
        if flags == 0 {
            return Ok(());
        }
        match setns(self.pidfd.as_fd(), clone_flags(flags)) {
            Err(Errno::EINVAL | Errno::EPERM) => self.join_one_by_one(procfs, kinds),
            other => other.context("join the container's namespaces"),
        }
    }

    fn join_one_by_one(&self, procfs: &Procfs, kinds: &[Kind]) -> Result<()> {
        let joined = Joined::of_process(procfs, self.pid, kinds)?;
        // Its number could belong to somebody else by now.
        let alive = pidfd_send_signal(self.pidfd.as_fd(), 0);
        ensure!(alive != Err(Errno::ESRCH), "container not running");
        joined.enter_with_user()
    }
}
