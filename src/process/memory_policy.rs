//! From which nodes memory comes: set_mempolicy(2).

use anyhow::{Context, Result};
use oci_spec::runtime::{LinuxMemoryPolicy, MemoryPolicyFlagType, MemoryPolicyModeType};

use crate::spec::numbers::mask;
use crate::sys::scheduler::set_memory_policy;

/// A mode with its flags, and nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPolicy {
    mode: u32,
    nodes: Vec<u8>,
}

impl MemoryPolicy {
    pub(super) fn from_spec(spec: &LinuxMemoryPolicy) -> Result<Self> {
        let nodes = mask(spec.nodes().as_deref().unwrap_or_default());
        let flags = spec.flags().iter().flatten().map(|flag| bit(*flag));
        Ok(Self {
            mode: flags.fold(number(spec.mode()), |mode, flag| mode | flag),
            nodes: nodes.context("linux.memoryPolicy.nodes")?,
        })
    }

    /// Sets it for the calling process and those that it will make.
    ///
    /// # Errors
    /// EINVAL for nodes that are not there and combinations that the kernel refuses.
    pub(super) fn apply(&self) -> Result<()> {
        set_memory_policy(self.mode, &self.nodes).context("linux.memoryPolicy: set it")
    }
}

/// The numbers of include/uapi/linux/mempolicy.h.
fn number(mode: MemoryPolicyModeType) -> u32 {
    match mode {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    }
}

/// The bits of include/uapi/linux/mempolicy.h.
fn bit(flag: MemoryPolicyFlagType) -> u32 {
    match flag {
        MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
        MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
        MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
    }
}
