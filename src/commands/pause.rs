//! `pause` and `resume`

use anyhow::Result;

use super::Global;
use crate::cli::{Pause, Resume};

/// Suspends all processes of a container.
///
/// # Errors
/// When there is no such container, or it is not running.
pub(super) fn pause(global: &Global, args: &Pause) -> Result<i32> {
    global.store.take(&args.id)?.pause().map(|()| 0)
}

/// Lets the processes of a container run on.
///
/// # Errors
/// When there is no such container, or it is not paused.
pub(super) fn resume(global: &Global, args: &Resume) -> Result<i32> {
    global.store.take(&args.id)?.resume().map(|()| 0)
}
