//! `start`

use anyhow::Result;

use super::Global;
use crate::cli::Start;

/// Lets a created container execute its program.
///
/// # Errors
/// When it is not `created`, or a hook fails.
pub(super) fn run(global: &Global, args: &Start) -> Result<i32> {
    global.store.take(&args.id)?.start()?;
    Ok(0)
}
