//! Which options go with a terminal: the rules of runc (BXC-19).

use std::path::Path;

use anyhow::{Result, ensure};

use crate::cli::name;
use crate::process::Process;

/// Checks `--console-socket` against what the process asks for and whether the runtime stays.
///
/// # Errors
/// When nobody would read the terminal, or the socket would not be used.
pub(super) fn check(process: Option<&Process>, detach: bool, socket: Option<&Path>) -> Result<()> {
    let terminal = process.is_some_and(|process| process.terminal);
    ensure!(
        !terminal || !detach || socket.is_some(),
        "cannot allocate tty if {} will detach without setting console socket",
        name()
    );
    ensure!(
        socket.is_none() || (terminal && detach),
        "cannot use console socket if {} will not detach or allocate tty",
        name()
    );
    Ok(())
}
