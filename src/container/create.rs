//! `create`: steps 2 to 5 of the lifecycle. Whatever fails, everything is undone.

use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::path::Path;

use anyhow::{Context, Error, Result, anyhow, ensure};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::unistd::{Pid, geteuid};

use super::child::{Child, cannot_place};
use super::state::{self, Facts, save_config};
use super::{Container, Directory, Store, delete, notify, pid_file, prepare_mounts};
use crate::cgroups::{Made, rdt};
use crate::error::Remote;
use crate::handshake::channel::{Channel, pair};
use crate::handshake::{FromInit, FromRuntime, gate};
use crate::hooks::Kind as HookKind;
use crate::init;
use crate::log;
use crate::namespaces::join::{Joined, Own, check_sysctls};
use crate::namespaces::{Case, Kind, device};
use crate::plan::Plan;
use crate::process::rlimits;
use crate::process::terminal::Console;
use crate::procfs::Procfs;
use crate::rootfs::Way;
use crate::spec::state::{State, Status};
use crate::sys::clone::{Cloned, clone3};
use crate::sys::sealed::Image;

/// What is to be created.
#[derive(Debug)]
pub struct Request<'a> {
    /// Where containers are kept.
    pub store: &'a Store,
    /// What to make.
    pub plan: &'a Plan,
    /// The bytes of the config.
    pub config: &'a [u8],
    /// What this program runs from.
    pub image: Image,
    /// Where to write the pid of init.
    pub pid_file: Option<&'a Path>,
    /// Make what its program needs to notify the service manager.
    pub notify: bool,
    /// Open the gate in the same go, for `run`.
    pub start: bool,
    /// For whom a terminal is to be made.
    pub console: Option<Console>,
    /// Where to send a pidfd of init.
    pub pidfd_socket: Option<&'a Path>,
}

/// A container that was made.
#[derive(Debug)]
pub struct Created {
    /// The container, locked.
    pub container: Container,
    /// Its first process, a child of this one.
    pub init: Child,
    /// Its open gate, if it was to be started; else init waits behind it.
    pub gate: Option<gate::Outside>,
}

/// Creates a container.
///
/// # Errors
/// The first step that fails, after everything before it was undone.
pub fn create(request: Request<'_>) -> Result<Created> {
    let plan = request.plan;
    let directory = request.store.make(&plan.id)?;
    let mut attempt =
        Attempt { directory: Some(directory), plan, made: None, init: None, hooks_began: false };
    match attempt.make(request) {
        Ok(created) => Ok(created),
        Err(error) => {
            attempt.undo();
            Err(error)
        }
    }
}

/// How init comes to its mount namespace. Hooks before the change of root expect the mounts of the
/// container among those of the host.
fn way(plan: &Plan) -> Way {
    let alone = plan.namespaces.is_new(Kind::Mount) && !plan.hooks.any_before_root();
    let way = if alone { plan.rootfs.way(plan.cgroup_view.as_ref()) } else { Way::Copied };
    log::debug(|| format!("mount namespace: {way:?}"));
    way
}

/// What was made so far.
struct Attempt<'a> {
    /// With the lock; taken when the container is complete.
    directory: Option<Directory>,
    plan: &'a Plan,
    made: Option<Made>,
    init: Option<Child>,
    /// From then on a failure ends the lifecycle with its last steps (LIF-11).
    hooks_began: bool,
}

impl Attempt<'_> {
    fn make(&mut self, request: Request<'_>) -> Result<Created> {
        let plan = self.plan;
        let joined = Joined::open(&plan.namespaces)?;
        check_sysctls(&joined, &plan.sysctls)?;
        let own_network = joined.is_own(Kind::Network)?;
        ensure!(
            plan.net_devices.is_empty() || !own_network,
            "linux.netDevices: the joined network namespace is the host's own"
        );
        let mut facts = Facts::new(plan)?;
        facts.save(self.directory()?)?;
        save_config(self.directory()?, request.config)?;
        if request.notify {
            notify::make_directory(&request.store.directory(&plan.id))?;
        }
        let procfs = Procfs::open()?;
        let mounts = prepare_mounts::prepare(plan, &joined, &procfs)?;
        let (made, cgroups) = plan.cgroups.make()?;
        facts.cgroups = plan.cgroups.record_of(&made);
        self.made = Some(made);
        self.make_rdt(&mut facts)?;
        let (ours, channel) = pair("runtime", "container's init")?;
        let setup = init::Setup {
            plan,
            channel,
            gate: gate::make(self.directory()?)?,
            joined,
            cgroups,
            placed_by_clone: false,
            procfs,
            mounts,
            way: way(plan),
            image: request.image,
            place: request.store.path.join(&plan.id).join(state::STATE),
            console: request.console,
            hook_files: plan.hooks.open_outputs()?,
        };
        let (ours, procfs) = self.clone_init(setup, ours)?;
        self.place(&ours)?;
        // While init works there is time for this.
        self.save_pid(&mut facts, &procfs)?;
        self.serve(&ours, &procfs)?;
        if let Some(rdt) = &facts.rdt {
            rdt.place(self.init()?.pid)?;
        }
        if plan.namespaces.case() == Case::Joined {
            self.save_pid(&mut facts, &procfs)?;
        }
        if let Some(path) = request.pidfd_socket {
            self.init()?.send_pidfd(path, "standard")?;
        }
        let gate = self.commit(&ours, request.pid_file, request.start)?;
        let directory = self.directory.take().context("the container's directory")?;
        let init = self.init.take().context("the container's init")?;
        Ok(Created { container: Container { directory, facts }, init, gate })
    }

    /// Has systemd put the process that waits for it into the container's cgroups.
    fn place(&mut self, channel: &Channel<FromRuntime, FromInit>) -> Result<()> {
        if !self.plan.cgroups.waits_for_systemd() {
            return Ok(());
        }
        let pid = self.init()?.pid;
        let made = self.made.as_mut().context("the container's cgroups")?;
        self.plan.cgroups.place(pid, made)?;
        channel.send(&FromRuntime::Placed)
    }

    /// Makes the group of resctrl, which is written down at once: groups are few.
    fn make_rdt(&self, facts: &mut Facts) -> Result<()> {
        let Some(plan) = &self.plan.rdt else { return Ok(()) };
        let record = plan.make()?;
        facts.rdt = Some(record.clone());
        facts.save(self.directory()?).inspect_err(|_| {
            // Nobody would find it any more; what is read in the end does not know of it.
            let _ = record.remove();
        })
    }

    fn save_pid(&self, facts: &mut Facts, procfs: &Procfs) -> Result<()> {
        let pid = self.init()?.pid;
        let stat = procfs.stat(pid)?.context("the container's init is gone")?;
        facts.pid = Some(pid.as_raw());
        facts.start_time = Some(stat.start_time);
        facts.save(self.directory()?)
    }

    fn directory(&self) -> Result<BorrowedFd<'_>> {
        self.directory.as_ref().map(AsFd::as_fd).context("the container's directory")
    }

    fn init(&self) -> Result<&Child> {
        self.init.as_ref().context("the container's init")
    }

    /// Makes the first process. In that process it does not return.
    fn clone_init(
        &mut self,
        mut setup: init::Setup<'_>,
        ours: Channel<FromRuntime, FromInit>,
    ) -> Result<(Channel<FromRuntime, FromInit>, Procfs)> {
        let namespaces = &self.plan.namespaces;
        let case = namespaces.case();
        if setup.joined.get(Kind::Pid).is_some() && geteuid().is_root() {
            // Init can be seen in there from its first moment (CVE-2016-9962). Somebody else than
            // root could not map the ids of a process that hides, and owns what he joins.
            prctl::set_dumpable(false).context("hide from other processes")?;
        }
        if case == Case::NewUser && setup.joined.get(Kind::Cgroup).is_some() {
            // Where cgroup namespaces are borders (nsdelegate), nobody is born beyond that which the
            // runtime is about to join. A file that was opened before still leads there.
            setup.cgroups = setup.cgroups.without_clone()?;
        }
        let own = Own::leave(&setup.joined, |kind| match case {
            Case::Plain => kind == Kind::Pid,
            Case::NewUser => true,
            Case::Joined => false,
        })?;
        let made_by_init = if setup.way == Way::Made { Kind::Mount.flag() } else { 0 };
        let flags = |placed: bool| match case {
            Case::Joined => 0,
            Case::Plain => namespaces.clone_flags(placed) & !made_by_init,
            Case::NewUser => namespaces.clone_flags(placed),
        };
        setup.placed_by_clone = setup.cgroups.unified().is_some() && self.plan.cgroups.is_v2();
        let mut cloned = clone3(flags(setup.placed_by_clone), setup.cgroups.unified());
        if cannot_place(&cloned, setup.cgroups.unified().is_some(), &setup.procfs)? {
            setup.cgroups = setup.cgroups.without_clone()?;
            setup.placed_by_clone = false;
            cloned = clone3(flags(false), None);
        }
        match cloned.map_err(|errno| Error::new(errno).context(clone_context(errno)))? {
            Cloned::Child => {
                // The lock would live as long as init has a copy of it, and the runtime's end
                // of the channel would keep its death from being noticed.
                drop((self.directory.take(), ours, own));
                init::run(setup)
            }
            Cloned::Parent { pid, pidfd } => {
                self.init = Some(Child { pid, pidfd });
                own.return_home()?;
                // Dropping the rest leaves init as the only one at the gate.
                Ok((ours, setup.procfs))
            }
        }
    }

    /// Answers init until it is ready: see the picture in `handshake`.
    fn serve(&mut self, channel: &Channel<FromRuntime, FromInit>, procfs: &Procfs) -> Result<()> {
        if self.plan.namespaces.case() != Case::Joined {
            self.set_oom_score(procfs)?;
        }
        loop {
            match channel.receive_or_end()? {
                Some(FromInit::NeedIdMaps) => {
                    self.plan.namespaces.maps.write(procfs, self.init()?.pid, "linux")?;
                    channel.send(&FromRuntime::IdMapsWritten)?;
                }
                Some(FromInit::Forked(pid)) => {
                    let init = self.init.as_mut().context("the container's init")?;
                    init.replace(Pid::from_raw(pid))?;
                    self.plan.namespaces.maps.check_joined(procfs, Pid::from_raw(pid))?;
                    channel.send(&FromRuntime::Adopted)?;
                }
                Some(FromInit::CgroupNamespace) => {
                    self.plan.cgroups.delegate(self.init()?.pid)?;
                    channel.send(&FromRuntime::Placed)?;
                }
                Some(FromInit::NetDevices) => {
                    device::move_all(&self.plan.net_devices, procfs, self.init()?.pid)?;
                    channel.send(&FromRuntime::NetDevicesMoved)?;
                }
                Some(FromInit::MapIds { mount, tree }) => {
                    prepare_mounts::map_opened(self.plan, self.init()?, procfs, (mount, tree))?;
                    channel.send(&FromRuntime::IdsMapped)?;
                }
                Some(FromInit::Hooks) => {
                    self.run_hooks()?;
                    channel.send(&FromRuntime::HooksDone)?;
                }
                Some(FromInit::Listener(number)) => {
                    self.hand_over_listener(number)?;
                    channel.send(&FromRuntime::ListenerSent)?;
                }
                Some(FromInit::Ready { warnings, limits }) => {
                    warnings.into_iter().for_each(log::warn);
                    return self.set_limits(&limits);
                }
                Some(FromInit::Failed(chain)) => {
                    let remote = Remote::new(chain).context("an error without a text")?;
                    return Err(anyhow!(remote).context("error during container init"));
                }
                None => {
                    let record = self.plan.cgroups.record();
                    let oom = self.made.as_ref().is_some_and(|made| made.oom_killed(&record));
                    return Err(self.init()?.why_it_ended("the container's init", oom));
                }
            }
        }
    }

    fn set_oom_score(&self, procfs: &Procfs) -> Result<()> {
        let process = self.plan.process.as_ref();
        process.map_or(Ok(()), |process| process.set_oom_score(procfs, self.init()?.pid))
    }

    fn set_limits(&self, left: &[usize]) -> Result<()> {
        let process = self.plan.process.as_ref();
        process.map_or(Ok(()), |process| rlimits::set(&process.rlimits, left, self.init()?.pid))
    }

    fn run_hooks(&mut self) -> Result<()> {
        self.hooks_began = true;
        let plan = self.plan;
        let pid = Some(self.init()?.pid.as_raw());
        let state = State::new(&plan.id, Status::Creating, pid, &plan.bundle, &plan.annotations);
        let state = state.to_json();
        let mut kinds = [HookKind::Prestart, HookKind::CreateRuntime].into_iter();
        kinds.try_for_each(|kind| plan.hooks.run_beside(kind, &state))
    }

    fn hand_over_listener(&self, number: RawFd) -> Result<()> {
        let plan = self.plan;
        let init = self.init()?;
        let pid = Some(init.pid.as_raw());
        let state = State::new(&plan.id, Status::Creating, pid, &plan.bundle, &plan.annotations);
        init.hand_over_listener(number, plan.seccomp.as_ref(), &state)
    }

    /// Shows the container, and tells init.
    ///
    /// A gate that is opened before init hears of its success lets it through without another
    /// turn of waiting.
    fn commit(
        &self,
        channel: &Channel<FromRuntime, FromInit>,
        pid_file: Option<&Path>,
        start: bool,
    ) -> Result<Option<gate::Outside>> {
        let pid = self.init()?.pid;
        gate::finish(self.directory()?)?;
        let gate = start.then(|| gate::open(self.directory()?)).transpose()?;
        if let Some(path) = pid_file {
            pid_file::write(path, pid)?;
        }
        channel
            .send(&FromRuntime::Committed)
            .inspect_err(|_| pid_file.into_iter().for_each(pid_file::remove))?;
        Ok(gate)
    }

    /// Takes back everything that was made, in the opposite order. What cannot be taken back is
    /// said in the log; the error that led here is what the user is to read.
    fn undo(&mut self) {
        if let Some(init) = self.init.take() {
            init.end();
        }
        let Some(directory) = self.directory.take() else { return };
        let facts = Facts::read(directory.as_fd());
        let note = |result: Result<()>| {
            if let Err(error) = result {
                log::warn(format!("undo create: {error:#}"));
            }
        };
        if let Ok(facts) = &facts {
            if !facts.own_pid_namespace && self.made.is_some() {
                note(facts.cgroups.end_all(delete::deadline()));
            }
            note(facts.unmount());
            note(facts.rdt.as_ref().map_or(Ok(()), rdt::Record::remove));
        }
        if let Some(made) = self.made.take() {
            made.undo();
        }
        note(directory.remove());
        if self.hooks_began {
            delete::run_poststop(self.plan);
        }
    }
}

/// Some errors of clone3(2) are about the rules of cgroup-v2.
fn clone_context(errno: Errno) -> &'static str {
    match errno {
        Errno::EBUSY => "linux.cgroupsPath: it has controllers for the cgroups below it: clone3",
        Errno::EOPNOTSUPP => "linux.cgroupsPath: it is threaded, or beside threaded ones: clone3",
        Errno::EPERM if !geteuid().is_root() => {
            "make a user namespace, which an ordinary user may not do on every machine: clone3"
        }
        Errno::ENOSPC => "a namespace more than user.max_*_namespaces allow: clone3",
        _ => "clone3",
    }
}
