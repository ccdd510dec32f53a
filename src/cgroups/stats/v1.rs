//! Counters of v1.

use anyhow::Result;

use super::files::{block_io, list};
use super::{BlockIo, CpuSet, CpuUsage, Files, Hugepages, Memory, MemoryEntry, Pids, Stats};
use super::{Throttling, v2};

/// Reads from the cgroup of each controller that the host has.
pub(super) fn read<'a>(of: impl Fn(&str) -> Option<Files<'a>>, stats: &mut Stats) -> Result<()> {
    if let Some(files) = of("cpu") {
        stats.cpu.throttling = throttling(&files)?;
    }
    if let Some(files) = of("cpuacct") {
        stats.cpu.usage = usage(&files)?;
    }
    if let Some(files) = of("cpuset") {
        stats.cpuset = cpuset(&files)?;
    }
    if let Some(files) = of("memory") {
        stats.memory = memory(&files)?;
    }
    if let Some(files) = of("pids") {
        stats.pids = pids(&files)?;
    }
    if let Some(files) = of("blkio") {
        stats.blkio = blkio(&files)?;
    }
    if let Some(files) = of("hugetlb") {
        for size in v2::page_sizes() {
            if let Some(pages) = hugepages(&files, &size)? {
                stats.hugetlb.insert(size, pages);
            }
        }
    }
    Ok(())
}

fn throttling(files: &Files<'_>) -> Result<Throttling> {
    let table = files.table("cpu.stat")?;
    let get = |key: &str| table.get(key).copied().unwrap_or(0);
    Ok(Throttling {
        periods: get("nr_periods"),
        throttled_periods: get("nr_throttled"),
        throttled_time: get("throttled_time"),
    })
}

/// Ticks of user space are hundredths of a second on every architecture that Linux still has.
fn usage(files: &Files<'_>) -> Result<CpuUsage> {
    const NANOSECONDS: u64 = 1_000_000_000 / 100;
    let ticks = files.table("cpuacct.stat")?;
    let get = |key: &str| ticks.get(key).copied().unwrap_or(0) * NANOSECONDS;
    let percpu = files.text("cpuacct.usage_percpu")?.unwrap_or_default();
    let percpu = percpu.split_whitespace().map(|word| files.parse("cpuacct.usage_percpu", word));
    let all = files.text("cpuacct.usage_all")?.unwrap_or_default();
    // A head, and for each processor its number, user and system.
    let column = |index: usize| -> Vec<u64> {
        let lines = all.lines().skip(1);
        lines.filter_map(|line| line.split(' ').nth(index)?.parse().ok()).collect()
    };
    Ok(CpuUsage {
        total: files.count("cpuacct.usage")?,
        percpu: percpu.collect::<Result<_>>()?,
        percpu_user: column(1),
        percpu_kernel: column(2),
        kernel: get("system"),
        user: get("user"),
    })
}

fn cpuset(files: &Files<'_>) -> Result<CpuSet> {
    let numbers = |file| Ok::<_, anyhow::Error>(list(&files.text(file)?.unwrap_or_default()));
    let level = files.text("cpuset.sched_relax_domain_level")?;
    Ok(CpuSet {
        cpus: numbers("cpuset.cpus")?,
        cpu_exclusive: files.count("cpuset.cpu_exclusive")?,
        mems: numbers("cpuset.mems")?,
        mem_hardwall: files.count("cpuset.mem_hardwall")?,
        mem_exclusive: files.count("cpuset.mem_exclusive")?,
        memory_migrate: files.count("cpuset.memory_migrate")?,
        memory_spread_page: files.count("cpuset.memory_spread_page")?,
        memory_spread_slab: files.count("cpuset.memory_spread_slab")?,
        memory_pressure: files.count("cpuset.memory_pressure")?,
        sched_load_balance: files.count("cpuset.sched_load_balance")?,
        sched_relax_domain_level: level.and_then(|text| text.trim().parse().ok()).unwrap_or(0),
    })
}

fn memory(files: &Files<'_>) -> Result<Memory> {
    let raw = files.table("memory.stat")?;
    let entry = |name: &str| {
        let count = |file: &str| files.count(&format!("memory.{name}{file}"));
        Ok::<_, anyhow::Error>(MemoryEntry {
            limit: count("limit_in_bytes")?,
            usage: count("usage_in_bytes")?,
            max: count("max_usage_in_bytes")?,
            failcnt: count("failcnt")?,
        })
    };
    Ok(Memory {
        cache: raw.get("cache").copied().unwrap_or(0),
        usage: entry("")?,
        swap: entry("memsw.")?,
        kernel: entry("kmem.")?,
        kernel_tcp: entry("kmem.tcp.")?,
        raw,
        psi: None,
    })
}

/// The same files in both versions.
pub(super) fn pids(files: &Files<'_>) -> Result<Pids> {
    let limit = files.number("pids.max")?.filter(|limit| *limit != u64::MAX);
    Ok(Pids { current: files.count("pids.current")?, limit: limit.unwrap_or(0) })
}

/// Each scheduler has its own files; those of throttling are always there.
fn blkio(files: &Files<'_>) -> Result<BlockIo> {
    let read = |file: &str| {
        for prefix in ["blkio.bfq.", "blkio.", "blkio.throttle."] {
            let entries = files.text(&format!("{prefix}{file}_recursive"))?;
            let entries = entries.map(|text| block_io(&text)).filter(|list| !list.is_empty());
            if let Some(entries) = entries {
                return Ok(entries);
            }
        }
        let plain = files.text(&format!("blkio.throttle.{file}"))?;
        Ok::<_, anyhow::Error>(plain.map(|text| block_io(&text)).unwrap_or_default())
    };
    Ok(BlockIo {
        io_service_bytes_recursive: read("io_service_bytes")?,
        io_serviced_recursive: read("io_serviced")?,
        io_queued_recursive: read("io_queued")?,
        io_service_time_recursive: read("io_service_time")?,
        io_wait_time_recursive: read("io_wait_time")?,
        io_merged_recursive: read("io_merged")?,
        io_time_recursive: read("time")?,
        sectors_recursive: read("sectors")?,
        psi: None,
    })
}

fn hugepages(files: &Files<'_>, size: &str) -> Result<Option<Hugepages>> {
    for prefix in [format!("hugetlb.{size}.rsvd"), format!("hugetlb.{size}")] {
        if let Some(usage) = files.number(&format!("{prefix}.usage_in_bytes"))? {
            let max = files.count(&format!("{prefix}.max_usage_in_bytes"))?;
            let failcnt = files.count(&format!("{prefix}.failcnt"))?;
            return Ok(Some(Hugepages { usage, max, failcnt }));
        }
    }
    Ok(None)
}
