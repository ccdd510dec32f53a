//! `delete`: steps 12 and 13 of the lifecycle.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Container;
use super::status::{Command, Status, allow};
use crate::cgroups::rdt;
use crate::hooks::Hooks;
use crate::plan::Plan;
use crate::spec::state::State;
use crate::sys::process::pidfd_send_signal;

/// How long killed processes may take to end: runc's (BXC-13).
const PATIENCE: Duration = Duration::from_secs(10);

/// The moment after which nobody waits for killed processes any more.
#[must_use]
pub fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// Deletes a container that has stopped, or was never started.
///
/// # Errors
/// When it runs, or something of it cannot be removed.
pub fn delete(container: Container) -> Result<()> {
    let status = container.status()?;
    allow(Command::Delete, status, &container.facts.id)?;
    match status {
        Status::Stopped => destroy(&container),
        _ => force(container),
    }
}

/// Kills what is left of a container and deletes it.
///
/// # Errors
/// When a process does not end, or something of it cannot be removed.
pub fn force(container: Container) -> Result<()> {
    if let Some(init) = container.open_init()? {
        match pidfd_send_signal(init.as_fd(), libc::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(errno).context("kill the container's init"),
        }
        // A frozen process dies when it is thawed (BXC-17).
        container.facts.cgroups.thaw();
        wait(&init, deadline())?;
    }
    // Without a PID namespace others may be left, and with one those that were put in later.
    container.facts.cgroups.end_all(deadline())?;
    destroy(&container)
}

/// Waits for the end of a process, which need not be a child.
fn wait(process: &std::os::fd::OwnedFd, deadline: Instant) -> Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => bail!("container init still running"),
            Err(Errno::EINTR) => {}
            other => return other.map(drop).context("wait for the container's init"),
        }
    }
}

/// Removes everything that was made for a container whose first process has ended.
///
/// # Errors
/// When a process does not end, or something cannot be removed.
pub fn destroy(container: &Container) -> Result<()> {
    let facts = &container.facts;
    if !facts.own_pid_namespace {
        facts.cgroups.end_all(deadline())?;
    }
    facts.cgroups.remove()?;
    facts.rdt.as_ref().map_or(Ok(()), rdt::Record::remove)?;
    facts.unmount()?;
    container.directory.remove()?;
    poststop(
        &facts.hooks,
        &State::new(&facts.id, Status::Stopped, None, &facts.bundle, &facts.annotations),
    );
    Ok(())
}

/// Runs the hooks that end the lifecycle of a container that was not completed.
pub(super) fn run_poststop(plan: &Plan) {
    let state = State::new(&plan.id, Status::Stopped, None, &plan.bundle, &plan.annotations);
    poststop(&plan.hooks, &state);
}

fn poststop(hooks: &Hooks, state: &State<'_>) {
    hooks.run_poststop(&state.to_json());
}
