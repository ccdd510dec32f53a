//! The `process` object: who the program is.

pub mod affinity;
pub mod caps;
pub mod failure;
pub mod io_priority;
pub mod keyring;
pub mod label;
pub mod memory_policy;
pub mod personality;
pub mod program;
pub mod rlimits;
pub mod scheduler;
pub mod stdio;
pub mod terminal;
pub mod user;

use std::ffi::CString;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use ::caps::Capability;
use anyhow::{Context, Error, Result, ensure};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::prctl;
use nix::unistd::{Pid, fchdir, getcwd};
use oci_spec::runtime::{self, Spec};

use crate::procfs::Procfs;
use crate::resolve::{Missing, Root};
use crate::sys;
use crate::sys::caps::{SYS_ADMIN, Sets};
use failure::Step;
use program::Program;

/// What the `process` object asks for, checked and owned.
#[derive(Debug)]
pub struct Process {
    args: Vec<CString>,
    env: Vec<String>,
    cwd: PathBuf,
    /// Whose process it is.
    pub user: user::User,
    capabilities: Option<caps::Sets>,
    /// Limits to be set by the runtime.
    pub rlimits: Vec<rlimits::Rlimit>,
    no_new_privileges: bool,
    labels: label::Labels,
    /// The value for `/proc/PID/oom_score_adj`.
    oom_score_adj: Option<i32>,
    scheduler: Option<scheduler::Scheduler>,
    io_priority: Option<io_priority::IoPriority>,
    memory_policy: Option<memory_policy::MemoryPolicy>,
    personality: Option<personality::Personality>,
    /// On which processors it runs, if it joins a container.
    pub affinity: affinity::Affinity,
    /// Its standard streams are a terminal.
    pub terminal: bool,
    /// The first size of that terminal.
    pub console_size: Option<terminal::Size>,
}

impl Process {
    /// Takes over what a checked document says, and from `spec`, that of the container, what
    /// concerns all its processes.
    ///
    /// # Errors
    /// For capabilities that the types know and the program does not, and lists of processors.
    pub fn from_spec(process: &runtime::Process, spec: &Spec) -> Result<Self> {
        let linux = spec.linux().as_ref();
        let args = process.args().iter().flatten();
        let args = args.map(|arg| CString::new(arg.as_str())).collect::<Result<_, _>>();
        Ok(Self {
            args: args.context("process.args")?,
            env: process.env().clone().unwrap_or_default(),
            cwd: process.cwd().clone(),
            user: user::User::from_spec(process.user(), spec),
            capabilities: process.capabilities().as_ref().map(caps::Sets::from_spec).transpose()?,
            rlimits: rlimits::from_spec(process.rlimits().as_deref().unwrap_or_default()),
            no_new_privileges: process.no_new_privileges() == Some(true),
            labels: label::Labels::from_spec(process),
            oom_score_adj: process.oom_score_adj(),
            scheduler: process
                .scheduler()
                .as_ref()
                .map(|scheduler| scheduler::Scheduler::from_spec(scheduler, spec)),
            io_priority: process.io_priority().as_ref().map(io_priority::IoPriority::from_spec),
            memory_policy: linux
                .and_then(|linux| linux.memory_policy().as_ref())
                .map(memory_policy::MemoryPolicy::from_spec)
                .transpose()?,
            personality: linux
                .and_then(|linux| linux.personality().as_ref())
                .map(personality::Personality::from_spec),
            affinity: affinity::Affinity::from_spec(process.exec_cpu_affinity().as_ref())?,
            terminal: process.terminal() == Some(true),
            console_size: process.console_size().as_ref().and_then(size),
        })
    }

    /// Sets the arguments, of which JSON can hold only those that are UTF-8.
    pub fn set_args(&mut self, args: Vec<CString>) {
        self.args = args;
    }

    /// The environment as configured, before defaults are added.
    #[must_use]
    pub fn env(&self) -> &[String] {
        &self.env
    }

    /// Checks what can be known before anything is made.
    ///
    /// `maps` tells whether the process gets its capabilities from a user namespace.
    ///
    /// # Errors
    /// Capabilities that the runtime itself lacks and therefore cannot grant; labels of a security
    /// module that is off.
    pub fn check(&self, own_user_namespace: bool) -> Result<()> {
        self.labels.check()?;
        match &self.capabilities {
            Some(sets) if !own_user_namespace => sets.check_grantable(),
            _ => Ok(()),
        }
    }

    /// Sets how readily the kernel kills the process `pid` when memory is short.
    ///
    /// The runtime does this, as lowering the value takes a capability on the host. A process that
    /// hides belongs to the host's root, so an ordinary user's runtime cannot: see
    /// [`Process::set_own_oom_score`].
    ///
    /// # Errors
    /// EACCES without that capability.
    pub fn set_oom_score(&self, procfs: &Procfs, pid: Pid) -> Result<()> {
        self.write_oom_score(procfs, &pid.to_string())
    }

    /// As [`Process::set_oom_score`] for the caller, who neither hides nor has left the host's user
    /// namespace yet.
    ///
    /// # Errors
    /// EACCES without that capability.
    pub fn set_own_oom_score(&self, procfs: &Procfs) -> Result<()> {
        self.write_oom_score(procfs, &procfs.own_directory()?)
    }

    fn write_oom_score(&self, procfs: &Procfs, directory: &str) -> Result<()> {
        let Some(score) = self.oom_score_adj else { return Ok(()) };
        procfs
            .write(&format!("{directory}/oom_score_adj"), score)
            .with_context(|| format!("process.oomScoreAdj: set it to {score}"))
    }

    /// Sets what part of the machine this process and its children get and how they see it, while
    /// it has the rights of root.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn set_machine(&self) -> Result<()> {
        if let Some(scheduler) = &self.scheduler {
            scheduler.apply()?;
        }
        if let Some(priority) = self.io_priority {
            priority.apply()?;
        }
        if let Some(policy) = &self.memory_policy {
            policy.apply()?;
        }
        self.personality.map_or(Ok(()), personality::Personality::apply)
    }

    /// Joins the session keyring of the container `id`, with the program's label.
    ///
    /// # Errors
    /// Those of keyctl(2), and for what is no label.
    pub fn join_keyring(&self, procfs: &Procfs, id: &str) -> Result<()> {
        self.labels.label_keys(procfs)?;
        keyring::join(id)
    }

    /// Turns this process into the program's user and finds the program, in the container.
    ///
    /// The order of the steps is forced:
    /// 1. The working directory is entered, if it can be, while we are root (BXP-12). What a default of the environment needs is read by root as well.
    /// 2. The bounding set shrinks while `CAP_SETPCAP` is still there.
    /// 3. The labels come with the execve, but are asked for while `no_new_privs` is not set, under
    ///    which AppArmor allows fewer changes.
    /// 4. Groups before ids, ids before capabilities: each step needs what the next takes away.
    ///    `PR_SET_KEEPCAPS` carries the permitted set over the change of ids.
    /// 5. The working directory is entered by the user if root could not.
    /// 6. The program is looked up with the user's own rights, so that what is found can also
    ///    be executed.
    ///
    /// With `filtered` the right to install a filter stays for [`Process::install_filter`], though
    /// not in effect.
    ///
    /// # Errors
    /// The first step that fails.
    pub fn become_user(&self, root: &Root, procfs: &Procfs, filtered: bool) -> Result<Program> {
        let entered = self.enter_cwd_as_root(root)?;
        let env = program::environment(&self.env, || user::home(root, self.user.uid));
        if let Some(sets) = &self.capabilities {
            sets.limit_bounding()?;
        }
        stdio::give_to(self.user.uid)?;
        self.labels.announce(procfs)?;
        prctl::set_keepcaps(true).context("keep capabilities over the change of user")?;
        self.user.assume()?;
        prctl::set_keepcaps(false).context("keep capabilities no longer")?;
        if !entered {
            chdir(root, &self.cwd).map_err(|errno| self.cwd_error(errno))?;
        }
        check_cwd()?;
        if let Some(sets) = &self.capabilities {
            let needed = filtered && !self.no_new_privileges;
            sets.apply(needed.then_some(Capability::CAP_SYS_ADMIN))?;
        }
        if self.no_new_privileges {
            prctl::set_no_new_privs().context("set no_new_privs")?;
        }
        Program::find(&self.args, env)
    }

    /// Installs a filter for system calls, which `install` does: the last step but the start.
    ///
    /// With no_new_privs anybody may do that (seccomp(2)). Without, it takes `CAP_SYS_ADMIN`, so
    /// the capability is given up afterwards, by one capset(2): the one call that a profile has to
    /// allow here.
    ///
    /// # Errors
    /// When `install` fails, or the filter forbids capset(2).
    pub fn install_filter(&self, install: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.no_new_privileges {
            return install();
        }
        let found = sys::caps::get().context("read the capabilities")?;
        let given = self.capabilities.as_ref().map(caps::Sets::permitted_bits);
        let last = Sets { permitted: given.unwrap_or(found.permitted) & found.permitted, ..found };
        let raised = Sets { effective: found.effective | SYS_ADMIN, ..found };
        sys::caps::set(raised).context(
            "linux.seccomp: without process.noNewPrivileges a filter needs CAP_SYS_ADMIN",
        )?;
        install()?;
        sys::caps::set(last).context("linux.seccomp: drop capabilities behind the filter")
    }

    /// Makes the working directory of a container's first process if it is missing (BXP-11). For
    /// one that joins, a missing directory is an error.
    ///
    /// # Errors
    /// When it can be neither opened nor made, but for a directory that is closed to root.
    pub fn make_cwd(&self, root: &Root) -> Result<()> {
        match root.open_making(&self.cwd, Missing::MakeDirectory) {
            Ok(_) | Err(Errno::EACCES | Errno::EPERM) => Ok(()),
            Err(errno) => Err(self.cwd_error(errno)),
        }
    }

    /// Returns whether root may enter it; a directory of the user's own may be closed to root.
    fn enter_cwd_as_root(&self, root: &Root) -> Result<bool> {
        match chdir(root, &self.cwd) {
            Ok(()) => Ok(true),
            Err(Errno::EACCES | Errno::EPERM) => Ok(false),
            Err(errno) => Err(self.cwd_error(errno)),
        }
    }

    fn cwd_error(&self, number: Errno) -> anyhow::Error {
        Error::msg(failure::text(Step::Enter(&self.cwd), number))
    }
}

/// Engines write zeroes for a size that they do not know (BXP-04).
fn size(size: &runtime::Box) -> Option<terminal::Size> {
    let short = |number: u64| u16::try_from(number).unwrap_or(u16::MAX);
    let (rows, columns) = (short(size.height()), short(size.width()));
    (rows != 0 && columns != 0).then_some(terminal::Size { rows, columns })
}

/// Enters a directory of the container. Links of procfs, which could lead to a directory that
/// the runtime still holds open, are not followed (CVE-2024-21626).
fn chdir(root: &Root, cwd: &Path) -> nix::Result<()> {
    fchdir(root.open(cwd, OFlag::O_PATH | OFlag::O_DIRECTORY)?.as_fd())
}

/// The second defence against CVE-2024-21626: the kernel names a directory outside the root
/// `(unreachable)` (getcwd(3)).
fn check_cwd() -> Result<()> {
    let cwd = getcwd().context("read the working directory back")?;
    ensure!(
        cwd.is_absolute(),
        "current working directory is outside of container mount namespace root"
    );
    Ok(())
}
