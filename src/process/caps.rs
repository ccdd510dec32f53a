//! The five capability sets: capabilities(7).

use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};
use caps::{CapSet, Capability, CapsHashSet};
use oci_spec::runtime::{Capabilities, LinuxCapabilities};

use crate::log;

/// What each set becomes.
#[derive(Clone, Debug)]
pub struct Sets {
    bounding: CapsHashSet,
    effective: CapsHashSet,
    inheritable: CapsHashSet,
    permitted: CapsHashSet,
    ambient: CapsHashSet,
}

impl Sets {
    /// An array that is absent empties its set (CAP-07).
    pub(super) fn from_spec(spec: &LinuxCapabilities) -> Result<Self> {
        Ok(Self {
            bounding: set(spec.bounding().as_ref())?,
            effective: set(spec.effective().as_ref())?,
            inheritable: set(spec.inheritable().as_ref())?,
            permitted: set(spec.permitted().as_ref())?,
            ambient: set(spec.ambient().as_ref())?,
        })
    }

    /// The kernel would say EPERM for the whole set; this says which capability is missing.
    pub(super) fn check_grantable(&self) -> Result<()> {
        let own = caps::read(None, CapSet::Permitted).context("read the runtime's capabilities")?;
        for (name, set) in [("permitted", &self.permitted), ("effective", &self.effective)] {
            let mut missing: Vec<_> = set.difference(&own).map(ToString::to_string).collect();
            missing.sort_unstable();
            if !missing.is_empty() {
                let missing = missing.join(", ");
                bail!(
                    "process.capabilities.{name}: {missing}: operation not permitted: \
                    the runtime does not have it itself"
                );
            }
        }
        match self.effective.difference(&self.permitted).next() {
            Some(capability) => {
                bail!("process.capabilities.effective: {capability} is not in permitted")
            }
            None => Ok(()),
        }
    }

    /// Drops everything else from the bounding set. Needs `CAP_SETPCAP`.
    pub(super) fn limit_bounding(&self) -> Result<()> {
        let present = caps::read(None, CapSet::Bounding).context("read the bounding set")?;
        for capability in present.difference(&self.bounding) {
            caps::drop(None, CapSet::Bounding, *capability)
                .with_context(|| format!("process.capabilities.bounding: drop {capability}"))?;
        }
        Ok(())
    }

    /// Sets the other four. The permitted set comes last of the three that capset(2) sets, as
    /// it can only shrink and holds what the others may contain. What is in `besides` stays
    /// permitted for now, if it is.
    pub(super) fn apply(&self, besides: Option<Capability>) -> Result<()> {
        let own = caps::read(None, CapSet::Permitted).context("read the permitted set")?;
        let besides = besides.filter(|capability| own.contains(capability));
        let permitted = self.permitted.iter().copied().chain(besides).collect();
        for (name, kind, set) in [
            ("inheritable", CapSet::Inheritable, &self.inheritable),
            ("effective", CapSet::Effective, &self.effective),
            ("permitted", CapSet::Permitted, &permitted),
        ] {
            caps::set(None, kind, set)
                .with_context(|| format!("process.capabilities.{name}: set it"))?;
        }
        self.raise_ambient()
    }

    /// The permitted set, a bit for each capability.
    pub(super) fn permitted_bits(&self) -> u64 {
        self.permitted.iter().map(|capability| capability.bitmask()).fold(0, |all, bit| all | bit)
    }

    /// One that is not permitted and inheritable as well cannot be granted, which is no error
    /// (CAP-04, CAP-06): Buildah asks for that each time.
    fn raise_ambient(&self) -> Result<()> {
        caps::clear(None, CapSet::Ambient).context("process.capabilities.ambient: clear it")?;
        let mut refused = Vec::new();
        for capability in &self.ambient {
            if self.permitted.contains(capability) && self.inheritable.contains(capability) {
                caps::raise(None, CapSet::Ambient, *capability)
                    .with_context(|| format!("process.capabilities.ambient: raise {capability}"))?;
            } else {
                refused.push(capability.to_string());
            }
        }
        refused.sort_unstable();
        for name in refused {
            // runc's words, but for the reason.
            log::warn(format!(
                "can't raise ambient capability {name}: not in permitted and inheritable"
            ));
        }
        Ok(())
    }
}

fn set(names: Option<&Capabilities>) -> Result<CapsHashSet> {
    let convert = |name: &oci_spec::runtime::Capability| {
        let name = format!("CAP_{name}");
        Capability::from_str(&name).map_err(|_| anyhow!("process.capabilities: {name}: unknown"))
    };
    names.into_iter().flatten().map(convert).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_crates_know_the_same_names() {
        let all: Vec<_> = caps::all().iter().map(ToString::to_string).collect();
        let spec = json!({"bounding": all});
        let sets = Sets::from_spec(&serde_json::from_value(spec).unwrap()).unwrap();
        assert_eq!(sets.bounding, caps::all());
        assert!(sets.ambient.is_empty());
    }
}
