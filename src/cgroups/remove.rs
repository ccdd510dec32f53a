//! Removing cgroups.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Record, processes, systemd};
use crate::{error, log};

/// How long a cgroup may stay busy after its last process ended.
const PATIENCE: Duration = Duration::from_secs(5);

impl Record {
    /// Removes the container's cgroups and those it made below them.
    ///
    /// # Errors
    /// When one of them stays busy, which means that a process is left in it.
    pub fn remove(&self) -> Result<()> {
        if let Some(Err(error)) = self.unit.as_ref().map(systemd::Unit::stop) {
            // It notices by itself that the cgroup is gone.
            log::warn(error::line(&error));
        }
        for place in &self.groups {
            tree(&place.directory)?;
        }
        Ok(())
    }
}

fn tree(directory: &Path) -> Result<()> {
    // Mostly there is nothing below, and asking costs more than trying.
    if fs::remove_dir(directory).is_ok() {
        return Ok(());
    }
    for below in processes::subdirectories(directory)? {
        tree(&below)?;
    }
    empty_directory(directory)
}

/// Removes a cgroup that has no processes and no children any more.
///
/// The kernel says EBUSY for a moment after the last process was reaped, until it has left the
/// cgroup for good, and has no event for that. So this is the one place that tries again, with
/// growing pauses; it begins without one.
pub(super) fn empty_directory(directory: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(50);
    loop {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error)
                if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline =>
            {
                std::thread::sleep(pause);
                pause *= 2;
            }
            other => {
                return other.with_context(|| format!("remove the cgroup {}", directory.display()));
            }
        }
    }
}
