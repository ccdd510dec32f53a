//! The execution domain: personality(2).

use anyhow::{Context, Result};
use oci_spec::runtime::{LinuxPersonality, LinuxPersonalityDomain};

use crate::sys::process::set_personality;

/// A domain, as include/uapi/linux/personality.h numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Personality(u32);

impl Personality {
    pub(super) fn from_spec(spec: &LinuxPersonality) -> Self {
        Self(match spec.domain() {
            LinuxPersonalityDomain::PerLinux => 0,
            LinuxPersonalityDomain::PerLinux32 => 8,
        })
    }

    /// Sets it for the calling process and those that it will make.
    ///
    /// # Errors
    /// EINVAL when the kernel has no such domain.
    pub(super) fn apply(self) -> Result<()> {
        set_personality(self.0).context("linux.personality: set it")
    }
}
