//! How input and output are shared: ioprio_set(2).

use anyhow::{Context, Result};
use oci_spec::runtime::{IOPriorityClass, LinuxIOPriority};

use crate::sys::scheduler::set_io_priority;

/// A class with a level in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoPriority {
    class: u16,
    level: u16,
}

impl IoPriority {
    pub(super) fn from_spec(spec: &LinuxIOPriority) -> Self {
        let class = match spec.class() {
            IOPriorityClass::IoprioClassRt => 1,
            IOPriorityClass::IoprioClassBe => 2,
            IOPriorityClass::IoprioClassIdle => 3,
        };
        Self { class, level: u16::try_from(spec.priority()).unwrap_or(0) }
    }

    /// Sets it for the calling process and those that it will make.
    ///
    /// # Errors
    /// EPERM for the real-time class without `CAP_SYS_NICE` or `CAP_SYS_ADMIN`.
    pub(super) fn apply(self) -> Result<()> {
        set_io_priority(self.class, self.level).context("process.ioPriority: set it")
    }
}
