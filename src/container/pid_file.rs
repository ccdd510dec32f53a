//! The file in which an engine finds the pid of a process it asked for.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::unistd::Pid;

/// Writes bare digits: engines parse the whole file as a number. The file appears complete, since
/// some wait for its name (BXC-18).
///
/// # Errors
/// Those of writing and renaming a file.
pub fn write(path: &Path, pid: Pid) -> Result<()> {
    let hidden = hidden(path);
    fs::write(&hidden, pid.to_string())
        .and_then(|()| fs::rename(&hidden, path))
        .inspect_err(|_| remove(&hidden))
        .with_context(|| format!("write the pid file {}", path.display()))
}

/// Removes the file of a process that was not kept.
pub fn remove(path: &Path) {
    // It names a process that does not exist; that is all that is wrong if it stays.
    let _ = fs::remove_file(path);
}

fn hidden(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}
