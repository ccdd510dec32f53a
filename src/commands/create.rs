//! `create`

use anyhow::{Context, Result};

use super::Global;
use super::making::{self, Then};
use crate::cli::{Create, name};

/// Creates a container and leaves it waiting for `start`.
///
/// # Errors
/// Whatever goes wrong, with nothing left behind.
pub(super) fn run(global: &Global, args: Create) -> Result<i32> {
    making::make(global, &args.making, Then::Wait)
        .with_context(|| format!("{} create failed", name()))?;
    Ok(0)
}
