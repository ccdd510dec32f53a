//! `exec`: one more process for a container that runs.

use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::unistd::{Pid, geteuid};

use super::child::{Child, cannot_place};
use super::foreground::Signals;
use super::state::Facts;
use super::{Container, pid_file, texts};
use crate::cgroups::{Below, Entry};
use crate::error::Remote;
use crate::handshake::channel::{Channel, pair};
use crate::handshake::{FromInit, FromRuntime};
use crate::init;
use crate::log;
use crate::namespaces::Kind;
use crate::namespaces::process::Target;
use crate::plan::exec::Exec as Plan;
use crate::process::rlimits;
use crate::process::terminal::Console;
use crate::procfs::Procfs;
use crate::spec::state::{State, Status};
use crate::sys::clone::{Cloned, clone3};
use crate::sys::process::set_affinity;

/// What is to be executed, and how.
#[derive(Debug)]
pub struct Request<'a> {
    /// What to do.
    pub plan: &'a Plan,
    /// Where below the container's cgroups.
    pub cgroup: &'a Below,
    /// For whom a terminal is to be made.
    pub console: Option<Console>,
    /// Where to send a pidfd of the process.
    pub pidfd_socket: Option<&'a Path>,
    /// Where to write its pid.
    pub pid_file: Option<&'a Path>,
    /// What may interrupt: a paused container can make this last.
    pub signals: &'a Signals,
}

impl Container {
    /// Executes a program in the container; returns its process when it runs.
    ///
    /// # Errors
    /// The first step that fails, or a signal; nothing is left then.
    pub fn exec(&self, request: Request<'_>) -> Result<Child> {
        let Some(pidfd) = self.open_init()? else { bail!(texts::NOT_RUNNING) };
        let pid = self.facts.pid().context("the container's first process")?;
        let (ours, channel) = pair("runtime", "container's process")?;
        let Request { plan, cgroup, console, .. } = request;
        let procfs = Procfs::open()?;
        let cgroups = self.facts.cgroups.open(cgroup, &procfs, pid)?;
        let target = Target { pid, pidfd };
        let by_systemd = false;
        let setup = init::Exec { plan, channel, target, cgroups, by_systemd, procfs, console };
        let (child, ours, procfs) = self.clone_process(setup, ours, cgroup)?;
        let mut talk = Talk {
            child,
            channel: ours,
            procfs,
            plan,
            facts: &self.facts,
            signals: request.signals,
            pidfd_socket: request.pidfd_socket,
            pid_file: request.pid_file,
        };
        match talk.hold() {
            Ok(()) => Ok(talk.child),
            Err(error) => {
                self.undo(&talk);
                Err(error)
            }
        }
    }

    /// Makes the new process. In that process it does not return.
    fn clone_process(
        &self,
        mut setup: init::Exec<'_>,
        ours: Channel<FromRuntime, FromInit>,
        cgroup: &Below,
    ) -> Result<(Child, Channel<FromRuntime, FromInit>, Procfs)> {
        if geteuid().is_root() {
            // The new process is a copy of this one, and can be seen in the container from its
            // first moment (CVE-2016-9962). That of somebody else has a user namespace to join,
            // which it does before any other, and hides by itself before that.
            prctl::set_dumpable(false).context("hide from other processes")?;
        }
        if setup.plan.joins(Kind::Pid) && !setup.plan.joins(Kind::User) {
            // Acts on children only, and this is the only one: nothing has to be set back.
            setup.target.join(&setup.procfs, &[Kind::Pid])?;
        }
        let pid = setup.target.pid;
        let before = setup.plan.process.affinity.begin()?;
        let mut cloned = clone3(0, setup.cgroups.unified());
        if matches!(cloned, Err(Errno::EBUSY | Errno::ENOENT | Errno::ENODEV))
            && let Some(other) = self.facts.cgroups.open_instead(cgroup, &setup.procfs, pid)?
        {
            log::debug(|| "the container's cgroup takes no process; join that of its init");
            setup.cgroups = other;
            cloned = clone3(0, setup.cgroups.unified());
        }
        if cannot_place(&cloned, setup.cgroups.unified().is_some(), &setup.procfs)? {
            let cgroups: Entry = std::mem::take(&mut setup.cgroups);
            setup.cgroups = cgroups.without_clone()?;
            cloned = clone3(0, None);
        }
        if matches!(cloned, Err(Errno::EACCES | Errno::EPERM)) && self.facts.cgroups.can_attach() {
            setup.by_systemd = true;
            cloned = clone3(0, None);
        }
        let context = match cloned {
            Err(Errno::EBUSY) => "error adding pid of the process to cgroups: clone3",
            _ => "clone3",
        };
        match cloned.context(context)? {
            Cloned::Child => {
                // Its runtime's end of the channel would keep its death from being noticed.
                drop(ours);
                init::exec(setup)
            }
            Cloned::Parent { pid, pidfd } => {
                if let Some(before) = before {
                    // A runtime that stays where it is does no harm.
                    let _ = set_affinity(&before);
                }
                let child = Child { pid, pidfd };
                if setup.by_systemd {
                    self.attach(&child, &ours, cgroup).inspect_err(|_| child.end())?;
                }
                Ok((child, ours, setup.procfs))
            }
        }
    }

    /// Has systemd put a process, which waits for it, into the container's cgroup.
    fn attach(
        &self,
        child: &Child,
        channel: &Channel<FromRuntime, FromInit>,
        cgroup: &Below,
    ) -> Result<()> {
        self.facts.cgroups.attach(cgroup, child.pid)?;
        channel.send(&FromRuntime::Placed)
    }

    fn undo(&self, talk: &Talk<'_>) {
        if self.facts.cgroups.is_frozen() {
            self.facts.cgroups.release(talk.child.pid);
        }
        talk.child.end();
    }
}

/// The runtime's side of the conversation with the new process: see `handshake`.
struct Talk<'a> {
    child: Child,
    channel: Channel<FromRuntime, FromInit>,
    procfs: Procfs,
    plan: &'a Plan,
    facts: &'a Facts,
    signals: &'a Signals,
    pidfd_socket: Option<&'a Path>,
    pid_file: Option<&'a Path>,
}

impl Talk<'_> {
    /// Answers the process until its program runs.
    fn hold(&mut self) -> Result<()> {
        if !self.plan.joins(Kind::User) {
            self.plan.process.set_oom_score(&self.procfs, self.child.pid)?;
        }
        let mut committed = false;
        loop {
            match self.receive()? {
                Some(FromInit::Forked(pid)) => {
                    self.child.replace(Pid::from_raw(pid))?;
                    self.channel.send(&FromRuntime::Adopted)?;
                }
                Some(FromInit::Listener(number)) => {
                    let Facts { id, pid, bundle, annotations, .. } = self.facts;
                    let state = State::new(id, Status::Running, *pid, bundle, annotations);
                    self.child.hand_over_listener(number, self.plan.seccomp.as_ref(), &state)?;
                    self.channel.send(&FromRuntime::ListenerSent)?;
                }
                Some(FromInit::Ready { warnings, limits }) => {
                    warnings.into_iter().for_each(log::warn);
                    self.commit(&limits)?;
                    committed = true;
                }
                Some(FromInit::Failed(chain)) => {
                    return Err(anyhow!(Remote::new(chain).context("an error without a text")?));
                }
                Some(message) => bail!("the container's process sent {message:?}"),
                None if committed => break,
                None => return Err(self.child.why_it_ended("the container's process", false)),
            }
        }
        // Only now, as engines take the file for success (BXC-18).
        self.pid_file.map_or(Ok(()), |path| pid_file::write(path, self.child.pid))
    }

    fn receive(&self) -> Result<Option<FromInit>> {
        self.signals.wait_for(self.channel.as_fd())?;
        self.channel.receive_or_end()
    }

    /// Does what would have been in the way of the process, or is beyond its rights.
    fn commit(&self, limits: &[usize]) -> Result<()> {
        rlimits::set(&self.plan.process.rlimits, limits, self.child.pid)?;
        if let Some(rdt) = &self.facts.rdt {
            rdt.place(self.child.pid)?;
        }
        if let Some(path) = self.pidfd_socket {
            self.child.send_pidfd(path, "setns")?;
        }
        self.channel.send(&FromRuntime::Committed)
    }
}
