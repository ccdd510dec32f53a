//! `create`: steps 2 to 5 of the lifecycle. Whatever fails, everything is undone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::state::{self, Facts, save_config};
use super::{Container, Directory, Store, delete, pid_file};
use crate::cgroups::Made;
use crate::error::Remote;
use crate::handshake::channel::{Channel, pair};
use crate::handshake::{FromInit, FromRuntime, gate};
use crate::hooks::{Environment, Kind as HookKind};
use crate::init;
use crate::log;
use crate::namespaces::join::{Joined, Own, check_sysctls};
use crate::namespaces::{Case, Kind};
use crate::plan::Plan;
use crate::process::rlimits;
use crate::procfs::Procfs;
use crate::spec::state::{State, Status};
use crate::sys::clone::{Cloned, clone3};
use crate::sys::process::{pidfd_open, pidfd_send_signal};
use crate::sys::sealed::Image;
use crate::sys::seccomp::descriptor_of;

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
    /// Open the gate in the same go, for `run`.
    pub start: bool,
}

/// A container that was made.
#[derive(Debug)]
pub struct Created {
    /// The container, locked.
    pub container: Container,
    /// Its first process, a child of this one.
    pub init: Init,
    /// Its open gate, if it was to be started; else init waits behind it.
    pub gate: Option<gate::Outside>,
}

/// A process that this one has made.
#[derive(Debug)]
pub struct Init {
    /// Its number on the host.
    pub pid: Pid,
    /// Itself.
    pub pidfd: OwnedFd,
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

/// What was made so far.
struct Attempt<'a> {
    /// With the lock; taken when the container is complete.
    directory: Option<Directory>,
    plan: &'a Plan,
    made: Option<Made>,
    init: Option<Init>,
    /// From then on a failure ends the lifecycle with its last steps (LIF-11).
    hooks_began: bool,
}

impl Attempt<'_> {
    fn make(&mut self, request: Request<'_>) -> Result<Created> {
        let plan = self.plan;
        let joined = Joined::open(&plan.namespaces)?;
        check_sysctls(&joined, &plan.sysctls)?;
        let mut facts = Facts::new(plan)?;
        facts.save(self.directory()?)?;
        save_config(self.directory()?, request.config)?;
        let (made, cgroups) = plan.cgroups.make()?;
        self.made = Some(made);
        let (ours, channel) = pair("runtime", "container's init")?;
        let setup = init::Setup {
            plan,
            channel,
            gate: gate::make(self.directory()?)?,
            joined,
            cgroups,
            placed_by_clone: false,
            procfs: Procfs::open()?,
            image: request.image,
            place: request.store.path.join(&plan.id).join(state::STATE),
        };
        let (ours, procfs) = self.clone_init(setup, ours)?;
        // While init works there is time for this.
        self.save_pid(&mut facts, &procfs)?;
        self.serve(&ours, &procfs)?;
        if plan.namespaces.case() == Case::Joined {
            self.save_pid(&mut facts, &procfs)?;
        }
        let gate = self.commit(&ours, request.pid_file, request.start)?;
        let directory = self.directory.take().context("the container's directory")?;
        let init = self.init.take().context("the container's init")?;
        Ok(Created { container: Container { directory, facts }, init, gate })
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

    fn init(&self) -> Result<&Init> {
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
        let own = Own::leave(&setup.joined, |kind| match case {
            Case::Plain => kind == Kind::Pid,
            Case::NewUser => true,
            Case::Joined => false,
        })?;
        let flags = |placed: bool| match case {
            Case::Joined => 0,
            Case::Plain | Case::NewUser => namespaces.clone_flags(placed),
        };
        setup.placed_by_clone = self.plan.cgroups.is_v2();
        let mut cloned = clone3(flags(setup.placed_by_clone), setup.cgroups.unified());
        // No such call or flag (a kernel before 5.7, a sandbox): init then moves itself.
        let lacks = matches!(cloned, Err(Errno::ENOSYS | Errno::E2BIG | Errno::EINVAL));
        if lacks && setup.cgroups.unified().is_some() {
            setup.cgroups = setup.cgroups.without_clone(&self.plan.cgroups.record())?;
            setup.placed_by_clone = false;
            cloned = clone3(flags(false), None);
        }
        match cloned.context("clone3")? {
            Cloned::Child => {
                // The lock would live as long as init has a copy of it, and the runtime's end
                // of the channel would keep its death from being noticed.
                drop((self.directory.take(), ours, own));
                init::run(setup)
            }
            Cloned::Parent { pid, pidfd } => {
                self.init = Some(Init { pid, pidfd });
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
                    self.plan.namespaces.maps.write(procfs, self.init()?.pid)?;
                    channel.send(&FromRuntime::IdMapsWritten)?;
                }
                Some(FromInit::Forked(pid)) => {
                    self.adopt(Pid::from_raw(pid))?;
                    self.plan.namespaces.maps.check_joined(procfs, Pid::from_raw(pid))?;
                    self.set_oom_score(procfs)?;
                    channel.send(&FromRuntime::Adopted)?;
                }
                Some(FromInit::Hooks) => {
                    self.run_hooks()?;
                    channel.send(&FromRuntime::HooksDone)?;
                }
                Some(FromInit::Listener(number)) => {
                    self.hand_over_listener(number)?;
                    channel.send(&FromRuntime::ListenerSent)?;
                }
                Some(FromInit::Ready { warnings }) => {
                    warnings.into_iter().for_each(log::warn);
                    return Ok(());
                }
                Some(FromInit::Failed(chain)) => {
                    let remote = Remote::new(chain).context("an error without a text")?;
                    return Err(anyhow!(remote).context("error during container init"));
                }
                None => return Err(self.why_init_ended()),
            }
        }
    }

    /// Init takes the place of the intermediate process, which ends by itself.
    fn adopt(&mut self, pid: Pid) -> Result<()> {
        let pidfd = pidfd_open(pid).context("watch the container's init")?;
        if let Some(stage1) = self.init.replace(Init { pid, pidfd }) {
            reap(&stage1)?;
        }
        Ok(())
    }

    /// The runtime does this, as lowering the value takes a capability on the host. Init has not
    /// hidden from other processes yet, or the runtime may look at them all.
    fn set_oom_score(&self, procfs: &Procfs) -> Result<()> {
        let score = self.plan.process.as_ref().and_then(|process| process.oom_score_adj);
        let Some(score) = score else { return Ok(()) };
        let pid = self.init()?.pid;
        procfs
            .write(&format!("{pid}/oom_score_adj"), score)
            .with_context(|| format!("process.oomScoreAdj: set it to {score}"))
    }

    fn run_hooks(&mut self) -> Result<()> {
        self.hooks_began = true;
        let plan = self.plan;
        let pid = Some(self.init()?.pid.as_raw());
        let state = State::new(&plan.id, Status::Creating, pid, &plan.bundle, &plan.annotations);
        let state = state.to_json();
        for kind in [HookKind::Prestart, HookKind::CreateRuntime] {
            plan.hooks.run(kind, &state, Environment::Inherited)?;
        }
        Ok(())
    }

    /// Takes the listener of the filter from init and sends it to who decides about calls.
    fn hand_over_listener(&self, number: RawFd) -> Result<()> {
        let plan = self.plan;
        let listener = plan.seccomp.as_ref().and_then(|filter| filter.listener.as_ref());
        let listener = listener.context("a seccomp listener that nobody asked for")?;
        let init = self.init()?;
        let descriptor = descriptor_of(init.pidfd.as_fd(), number)
            .context("linux.seccomp: take the listener from the container's init")?;
        let pid = init.pid.as_raw();
        let state =
            State::new(&plan.id, Status::Creating, Some(pid), &plan.bundle, &plan.annotations);
        listener.send(descriptor.as_fd(), pid, &state)
    }

    /// Sets what would have been in init's way, shows the container, and tells init.
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
        if let Some(process) = &self.plan.process {
            rlimits::set(&process.rlimits, pid)?;
        }
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

    /// Init ended without a word: somebody killed it, and mostly that was the kernel.
    fn why_init_ended(&self) -> anyhow::Error {
        let status = self.init().and_then(reap);
        let oom = self.plan.cgroups.record().oom_killed();
        match status {
            Ok(WaitStatus::Signaled(_, Signal::SIGKILL, _)) if oom => {
                anyhow!("container init was OOM-killed (memory limit too low?)")
            }
            Ok(WaitStatus::Signaled(_, Signal::SIGSYS, _)) => {
                anyhow!(
                    "the container's init was killed by SIGSYS: linux.seccomp forbids a call \
                    that starting the program takes"
                )
            }
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                anyhow!("the container's init was killed by {signal}")
            }
            Ok(WaitStatus::Exited(_, code)) => {
                anyhow!("the container's init ended with status {code}")
            }
            Ok(status) => anyhow!("the container's init ended unexpectedly: {status:?}"),
            Err(error) => error.context("the container's init ended unexpectedly"),
        }
    }

    /// Takes back everything that was made, in the opposite order. What cannot be taken back is
    /// said in the log; the error that led here is what the user is to read.
    fn undo(&mut self) {
        if let Some(init) = self.init.take() {
            let killed = pidfd_send_signal(init.pidfd.as_fd(), libc::SIGKILL);
            if matches!(killed, Ok(()) | Err(Errno::ESRCH)) {
                // It was reaped already if its end is why we are here.
                let _ = reap(&init);
            }
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

/// Waits for the end of a child.
fn reap(init: &Init) -> Result<WaitStatus> {
    loop {
        match waitid(Id::PIDFd(init.pidfd.as_fd()), WaitPidFlag::WEXITED) {
            Err(Errno::EINTR) => {}
            other => return other.context("wait for the container's init"),
        }
    }
}
