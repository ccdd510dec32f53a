//! On which processors a process runs: sched_setaffinity(2).

use anyhow::{Context, Result};
use oci_spec::runtime::ExecCPUAffinity;

use crate::log;
use crate::spec::numbers::mask;
use crate::sys::process::{affinity, set_affinity};

/// What a process that joins a container asks for: masks, of which an empty one asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    initial: Vec<u8>,
    last: Vec<u8>,
}

impl Affinity {
    pub(super) fn from_spec(spec: Option<&ExecCPUAffinity>) -> Result<Self> {
        let Some(spec) = spec else { return Ok(Self::default()) };
        let read = |name: &str, list: &Option<String>| {
            let mask = mask(list.as_deref().unwrap_or_default());
            mask.with_context(|| format!("process.execCPUAffinity.{name}"))
        };
        Ok(Self {
            initial: read("initial", spec.initial())?,
            last: read("final", spec.cpu_affinity_final())?,
        })
    }

    /// Moves the runtime to the processors on which the new process begins, before it is in the
    /// container's cgroup (AFF-02). Returns where the runtime was, if it was moved.
    ///
    /// # Errors
    /// EINVAL when there are no such processors.
    pub fn begin(&self) -> Result<Option<Vec<u8>>> {
        if self.initial.is_empty() {
            return Ok(None);
        }
        let before = affinity().context("read the runtime's own processors")?;
        set_affinity(&self.initial).context("process.execCPUAffinity.initial: set it")?;
        Ok(Some(before))
    }

    /// Moves the calling process, which is in the container's cgroup, to the processors where its
    /// program runs (AFF-03, AFF-04).
    ///
    /// # Errors
    /// EINVAL when there are no such processors.
    pub fn finish(&self) -> Result<()> {
        match (self.initial.is_empty(), self.last.is_empty()) {
            (_, false) => set_affinity(&self.last).context("process.execCPUAffinity.final: set it"),
            (true, true) => {
                reset();
                Ok(())
            }
            (false, true) => Ok(()),
        }
    }
}

/// Lets the calling process run on all processors of its cgroup, whatever the runtime's caller is
/// bound to (BXP-24).
pub fn reset() {
    // Those that may be plugged in later are meant as well. The kernel takes what it knows.
    if let Err(errno) = set_affinity(&[0xff; 8192]) {
        log::debug(|| format!("the process keeps the caller's processors: {errno}"));
    }
}
