//! Intel RDT: shares of the last cache and of memory bandwidth, by groups of the file system
//! resctrl (resctrl of the kernel's documentation).
//!
//! Groups are few in the hardware and often shared, so they are more than a container's own: one
//! that is named in the config is somebody else's, and is not removed.

mod group;
mod schema;
mod stats;

pub use group::Record;
pub use stats::read as stats;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::sys::statfs::statfs;
use oci_spec::runtime::Linux;

use crate::host::mount_table;

/// Where it is mounted mostly.
const USUAL: &str = "/sys/fs/resctrl";

/// `RDTGROUP_SUPER_MAGIC` of linux/magic.h.
const MAGIC: libc::c_long = 0x0765_5821;

/// The group of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The name of the group; empty for the one that everything is in.
    class: String,
    /// The config names it.
    named: bool,
    cache: Option<String>,
    bandwidth: Option<String>,
    /// More lines for `schemata`.
    lines: Vec<String>,
    /// The name of a group below, whose use is counted.
    monitor: Option<String>,
}

impl Plan {
    /// What a checked document asks for, if anything.
    #[must_use]
    pub fn new(linux: Option<&Linux>, id: &str) -> Option<Self> {
        let rdt = linux?.intel_rdt().as_ref()?;
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let named = filled(rdt.clos_id());
        let lines = rdt.schemata().iter().flatten().filter(|line| !line.is_empty());
        Some(Self {
            class: named.clone().unwrap_or_else(|| id.to_string()).replace('/', ""),
            named: named.is_some(),
            cache: filled(rdt.l3_cache_schema()),
            bandwidth: filled(rdt.mem_bw_schema()),
            lines: lines.cloned().collect(),
            monitor: (*rdt.enable_monitoring() == Some(true)).then(|| id.to_string()),
        })
    }

    /// Makes the group, or checks the one that is there.
    ///
    /// # Errors
    /// When there is no resctrl, the group is missing or has other shares, or the kernel refuses
    /// these; nothing is left then.
    pub fn make(&self) -> Result<Record> {
        let root = find_root().context("linux.intelRdt")?;
        group::make(self, &root).context("linux.intelRdt")
    }
}

/// Finds where resctrl is mounted.
fn find_root() -> Result<PathBuf> {
    let is_resctrl =
        |path: &Path| statfs(path).is_ok_and(|found| found.filesystem_type().0 == MAGIC);
    if is_resctrl(Path::new(USUAL)) {
        return Ok(USUAL.into());
    }
    let table = mount_table()?;
    let table = String::from_utf8_lossy(&table);
    let mounted = table.lines().find_map(|line| {
        let (head, tail) = line.split_once(" - ")?;
        tail.starts_with("resctrl ").then(|| head.split(' ').nth(4))?
    });
    mounted.map(PathBuf::from).context("Intel RDT not available: resctrl is not mounted")
}

/// New shares for a container that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schemas {
    /// `L3:0=ff;1=c0`
    pub l3_cache: Option<String>,
    /// `MB:0=20;1=70`
    pub memory_bandwidth: Option<String>,
}

impl Schemas {
    /// What is to be written for them to the group of a container, if anything.
    ///
    /// # Errors
    /// When the machine has no such shares, or the container no group.
    pub fn plan(&self, record: Option<&Record>) -> Result<Option<Change>> {
        self.plan_below(find_root().ok().as_deref(), record)
    }

    fn plan_below(&self, root: Option<&Path>, record: Option<&Record>) -> Result<Option<Change>> {
        let has = |name: &str| root.is_some_and(|root| root.join("info").join(name).exists());
        let cache = self.l3_cache.is_none() || has("L3");
        ensure!(cache, "Intel RDT/CAT: l3 cache schema is not enabled");
        let bandwidth = self.memory_bandwidth.is_none() || has("MB");
        ensure!(bandwidth, "Intel RDT/MBA: memory bandwidth schema is not enabled");
        let lines: Vec<_> =
            [&self.l3_cache, &self.memory_bandwidth].into_iter().flatten().cloned().collect();
        if lines.is_empty() {
            return Ok(None);
        }
        for line in &lines {
            ensure!(!line.contains('\n'), "Intel RDT: {line:?} has more than one line");
        }
        let record =
            record.context("updating a non-existent Intel RDT configuration is not supported")?;
        Ok(Some(Change { record: record.clone(), lines }))
    }
}

/// New lines for the `schemata` of a group.
#[derive(Debug)]
pub struct Change {
    record: Record,
    lines: Vec<String>,
}

impl Change {
    /// Writes them.
    ///
    /// # Errors
    /// When the kernel refuses one; all are as they were then.
    pub fn apply(&self) -> Result<()> {
        self.record.change(&self.lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use group::tests::Fake;

    #[test]
    fn changes_need_a_group_and_what_they_change() {
        let fake = Fake::new("change");
        let cache = Schemas { l3_cache: Some("L3:0=3".into()), memory_bandwidth: None };
        let bandwidth = Schemas { l3_cache: None, memory_bandwidth: Some("MB:0=50".into()) };
        let error = |schemas: &Schemas, root: Option<&Path>, record| {
            format!("{:#}", schemas.plan_below(root, record).unwrap_err())
        };
        assert!(error(&cache, None, None).ends_with("l3 cache schema is not enabled"));
        assert!(error(&bandwidth, None, None).ends_with("memory bandwidth schema is not enabled"));
        assert!(Schemas::default().plan_below(None, None).unwrap().is_none());
        let root = Some(fake.root.as_path());
        assert!(error(&cache, root, None).starts_with("updating a non-existent Intel RDT"));
        let record = fake.make(serde_json::json!({})).unwrap();
        cache.plan_below(root, Some(&record)).unwrap().unwrap().apply().unwrap();
        assert_eq!(fake.read("box/schemata"), "L3:0=3\n");
    }
}
