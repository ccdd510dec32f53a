//! `run`

use anyhow::{Context, Result};
use nix::sys::prctl;

use super::{Global, making};
use crate::cli::{NAME, Run};
use crate::container::delete;
use crate::container::foreground::Signals;

/// Creates a container, starts it and, unless detached, waits for its end and deletes it.
///
/// # Errors
/// Whatever goes wrong before the program runs, with nothing left behind.
pub(super) fn run(global: &Global, args: Run) -> Result<i32> {
    run_container(global, &args).with_context(|| format!("{NAME} run failed"))
}

fn run_container(global: &Global, args: &Run) -> Result<i32> {
    let signals = if args.detach { None } else { Some(Signals::hold()?) };
    if !args.no_subreaper {
        prctl::set_child_subreaper(true).context("become a subreaper")?;
    }
    let created = making::make(global, &args.making, true)?;
    let (init, container) = (created.init, created.container);
    let gate = created.gate.context("the gate of the container")?;
    let container = container.finish_start(gate)?;
    let Some(signals) = signals else { return Ok(0) };
    let status = signals.relay_until_end(&init)?;
    if !args.keep {
        container.directory.relock()?;
        delete::destroy(&container)?;
    }
    Ok(status)
}
