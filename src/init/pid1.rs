//! The container's init: from its birth to the program.

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};

use anyhow::{Context, Result};
use nix::sched::unshare;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{getpid, sethostname, setsid};

use super::{FAILED, Setup, be_ready, become_root, expect, report, reset_signals};
use crate::handshake::channel::Channel;
use crate::handshake::gate::Inside;
use crate::handshake::{FromInit, FromRuntime};
use crate::hooks::{Environment, Files, Kind as HookKind};
use crate::namespaces::{Case, Kind, clone_flags, net, time};
use crate::plan::Plan;
use crate::process::program::Program;
use crate::process::terminal::Terminal;
use crate::process::{affinity, keyring, stdio};
use crate::rootfs::Tree;
use crate::spec::state::{State, Status};
use crate::sys::process::{end_by_signals, set_domain_name};
use crate::sys::sealed::Image;
use crate::{error, log};

/// Becomes the container's first process. Returns only if there is no program to become.
pub(super) fn run(mut setup: Setup<'_>) -> i32 {
    let plan = setup.plan;
    let built = setup.build();
    let Setup { channel, gate, joined, cgroups, procfs, hook_files, .. } = setup;
    // Nothing else that the runtime opened for init has an owner after this.
    drop((joined, cgroups, procfs, hook_files));
    match built.and_then(|program| commit(plan, &channel, &gate).map(|()| program)) {
        Ok(program) => {
            drop(channel);
            wait_and_start(plan, program, &gate)
        }
        Err(error) => report(&channel, &error),
    }
}

impl Setup<'_> {
    /// Builds the container around this process. The order is the specification's; where that
    /// leaves it open, the comments of the steps say why they stand where they do.
    fn build(&mut self) -> Result<Option<Program>> {
        let plan = self.plan;
        // A runtime that is killed takes init with it; the channel tells when it is not killed.
        prctl::set_pdeathsig(Signal::SIGKILL).context("end with the runtime")?;
        prctl::set_name(c"orlop:[2:INIT]").context("name the process")?;
        drop(log::take_waiting());
        match plan.namespaces.case() {
            Case::Joined => self.expect(&FromRuntime::Adopted)?,
            Case::Plain | Case::NewUser => self.enter_cgroups()?,
        }
        affinity::reset();
        let offsets = time::open_offsets(&self.procfs, &plan.namespaces.time_offsets)?;
        self.take_ids()?;
        // From here on processes of other namespaces may see this one; if a PID namespace was
        // joined they can already, and the runtime has hidden before the clone.
        prctl::set_dumpable(false).context("hide from other processes")?;
        self.enter_namespaces(offsets)?;
        setsid().context("make a session")?;
        if plan.new_keyring {
            match &plan.process {
                Some(process) => process.join_keyring(&self.procfs, &plan.id)?,
                None => keyring::join(&plan.id)?,
            }
        }
        umask(Mode::empty());
        let mounts = std::mem::take(&mut self.mounts);
        let cgroups = plan.cgroup_view.as_ref();
        let map_ids = &mut |mount, tree: BorrowedFd<'_>| self.have_ids_mapped(mount, tree);
        let tree = plan.rootfs.prepare(&self.procfs, cgroups, mounts, self.way, map_ids)?;
        self.run_hooks(&tree)?;
        let image = std::mem::replace(&mut self.image, Image::Installed).into_mount();
        plan.rootfs.enter(&tree, image, &self.place)?;
        self.set_streams(&tree)?;
        self.set_names_and_parameters()?;
        // Last of all, since the steps before write below /proc and /dev.
        plan.rootfs.finish(&tree, &self.procfs)?;
        let Some(process) = &plan.process else { return Ok(None) };
        process.user.set_umask();
        process.set_machine()?;
        process.make_cwd(&tree.root)?;
        process.become_user(&tree.root, &self.procfs, plan.seccomp.is_some()).map(Some)
    }

    /// Gets into the cgroups, or waits until systemd has done it.
    pub(super) fn enter_cgroups(&self) -> Result<()> {
        match self.plan.cgroups.waits_for_systemd() {
            true => self.expect(&FromRuntime::Placed),
            false => self.cgroups.enter(),
        }
    }

    /// Waits until the runtime has mapped the ids of a new user namespace.
    fn take_ids(&self) -> Result<()> {
        if self.plan.namespaces.case() != Case::NewUser {
            return Ok(());
        }
        self.channel.send(&FromInit::NeedIdMaps)?;
        self.expect(&FromRuntime::IdMapsWritten)?;
        become_root(self.plan.keeps_groups()).context("become root of the new user namespace")
    }

    /// Joins and makes the namespaces that the clone did not.
    fn enter_namespaces(&self, offsets: Option<File>) -> Result<()> {
        let namespaces = &self.plan.namespaces;
        if namespaces.case() == Case::Plain {
            // The runtime was in the joined PID namespace while it made this process.
            self.joined.enter(|kind| kind != Kind::Pid)?;
        }
        let flags = namespaces.unshare_flags(self.placed_by_clone);
        if flags != 0 {
            unshare(clone_flags(flags)).context("make the remaining namespaces")?;
        }
        if self.plan.cgroups.delegates() {
            self.channel.send(&FromInit::CgroupNamespace)?;
            self.expect(&FromRuntime::Placed)?;
        }
        if flags & Kind::Time.flag() != 0 {
            time::enter(&self.procfs, offsets, &namespaces.time_offsets)?;
        }
        if namespaces.is_new(Kind::Network) {
            net::loopback_up()?;
        }
        if !self.plan.net_devices.is_empty() {
            self.channel.send(&FromInit::NetDevices)?;
            self.expect(&FromRuntime::NetDevicesMoved)?;
        }
        Ok(())
    }

    /// Only who may administer a file system may map its ids.
    fn have_ids_mapped(&self, mount: usize, tree: BorrowedFd<'_>) -> Result<()> {
        self.channel.send(&FromInit::MapIds { mount, tree: tree.as_raw_fd() })?;
        self.expect(&FromRuntime::IdsMapped)
    }

    /// Hooks that expect the host's root, first those beside the runtime, then those here.
    fn run_hooks(&self, tree: &Tree) -> Result<()> {
        let plan = self.plan;
        if !plan.hooks.any_before_root() {
            return Ok(());
        }
        self.channel.send(&FromInit::Hooks)?;
        self.expect(&FromRuntime::HooksDone)?;
        umask(Mode::from_bits_truncate(0o022));
        plan.rootfs.enter_directory(tree)?;
        let state = state(plan, Status::Creating);
        plan.hooks.run(HookKind::CreateContainer, &state, Environment::Empty, &self.hook_files)
    }

    fn set_streams(&mut self, tree: &Tree) -> Result<()> {
        let (rootfs, root) = (&self.plan.rootfs, &tree.root);
        if let Some(console) = self.console.take() {
            let terminal = Terminal::make(root).context("process.terminal")?;
            rootfs.mount_console(tree, terminal.end())?;
            terminal.send(&console)?;
            return terminal.become_streams();
        }
        if rootfs.has_own_dev() {
            stdio::reopen_null(root).context("reopen standard streams in the container")?;
        }
        Ok(())
    }

    fn set_names_and_parameters(&self) -> Result<()> {
        let plan = self.plan;
        if let Some(name) = &plan.hostname {
            sethostname(name).with_context(|| format!("hostname: set it to {name:?}"))?;
        }
        if let Some(name) = &plan.domainname {
            set_domain_name(name).with_context(|| format!("domainname: set it to {name:?}"))?;
        }
        for sysctl in &plan.sysctls {
            sysctl.write(&self.procfs).with_context(|| format!("linux.sysctl: {sysctl}"))?;
        }
        Ok(())
    }

    fn expect(&self, wanted: &FromRuntime) -> Result<()> {
        expect(&self.channel, wanted)
    }
}

/// Reports success and waits for the runtime to have saved the container.
fn commit(plan: &Plan, channel: &Channel<FromInit, FromRuntime>, gate: &Inside) -> Result<()> {
    if !has_start_hooks(plan) {
        reset_signals().context("reset signals")?;
    }
    // As with runc, `kill` of a container that was never started ends it.
    end_by_signals();
    let limits = plan.process.as_ref().map(|process| process.rlimits.as_slice());
    let filter = plan.process.as_ref().zip(plan.seccomp.as_ref());
    let keep = gate.descriptors();
    be_ready(channel, &keep, plan.preserve_fds, limits.unwrap_or_default(), filter)
}

/// Hooks run as children of init, for which it needs its own way with signals until then.
fn has_start_hooks(plan: &Plan) -> bool {
    !plan.hooks.of(HookKind::StartContainer).is_empty()
}

/// Waits at the gate and becomes the program.
fn wait_and_start(plan: &Plan, program: Option<Program>, gate: &Inside) -> i32 {
    // `start` refuses a container without a program, so nobody opens its gate.
    let (Ok(()), Some(program)) = (gate.wait(), program) else { return FAILED };
    if has_start_hooks(plan) {
        let state = state(plan, Status::Created);
        let env = Environment::Program(program.env());
        let hooks = plan.hooks.run(HookKind::StartContainer, &state, env, &Files::default());
        if let Err(error) = hooks.and_then(|()| reset_signals().context("reset signals")) {
            // Without `start` there is nobody to tell.
            let _ = gate.failed(&error::chain(&error));
            return FAILED;
        }
    }
    if gate.executing().is_err() {
        return FAILED;
    }
    let error = program.execute();
    // The program's own standard error, as with runc: `start` has succeeded.
    log::plain(&error);
    FAILED
}

fn state(plan: &Plan, status: Status) -> String {
    let pid = getpid().as_raw();
    State::new(&plan.id, status, Some(pid), &plan.bundle, &plan.annotations).to_json()
}
