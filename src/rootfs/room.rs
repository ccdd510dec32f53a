//! Room for open files: each mount stays open until the last look, and there may be thousands.

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// Files that are open beside the mounts: those of the runtime, and of one step.
const OTHERS: u64 = 256;

/// The limits of the caller, who decides about those of the program.
#[derive(Debug)]
pub(super) struct Room {
    soft: rlim_t,
    hard: rlim_t,
}

impl Room {
    /// Raises the soft limit as far as it goes if this many mounts need that.
    ///
    /// # Errors
    /// Those of getrlimit(2) and setrlimit(2).
    pub(super) fn make(mounts: usize) -> Result<Self> {
        let limits = getrlimit(Resource::RLIMIT_NOFILE);
        let (soft, hard) = limits.context("read the limit of open files")?;
        if u64::try_from(mounts)?.saturating_add(OTHERS) > soft {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("open more files")?;
        }
        Ok(Self { soft, hard })
    }

    /// Sets the limits back.
    ///
    /// # Errors
    /// Those of setrlimit(2).
    pub(super) fn give_back(&self) -> Result<()> {
        let done = setrlimit(Resource::RLIMIT_NOFILE, self.soft, self.hard);
        done.context("set the limit of open files back")
    }
}
