//! `run`

use std::os::fd::AsFd;

use anyhow::{Context, Result};
use nix::sys::prctl;

use super::Global;
use super::making::{self, Then};
use crate::cli::{Run, name};
use crate::container::console::Caller;
use crate::container::foreground::Signals;
use crate::container::notify::{self, Proxy};
use crate::container::{Container, delete};

/// Creates a container, starts it and, unless detached, waits for its end and deletes it.
///
/// # Errors
/// Whatever goes wrong before the program runs, with nothing left behind.
pub(super) fn run(global: &Global, args: Run) -> Result<i32> {
    run_container(global, &args).with_context(|| format!("{} run failed", name()))
}

fn run_container(global: &Global, args: &Run) -> Result<i32> {
    let signals = if args.detach { None } else { Some(Signals::hold()?) };
    if !args.no_subreaper {
        prctl::set_child_subreaper(true).context("become a subreaper")?;
    }
    let then = if args.detach { Then::StartDetached } else { Then::StartAttached };
    let (created, caller) = making::make(global, &args.making, then)?;
    let (init, container) = (created.init, created.container);
    let mut relay = match caller.map(Caller::relay).transpose() {
        Ok(relay) => relay,
        Err(error) => return Err(container.end_after(error)),
    };
    let directory = global.store.directory(&args.making.id);
    let proxy = notify::manager().map(|manager| Proxy::listen(&directory, &manager)).transpose();
    let proxy = match proxy {
        Ok(proxy) => proxy.flatten(),
        Err(error) => return Err(container.end_after(error)),
    };
    let container = match created.gate {
        Some(gate) => container.finish_start(gate)?,
        None => container.start()?,
    };
    let Some(signals) = signals else {
        return proxy.map_or(Ok(()), |proxy| proxy.serve(init.pid, init.pidfd.as_fd())).map(|()| 0);
    };
    let status = signals.relay_until_end(&init, relay.as_mut(), proxy)?;
    let deleted = if args.keep { Ok(()) } else { delete_stopped(&container) };
    signals.finish(relay)?;
    deleted.map(|()| status)
}

fn delete_stopped(container: &Container) -> Result<()> {
    container.directory.relock()?;
    delete::destroy(container)
}
