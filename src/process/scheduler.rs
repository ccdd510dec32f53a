//! How the processor is shared: sched_setattr(2).

use anyhow::{Context, Result};
use nix::errno::Errno;
use oci_spec::runtime::{self, LinuxSchedulerFlag, LinuxSchedulerPolicy, Spec};

use crate::sys::scheduler::{Attributes, set_attributes};

/// The policy of a program with its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduler {
    attributes: Attributes,
    name: LinuxSchedulerPolicy,
    /// The container has not all processors of the machine.
    pinned: bool,
}

impl Scheduler {
    pub(super) fn from_spec(spec: &runtime::Scheduler, container: &Spec) -> Self {
        let resources = container.linux().as_ref().and_then(|linux| linux.resources().as_ref());
        let cpu = resources.and_then(|resources| resources.cpu().as_ref());
        let cpus = cpu.and_then(|cpu| cpu.cpus().as_deref()).unwrap_or_default();
        let flags = spec.flags().iter().flatten().map(|flag| bit(*flag));
        let attributes = Attributes {
            policy: number(*spec.policy()),
            flags: flags.fold(0, |flags, flag| flags | flag),
            nice: spec.nice().unwrap_or(0),
            priority: spec.priority().unwrap_or(0).unsigned_abs(),
            runtime: spec.runtime().unwrap_or(0),
            deadline: spec.deadline().unwrap_or(0),
            period: spec.period().unwrap_or(0),
        };
        Self { attributes, name: *spec.policy(), pinned: !cpus.is_empty() }
    }

    /// Sets it for the calling process and those that it will make.
    ///
    /// # Errors
    /// EPERM without `CAP_SYS_NICE`, EINVAL for what this kernel does not know.
    pub(super) fn apply(&self) -> Result<()> {
        match set_attributes(self.attributes) {
            // sched_setattr(2): a deadline is for all processors or for none. runc's words.
            Err(Errno::EPERM) if self.pinned => Err(Errno::EPERM).context(
                "process.scheduler: process scheduler can't be used together with AllowedCPUs",
            ),
            Err(Errno::EPERM) => Err(Errno::EPERM)
                .with_context(|| format!("process.scheduler: {} needs CAP_SYS_NICE", self.name)),
            other => other.with_context(|| format!("process.scheduler: set {}", self.name)),
        }
    }
}

/// The numbers of include/uapi/linux/sched.h.
fn number(policy: LinuxSchedulerPolicy) -> u32 {
    match policy {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    }
}

/// The bits of include/uapi/linux/sched.h.
fn bit(flag: LinuxSchedulerFlag) -> u64 {
    match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    }
}
