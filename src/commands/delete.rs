//! `delete`

use anyhow::Result;

use super::Global;
use crate::cli::Delete;
use crate::container::{delete, texts};

/// Deletes a container. With `--force` it is killed first, and need not exist (DEL-06).
///
/// # Errors
/// When it runs, or something of it cannot be removed.
pub(super) fn run(global: &Global, args: &Delete) -> Result<i32> {
    let taken = if args.force {
        global.store.take_any(&args.id)
    } else {
        global.store.take(&args.id).map(Some)
    };
    match taken {
        Ok(Some(container)) if args.force => delete::force(container)?,
        Ok(Some(container)) => delete::delete(container)?,
        Ok(None) => {}
        Err(error) if args.force && error.to_string() == texts::DOES_NOT_EXIST => {}
        Err(error) => return Err(error),
    }
    Ok(0)
}
