//! `kill`

use anyhow::Result;

use super::Global;
use crate::cli::Kill;
use crate::container::kill::signal;
use crate::container::texts;

/// Sends a signal to a container. `--all` only makes a stopped container no error (BXC-15).
///
/// # Errors
/// When there is no such container or signal, or the container is not running.
pub(super) fn run(global: &Global, args: &Kill) -> Result<i32> {
    let container = global.store.look_up(&args.id)?;
    match container.kill(signal(&args.signal)?) {
        Err(error) if args.all && error.to_string() == texts::NOT_RUNNING => Ok(0),
        other => other.map(|()| 0),
    }
}
