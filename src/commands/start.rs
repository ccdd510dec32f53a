//! `start`

use std::os::fd::AsFd;

use anyhow::Result;

use super::Global;
use crate::cli::Start;
use crate::container::notify::{self, Proxy};

/// Lets a created container execute its program.
///
/// # Errors
/// When it is not `created`, or a hook fails.
pub(super) fn run(global: &Global, args: &Start) -> Result<i32> {
    let container = global.store.take(&args.id)?;
    let directory = global.store.directory(&args.id);
    let proxy = notify::manager().map(|manager| Proxy::listen(&directory, &manager)).transpose()?;
    let init = container.open_init()?;
    let pid = container.facts.pid();
    container.start()?;
    if let (Some(proxy), Some(pid), Some(init)) = (proxy.flatten(), pid, init) {
        proxy.serve(pid, init.as_fd())?;
    }
    Ok(0)
}
