//! Counters of v2, in the form of those of v1.

use std::fs;

use anyhow::Result;

use super::files::io_stat;
use super::{Cpu, CpuUsage, Files, Hugepages, Memory, MemoryEntry, Stats, Throttling, psi, v1};

/// Reads from the one cgroup.
pub(super) fn read(files: &Files<'_>, stats: &mut Stats) -> Result<()> {
    stats.cpu = cpu(files)?;
    stats.memory = memory(files)?;
    stats.pids = v1::pids(files)?;
    if files.text("pids.max")?.is_none() {
        let processes = files.text("cgroup.procs")?.unwrap_or_default();
        stats.pids.current = processes.lines().count() as u64;
    }
    let io = files.text("io.stat")?.unwrap_or_default();
    let bytes = io_stat(&io, [("rbytes", "Read"), ("wbytes", "Write")]);
    stats.blkio.io_service_bytes_recursive = bytes;
    stats.blkio.io_serviced_recursive = io_stat(&io, [("rios", "Read"), ("wios", "Write")]);
    stats.blkio.psi = psi::read(files, "io.pressure")?;
    for size in page_sizes() {
        if let Some(pages) = hugepages(files, &size)? {
            stats.hugetlb.insert(size, pages);
        }
    }
    Ok(())
}

fn cpu(files: &Files<'_>) -> Result<Cpu> {
    let table = files.table("cpu.stat")?;
    let get = |key: &str| table.get(key).copied().unwrap_or(0);
    let usage = CpuUsage {
        total: get("usage_usec") * 1000,
        kernel: get("system_usec") * 1000,
        user: get("user_usec") * 1000,
        ..CpuUsage::default()
    };
    let throttling = Throttling {
        periods: get("nr_periods"),
        throttled_periods: get("nr_throttled"),
        throttled_time: get("throttled_usec") * 1000,
    };
    Ok(Cpu { usage, throttling, psi: psi::read(files, "cpu.pressure")? })
}

/// In v1 swap is memory and swap together, whose largest sum nobody knows.
fn memory(files: &Files<'_>) -> Result<Memory> {
    let raw = files.table("memory.stat")?;
    let usage = entry(files, "memory")?;
    let swap = entry(files, "memory.swap")?;
    let swap = MemoryEntry {
        limit: match swap.limit {
            u64::MAX => u64::MAX,
            limit => limit.saturating_add(usage.limit),
        },
        usage: swap.usage + usage.usage,
        ..MemoryEntry::default()
    };
    Ok(Memory {
        cache: raw.get("file").copied().unwrap_or(0),
        usage,
        swap,
        raw,
        psi: psi::read(files, "memory.pressure")?,
        ..Memory::default()
    })
}

fn entry(files: &Files<'_>, name: &str) -> Result<MemoryEntry> {
    Ok(MemoryEntry {
        limit: files.count(&format!("{name}.max"))?,
        usage: files.count(&format!("{name}.current"))?,
        max: files.count(&format!("{name}.peak"))?,
        failcnt: 0,
    })
}

fn hugepages(files: &Files<'_>, size: &str) -> Result<Option<Hugepages>> {
    let failcnt = files.table(&format!("hugetlb.{size}.events"))?.get("max").copied();
    for file in [format!("hugetlb.{size}.rsvd.current"), format!("hugetlb.{size}.current")] {
        if let Some(usage) = files.number(&file)? {
            return Ok(Some(Hugepages { usage, max: 0, failcnt: failcnt.unwrap_or(0) }));
        }
    }
    Ok(None)
}

/// Sizes of huge pages, as the names of files have them: `2MB`.
pub(super) fn page_sizes() -> Vec<String> {
    let entries = fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let kib = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        Some(page_size(kib))
    });
    sizes.collect()
}

fn page_size(kib: u64) -> String {
    match kib {
        0..1024 => format!("{kib}KB"),
        1024..0x10_0000 => format!("{}MB", kib >> 10),
        _ => format!("{}GB", kib >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (kib, want) in [(64, "64KB"), (2048, "2MB"), (1 << 20, "1GB"), (16 << 20, "16GB")] {
            assert_eq!(page_size(kib), want);
        }
    }
}
