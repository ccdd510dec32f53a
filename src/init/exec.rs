//! The container's side of `exec`: from the birth of the new process to its program.
//!
//! It becomes the program's user and executes the program by the same functions as the container's
//! first process. What differs is that all namespaces are there already, so it joins them.

use anyhow::{Context, Result};
use nix::fcntl::{OFlag, open};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::setsid;

use super::{FAILED, be_ready, become_root, expect, report, reset_signals};
use crate::cgroups::Entry;
use crate::handshake::channel::Channel;
use crate::handshake::{FromInit, FromRuntime};
use crate::log;
use crate::namespaces::Kind;
use crate::namespaces::process::Target;
use crate::plan::exec::Exec as Plan;
use crate::process::program::Program;
use crate::process::stdio;
use crate::process::terminal::{Console, Terminal};
use crate::procfs::Procfs;
use crate::resolve::Root;
use crate::rootfs;
use crate::sys::clone::{Cloned, clone3};
use crate::sys::process::exit_now;

/// Everything that the new process has from the runtime.
#[derive(Debug)]
pub struct Exec<'a> {
    /// What to do.
    pub plan: &'a Plan,
    /// The way to the runtime.
    pub channel: Channel<FromInit, FromRuntime>,
    /// Whose namespaces to join.
    pub target: Target,
    /// The way into the cgroups.
    pub cgroups: Entry,
    /// It waits until systemd has put it into the cgroup instead.
    pub by_systemd: bool,
    /// The host's procfs.
    pub procfs: Procfs,
    /// For whom a terminal is to be made.
    pub console: Option<Console>,
}

/// Goes on in the new process and never comes back.
///
/// With a user namespace the rights to the others come from it, so an intermediate process joins
/// all of them and makes the one that stays. Without one the runtime has joined the PID namespace
/// before the clone, and this process joins the rest.
pub fn exec(setup: Exec<'_>) -> ! {
    let status = match setup.plan.joins(Kind::User) {
        true => intermediate(setup),
        false => become_program(setup),
    };
    exit_now(status)
}

fn intermediate(setup: Exec<'_>) -> i32 {
    let made = setup.join_with_user().and_then(|()| {
        // The process that stays is to be a child of the runtime.
        let parent = u64::from(libc::CLONE_PARENT.cast_unsigned());
        match clone3(parent, None).context("make the container's process")? {
            Cloned::Child => Ok(true),
            Cloned::Parent { pid, .. } => {
                setup.channel.send(&FromInit::Forked(pid.as_raw())).map(|()| false)
            }
        }
    });
    match made {
        Ok(true) => become_program(setup),
        Ok(false) => 0,
        Err(error) => report(&setup.channel, &error),
    }
}

/// Returns only if there is no program to become.
fn become_program(mut setup: Exec<'_>) -> i32 {
    let program = setup.prepare();
    let Exec { plan, channel, target, cgroups, procfs, .. } = setup;
    // Nothing else that the runtime opened has an owner after this.
    drop((target, cgroups, procfs));
    let ready = program.and_then(|program| {
        reset_signals().context("reset signals")?;
        let filter = plan.seccomp.as_ref().map(|filter| (&plan.process, filter));
        let limits = &plan.process.rlimits;
        be_ready(&channel, &[], plan.preserve_fds, limits, filter).map(|()| program)
    });
    match ready {
        // The channel is closed with the execve, which tells the runtime that the program runs.
        Ok(program) => report(&channel, &program.execute()),
        Err(error) => report(&channel, &error),
    };
    FAILED
}

impl Exec<'_> {
    fn join_with_user(&self) -> Result<()> {
        prctl::set_pdeathsig(Signal::SIGKILL).context("end with the runtime")?;
        prctl::set_name(c"orlop:[1:EXEC]").context("name the process")?;
        self.enter_cgroups()?;
        self.plan.process.set_own_oom_score(&self.procfs)?;
        prctl::set_dumpable(false).context("hide from other processes")?;
        self.target.join(&self.procfs, &self.plan.namespaces)?;
        become_root(self.plan.process.user.keeps_groups)
            .context("become root of the container's user namespace")?;
        // The change of ids may have undone it: prctl(2).
        prctl::set_dumpable(false).context("hide from other processes")
    }

    /// Does what the program's process needs, and finds the program.
    fn prepare(&mut self) -> Result<Program> {
        let plan = self.plan;
        // A runtime that is killed takes this process with it; the channel tells when it is not
        // killed.
        prctl::set_pdeathsig(Signal::SIGKILL).context("end with the runtime")?;
        prctl::set_name(c"orlop:[2:EXEC]").context("name the process")?;
        drop(log::take_waiting());
        if plan.joins(Kind::User) {
            expect(&self.channel, &FromRuntime::Adopted)?;
        } else {
            self.enter_cgroups()?;
            let mut kinds = plan.namespaces.clone();
            kinds.retain(|kind| *kind != Kind::Pid);
            self.target.join(&self.procfs, &kinds)?;
        }
        plan.process.affinity.finish()?;
        setsid().context("make a session")?;
        if plan.keyring {
            plan.process.join_keyring(&self.procfs, &plan.id)?;
        }
        let root = match &plan.root {
            Some(path) => rootfs::change_root(path)?,
            None => own_root()?,
        };
        self.set_streams(&root)?;
        plan.process.user.set_umask();
        plan.process.set_machine()?;
        plan.process.become_user(&root, &self.procfs, plan.seccomp.is_some())
    }

    fn enter_cgroups(&self) -> Result<()> {
        match self.by_systemd {
            true => expect(&self.channel, &FromRuntime::Placed),
            false => self.cgroups.enter(),
        }
    }

    fn set_streams(&mut self, root: &Root) -> Result<()> {
        if let Some(console) = self.console.take() {
            let terminal = Terminal::make(root).context("process.terminal")?;
            terminal.send(&console)?;
            return terminal.become_streams();
        }
        if self.plan.own_dev {
            stdio::reopen_null(root).context("reopen standard streams in the container")?;
        }
        Ok(())
    }
}

fn own_root() -> Result<Root> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open("/", flags, Mode::empty()).map(Root::new).context("open /")
}
