//! What a container uses, in the form of runc's `events`.
//!
//! Counters that a kernel does not have are left out, or 0 where the form has them always.

mod files;
mod psi;
mod v1;
mod v2;

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use super::Record;
use files::Files;

/// All of it: the member `data` of an event.
#[derive(Debug, Default, Serialize)]
pub struct Stats {
    cpu: Cpu,
    cpuset: CpuSet,
    memory: Memory,
    pids: Pids,
    blkio: BlockIo,
    hugetlb: BTreeMap<String, Hugepages>,
    /// Counters of resctrl groups.
    pub intel_rdt: serde_json::Map<String, serde_json::Value>,
    /// Nothing makes interfaces for a container here; runc says so in this way.
    network_interfaces: Option<()>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rdma: Vec<Rdma>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    misc: BTreeMap<String, Misc>,
}

#[derive(Debug, Default, Serialize)]
struct Cpu {
    usage: CpuUsage,
    #[serde(skip_serializing_if = "Throttling::is_none")]
    throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<psi::Pressure>,
}

/// Nanoseconds.
#[derive(Debug, Default, Serialize)]
struct CpuUsage {
    #[serde(skip_serializing_if = "is_zero")]
    total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu_user: Vec<u64>,
    kernel: u64,
    user: u64,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Throttling {
    #[serde(skip_serializing_if = "is_zero")]
    periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    throttled_periods: u64,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    throttled_time: u64,
}

impl Throttling {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Debug, Default, Serialize)]
struct CpuSet {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cpus: Vec<u16>,
    cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mems: Vec<u16>,
    mem_hardwall: u64,
    mem_exclusive: u64,
    memory_migrate: u64,
    memory_spread_page: u64,
    memory_spread_slab: u64,
    memory_pressure: u64,
    sched_load_balance: u64,
    sched_relax_domain_level: i64,
}

#[derive(Debug, Default, Serialize)]
struct Memory {
    #[serde(skip_serializing_if = "is_zero")]
    cache: u64,
    #[serde(skip_serializing_if = "MemoryEntry::is_unknown")]
    usage: MemoryEntry,
    #[serde(skip_serializing_if = "MemoryEntry::is_unknown")]
    swap: MemoryEntry,
    #[serde(skip_serializing_if = "MemoryEntry::is_unknown")]
    kernel: MemoryEntry,
    #[serde(rename = "kernelTCP", skip_serializing_if = "MemoryEntry::is_unknown")]
    kernel_tcp: MemoryEntry,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<psi::Pressure>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct MemoryEntry {
    limit: u64,
    #[serde(skip_serializing_if = "is_zero")]
    usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    max: u64,
    failcnt: u64,
}

impl MemoryEntry {
    fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Debug, Default, Serialize)]
struct Pids {
    #[serde(skip_serializing_if = "is_zero")]
    current: u64,
    /// None is 0.
    #[serde(skip_serializing_if = "is_zero")]
    limit: u64,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct BlockIo {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_service_bytes_recursive: Vec<BlockIoEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_serviced_recursive: Vec<BlockIoEntry>,
    #[serde(rename = "ioQueueRecursive", skip_serializing_if = "Vec::is_empty")]
    io_queued_recursive: Vec<BlockIoEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_service_time_recursive: Vec<BlockIoEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_wait_time_recursive: Vec<BlockIoEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_merged_recursive: Vec<BlockIoEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_time_recursive: Vec<BlockIoEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sectors_recursive: Vec<BlockIoEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<psi::Pressure>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct BlockIoEntry {
    #[serde(skip_serializing_if = "is_zero")]
    major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    minor: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    op: String,
    #[serde(skip_serializing_if = "is_zero")]
    value: u64,
}

#[derive(Debug, Default, Serialize)]
struct Hugepages {
    #[serde(skip_serializing_if = "is_zero")]
    usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    max: u64,
    failcnt: u64,
}

/// One line of `rdma.current` or `rdma.max`, with a word for which.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Rdma {
    device: String,
    current: BTreeMap<String, u64>,
    limit: BTreeMap<String, u64>,
}

#[derive(Debug, Default, Serialize)]
struct Misc {
    #[serde(skip_serializing_if = "is_zero")]
    usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    events: u64,
}

/// Go leaves out what is zero.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Record {
    /// Reads all counters.
    ///
    /// # Errors
    /// When a file cannot be read that has to be there, or has another form.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = Stats::default();
        let of = |controller: &str| self.directory(controller).map(Files::new);
        if self.v2 {
            of("").map_or(Ok(()), |files| v2::read(&files, &mut stats))?;
        } else {
            v1::read(of, &mut stats)?;
        }
        if let Some(files) = of("rdma") {
            stats.rdma = files::rdma(&files)?;
        }
        if let Some(files) = of("misc") {
            stats.misc = files::misc(&files)?;
        }
        Ok(stats)
    }
}
