//! One command, one file: from arguments to what is done and printed.

mod activation;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod making;
mod pause;
mod ps;
mod run;
mod seccomp;
mod spec;
mod start;
mod state;
mod terminal;
mod update;

use std::path::PathBuf;

use anyhow::{Result, bail};
use nix::unistd::geteuid;

use crate::cli::{self, Command, VERSION, name};
use crate::container::Store;
use crate::{host, log};

/// Global options, resolved.
#[derive(Debug)]
pub struct Global {
    /// Where containers are kept.
    pub store: Store,
    /// Who makes cgroups.
    pub manager: CgroupManager,
    /// Do without cgroups that the caller may not make, if nothing asks for them.
    pub rootless: bool,
}

/// Who makes cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupManager {
    /// This program.
    Cgroupfs,
    /// systemd.
    Systemd,
    /// Nobody: containers stay in the cgroups of their runtime.
    Disabled,
}

impl CgroupManager {
    /// runc has a flag, crun an option as well, which Podman uses (ENGINES 2).
    fn new(options: &cli::Global) -> Result<Self> {
        Ok(match options.cgroup_manager.as_deref() {
            None if options.systemd_cgroup => Self::Systemd,
            None | Some("cgroupfs") => Self::Cgroupfs,
            Some("systemd") => Self::Systemd,
            Some("disabled") => Self::Disabled,
            Some(other) => bail!("--cgroup-manager: unknown cgroup manager {other:?}"),
        })
    }
}

/// A command that failed.
#[derive(Debug)]
pub struct Failure {
    /// Why.
    pub error: anyhow::Error,
    /// The exit status: that of `exec` cannot be mistaken for one of the program (BXC-07).
    pub status: i32,
}

/// Runs the command and returns its exit status.
///
/// # Errors
/// Whatever goes wrong; the caller prints it.
pub fn run(options: cli::Global, command: Option<Command>) -> Result<i32, Failure> {
    let status = if matches!(command, Some(Command::Exec(_))) { 255 } else { 1 };
    dispatch(options, command).map_err(|error| Failure { error, status })
}

fn dispatch(options: cli::Global, command: Option<Command>) -> Result<i32> {
    let format = match options.log_format.as_str() {
        "" | "text" => log::Format::Text,
        "json" => log::Format::Json,
        other => bail!("invalid log-format: {other}"),
    };
    log::open(options.debug, format, options.log.as_deref())?;
    if options.version {
        return version();
    }
    let manager = CgroupManager::new(&options)?;
    let global =
        Global { rootless: rootless(&options.rootless)?, store: store(options.root)?, manager };
    match command {
        Some(Command::Checkpoint(_)) => bail!("checkpoint: not supported by this version"),
        Some(Command::Create(args)) => create::run(&global, args),
        Some(Command::Delete(args)) => delete::run(&global, &args),
        Some(Command::Events(args)) => events::run(&global, &args),
        Some(Command::Exec(args)) => exec::run(&global, args),
        Some(Command::Features(_)) => features::run(),
        Some(Command::Kill(args)) => kill::run(&global, &args),
        Some(Command::List(args)) => list::run(&global, &args),
        Some(Command::Pause(args)) => pause::pause(&global, &args),
        Some(Command::Ps(args)) => ps::run(&global, &args),
        Some(Command::Restore(_)) => bail!("restore: not supported by this version"),
        Some(Command::Resume(args)) => pause::resume(&global, &args),
        Some(Command::Run(args)) => run::run(&global, args),
        Some(Command::Seccomp(args)) => seccomp::run(&args),
        Some(Command::Spec(args)) => spec::run(&args),
        Some(Command::Start(args)) => start::run(&global, &args),
        Some(Command::State(args)) => state::run(&global, &args),
        Some(Command::Update(args)) => update::run(&global, &args),
        None => bail!("no command"),
    }
}

/// What the program was made from: who makes packages may say it more exactly.
const COMMIT: &str = match option_env!("ORLOP_COMMIT") {
    Some(commit) => commit,
    None => concat!("v", env!("CARGO_PKG_VERSION")),
};

/// dockerd takes the words after `version` and `commit:`, and go-runc the whole (ENGINES 2).
fn version() -> Result<i32> {
    let (name, spec) = (name(), crate::spec::VERSION);
    output(&format!("{name} version {VERSION}\ncommit: {COMMIT}\nspec: {spec}\n"))?;
    Ok(0)
}

/// Where containers are kept: by default on a tmpfs of the host, or of the user.
fn store(option: Option<PathBuf>) -> Result<Store> {
    if let Some(path) = option {
        let path = std::path::absolute(path)?;
        if path.as_os_str() == "/" {
            bail!("Option --root argument should not be set to /");
        }
        return Ok(Store::named(path));
    }
    // Podman sets it to nothing for root, which counts as not set.
    let of_user = std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
    Ok(match of_user.filter(|_| has_runtime_directory()) {
        Some(base) => Store::in_runtime_directory(PathBuf::from(base).join(name())),
        None => Store::new(PathBuf::from("/run").join(name())),
    })
}

/// The caller is an ordinary user, who may be root in a user namespace of his own: his environment
/// then tells that he was not root before (BXC-01).
fn has_runtime_directory() -> bool {
    if !geteuid().is_root() {
        return true;
    }
    host::in_user_namespace() && std::env::var_os("USER").is_none_or(|user| user != "root")
}

/// `--rootless`; by itself for an ordinary user, and in a user namespace, whose root has cgroups
/// only where somebody gave him some (BXG-24).
fn rootless(option: &str) -> Result<bool> {
    match option {
        "" => Ok(!geteuid().is_root() || host::in_user_namespace()),
        auto if auto.eq_ignore_ascii_case("auto") => rootless(""),
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => bail!("--rootless: {other:?} is none of true, false, auto"),
    }
}

/// Writes to standard output whole, or fails: a reader that went away is an error here.
///
/// # Errors
/// Those of write(2).
pub fn output(text: &str) -> Result<()> {
    use anyhow::Context;
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("write the output")
}
