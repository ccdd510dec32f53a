//! `exec`

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStringExt;

use anyhow::{Context, Result, ensure};
use nix::unistd::geteuid;
use oci_spec::runtime::Spec;
use serde_json::Value;

use super::making::{check_preserved, sealed_image};
use super::{Global, terminal};
use crate::cgroups::Below;
use crate::cli::Exec;
use crate::container::Container;
use crate::container::console::{self, Caller, Sides};
use crate::container::exec::Request;
use crate::container::foreground::Signals;
use crate::container::state::read_config;
use crate::container::status::{Command, Status, allow};
use crate::log;
use crate::plan::exec as plan;
use crate::process::Process;
use crate::spec;
use crate::spec::joining::{self, Changes};

/// Executes a program in a container and, unless detached, waits for its end.
///
/// # Errors
/// Whatever goes wrong before the program runs, with nothing left behind.
pub(super) fn run(global: &Global, args: Exec) -> Result<i32> {
    exec(global, args).context("exec failed")
}

fn exec(global: &Global, args: Exec) -> Result<i32> {
    let container = global.store.look_up(&args.id)?;
    let command = if args.ignore_paused { Command::ExecPaused } else { Command::Exec };
    let status = container.status()?;
    allow(command, status, &args.id)?;
    // The files of a hidden process belong to the host's root (proc(5)).
    ensure!(
        status != Status::Created || geteuid().is_root(),
        "cannot exec in a created container of an ordinary user: its init hides until it is started"
    );
    let image = sealed_image()?;
    check_preserved(args.preserve_fds, &image)?;
    let cgroup = Below::parse(&args.cgroup)?;
    let (detach, socket) = (args.detach, args.console_socket.as_deref());
    let plan = plan(&container, &args)?;
    terminal::check(Some(&plan.process), detach, socket)?;
    log::debug(|| format!("{plan:?}"));
    let signals = Signals::hold()?;
    let Sides { console, caller } = console::prepare(Some(&plan.process), socket)?;
    let request = Request {
        plan: &plan,
        cgroup: &cgroup,
        console,
        pidfd_socket: args.pidfd_socket.as_deref(),
        pid_file: args.pid_file.as_deref(),
        signals: &signals,
    };
    let child = container.exec(request).context("unable to start container process")?;
    if detach {
        return Ok(0);
    }
    let mut relay = match caller.map(Caller::relay).transpose() {
        Ok(relay) => relay,
        Err(error) => {
            child.end();
            return Err(error);
        }
    };
    let status = signals.relay_until_end(&child, relay.as_mut(), None)?;
    signals.finish(relay)?;
    Ok(status)
}

fn plan(container: &Container, args: &Exec) -> Result<plan::Exec> {
    use std::os::fd::AsFd;
    let bytes = read_config(container.directory.as_fd())?;
    let (spec, own) = spec::again(&bytes).context(spec::CONFIG)?;
    let process = process(&spec, own, args)?;
    let facts = &container.facts;
    let known = plan::Container {
        id: facts.id.clone(),
        rootfs: facts.rootfs.clone(),
        keyring: facts.keyring,
    };
    plan::Exec::new(known, &spec, process, args.preserve_fds)
}

/// The process as a document describes it, or as the options change that of the container.
fn process(spec: &Spec, own: Value, args: &Exec) -> Result<Process> {
    let (mut process, warnings) = match &args.process {
        Some(path) => joining::read(path)?,
        None => {
            ensure!(!args.command.is_empty(), "exec args cannot be empty");
            joining::changed(own, &changes(args)?)?
        }
    };
    warnings.iter().for_each(log::warn);
    joining::inherit(&mut process, spec);
    let mut process = Process::from_spec(&process, spec)?;
    if args.process.is_none() {
        let words = args.command.iter().cloned().map(OsStringExt::into_vec).map(CString::new);
        process.set_args(words.collect::<Result<_, _>>().context("the command")?);
    }
    Ok(process)
}

fn changes(args: &Exec) -> Result<Changes> {
    let text = |word: &OsStr| word.to_string_lossy().into_owned();
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let gid = |text: &String| joining::id("additional gid", text);
    Ok(Changes {
        args: args.command.iter().map(|word| text(word)).collect(),
        cwd: args.cwd.clone(),
        env: args.env.clone(),
        user: args.user.as_deref().map(joining::user).transpose()?,
        additional_gids: args.additional_gids.iter().map(gid).collect::<Result<_>>()?,
        capabilities: args.cap.clone(),
        apparmor: filled(&args.apparmor),
        process_label: filled(&args.process_label),
        no_new_privileges: args.no_new_privs.then_some(true),
        terminal: args.tty,
    })
}
