//! What is written to files of a cgroup, as properties of its unit (systemd.resource-control(5)).
//!
//! systemd writes the files of its units again when it reloads, so it has to know what is in them.
//! What it has no property for is in the file alone, and it leaves that alone.

use anyhow::{Context, Result};

use super::value::Value;
use crate::cgroups::setting::Setting;

/// A property and its value.
pub(super) type Property = (String, Value);

pub(super) fn property(name: &str, value: Value) -> Property {
    (name.to_string(), value)
}

/// As a call takes them: `a(sv)`.
pub(super) fn list(properties: &[Property]) -> Value {
    let pair = |(name, value): &Property| {
        Value::Struct(vec![Value::text(name), Value::Variant(Box::new(value.clone()))])
    };
    Value::Array("(sv)".into(), properties.iter().map(pair).collect())
}

/// systemd counts processor time in hundredths, 10 ms of each second.
const HUNDREDTH: u64 = 10_000;
const SECOND: u64 = 1_000_000;
/// The period when only a quota is given: the kernel's default, in microseconds.
const PERIOD: u64 = 100_000;

/// Rounds quotas up as systemd does, so that what is in the file and what systemd would write
/// there are the same.
pub(in crate::cgroups) fn round(settings: &mut [Setting]) {
    let period = file(settings, "cpu.cfs_period_us").and_then(|period| period.parse().ok());
    for setting in settings {
        let rounded = match setting.file.as_str() {
            "cpu.cfs_quota_us" => round_quota(&setting.value, period.unwrap_or(PERIOD)),
            "cpu.max" => {
                let (quota, period) = quota_and_period(&setting.value);
                round_quota(quota, period).map(|quota| format!("{quota} {period}"))
            }
            _ => None,
        };
        if let Some(rounded) = rounded {
            setting.value = rounded;
        }
    }
}

/// systemd knows idle processors as a weight of zero, and then the kernel takes no other weight.
pub(super) fn drop_weight_of_idle(settings: &mut Vec<Setting>) {
    if file(settings, "cpu.idle") == Some("1") {
        settings.retain(|setting| setting.file != "cpu.weight");
    }
}

fn file<'a>(settings: &'a [Setting], name: &str) -> Option<&'a str> {
    settings.iter().rfind(|setting| setting.file == name).map(|setting| setting.value.as_str())
}

fn quota_and_period(value: &str) -> (&str, u64) {
    let (quota, period) = value.trim().split_once(' ').unwrap_or((value, ""));
    (quota, period.trim().parse().unwrap_or(PERIOD))
}

fn round_quota(quota: &str, period: u64) -> Option<String> {
    let quota: u64 = quota.parse().ok()?;
    let rounded = per_second(quota, period)?.checked_mul(period)? / SECOND;
    Some(rounded.to_string())
}

/// Microseconds of processor time for each second.
fn per_second(quota: u64, period: u64) -> Option<u64> {
    let exact = quota.checked_mul(SECOND)?.checked_div(period)?;
    exact.checked_next_multiple_of(HUNDREDTH)
}

/// Translates what is written to files for a systemd of that version.
///
/// # Errors
/// For a list of processors or nodes that is none.
pub(super) fn properties(settings: &[Setting], version: u32) -> Result<Vec<Property>> {
    let idle = file(settings, "cpu.idle").is_some_and(|idle| idle.trim() == "1") && version >= 252;
    let mut properties = Vec::new();
    for Setting { file: name, value, json, .. } in settings {
        let value = value.trim();
        let context = || format!("linux.resources.{json}: {value:?}");
        match name.as_str() {
            // It knows idle processors as a weight of zero.
            "cpu.weight" if idle => {}
            "cpu.idle" if idle => properties.push(property("CPUWeight", Value::U64(0))),
            "cpu.max" => {
                let (quota, period) = quota_and_period(value);
                properties.extend(quota_properties(quota, Some(period), version));
            }
            "cpu.cfs_quota_us" => {
                let period = file(settings, "cpu.cfs_period_us").and_then(|p| p.parse().ok());
                properties.extend(quota_properties(value, period, version));
            }
            // AllowedCPUs and AllowedMemoryNodes came with systemd 244.
            "cpuset.cpus" if version >= 244 => {
                properties.push(property("AllowedCPUs", bits(value).with_context(context)?));
            }
            "cpuset.mems" if version >= 244 => {
                properties.push(property("AllowedMemoryNodes", bits(value).with_context(context)?));
            }
            // It has no limit of zero processes.
            "pids.max" => {
                properties.extend(limit(value).map(|n| property("TasksMax", Value::U64(n.max(1)))));
            }
            name => {
                let known = PLAIN.iter().find(|(file, _)| *file == name);
                let known = known.zip(limit(value.strip_prefix("default ").unwrap_or(value)));
                properties.extend(known.map(|((_, name), n)| property(name, Value::U64(n))));
            }
        }
    }
    Ok(properties)
}

/// Files whose number is the property.
const PLAIN: [(&str, &str); 11] = [
    ("memory.max", "MemoryMax"),
    ("memory.high", "MemoryHigh"),
    ("memory.low", "MemoryLow"),
    ("memory.min", "MemoryMin"),
    ("memory.swap.max", "MemorySwapMax"),
    ("cpu.weight", "CPUWeight"),
    ("io.weight", "IOWeight"),
    ("memory.limit_in_bytes", "MemoryLimit"),
    ("cpu.shares", "CPUShares"),
    ("blkio.weight", "BlockIOWeight"),
    ("blkio.bfq.weight", "BlockIOWeight"),
];

/// What no limit is to systemd: the largest number.
fn limit(value: &str) -> Option<u64> {
    match value {
        "max" | "-1" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn quota_properties(quota: &str, period: Option<u64>, version: u32) -> Vec<Property> {
    let per_second = match limit(quota) {
        None => return Vec::new(),
        Some(u64::MAX) => u64::MAX,
        Some(quota) => per_second(quota, period.unwrap_or(PERIOD)).unwrap_or(u64::MAX),
    };
    // CPUQuotaPeriodUSec came with systemd 242; the file has it in any case.
    let period = period.filter(|_| version >= 242);
    let period = period.map(|period| property("CPUQuotaPeriodUSec", Value::U64(period)));
    period.into_iter().chain([property("CPUQuotaPerSecUSec", Value::U64(per_second))]).collect()
}

/// A list such as `1,3-5` as bits, those of the lowest numbers first.
fn bits(list: &str) -> Result<Value> {
    let mut bits: Vec<u8> = Vec::new();
    for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        // The kernel has at most 8192 processors, and fewer nodes.
        let number = |text: &str| text.trim().parse().ok().filter(|number: &usize| *number < 8192);
        let range = number(first).zip(number(last)).filter(|(first, last)| first <= last);
        let (first, last) = range.context("not a list of numbers and ranges")?;
        for number in first..=last {
            if bits.len() <= number / 8 {
                bits.resize(number / 8 + 1, 0);
            }
            bits[number / 8] |= 1 << (number % 8);
        }
    }
    Ok(Value::bytes(&bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Vec<Setting> {
        let pairs = text.split(';').filter_map(|pair| pair.split_once('='));
        pairs.map(|(file, value)| Setting::new("x", file, value)).collect()
    }

    fn show(settings: &[Setting], version: u32) -> String {
        let show = |(name, value): Property| match value {
            Value::U64(u64::MAX) => format!("{name}=infinity"),
            Value::U64(number) => format!("{name}={number}"),
            Value::Array(_, bytes) => {
                let bytes = bytes.iter().map(|byte| match byte {
                    Value::Byte(byte) => format!("{byte:08b}"),
                    other => panic!("{other:?}"),
                });
                format!("{name}={}", bytes.collect::<Vec<_>>().join(","))
            }
            other => panic!("{other:?}"),
        };
        let properties = properties(settings, version).unwrap();
        properties.into_iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn files_and_their_properties() {
        for (files, want) in [
            (
                "memory.max=7;memory.swap.max=0;memory.low=max",
                "MemoryMax=7 MemorySwapMax=0 MemoryLow=infinity",
            ),
            ("memory.high=1;memory.min=2", "MemoryHigh=1 MemoryMin=2"),
            ("cpu.weight=59", "CPUWeight=59"),
            ("cpu.weight=59;cpu.idle=0", "CPUWeight=59"),
            ("cpu.idle=1;cpu.weight=59", "CPUWeight=0"),
            ("cpu.max=50000 100000", "CPUQuotaPeriodUSec=100000 CPUQuotaPerSecUSec=500000"),
            ("cpu.max=max 7000", "CPUQuotaPeriodUSec=7000 CPUQuotaPerSecUSec=infinity"),
            ("cpu.max=5000", "CPUQuotaPeriodUSec=100000 CPUQuotaPerSecUSec=50000"),
            ("cpu.cfs_quota_us=5000", "CPUQuotaPerSecUSec=50000"),
            (
                "cpu.cfs_period_us=10000;cpu.cfs_quota_us=5000",
                "CPUQuotaPeriodUSec=10000 CPUQuotaPerSecUSec=500000",
            ),
            ("cpu.cfs_quota_us=-1", "CPUQuotaPerSecUSec=infinity"),
            (
                "cpuset.cpus=0,2-3, 9;cpuset.mems=0",
                "AllowedCPUs=00001101,00000010 AllowedMemoryNodes=00000001",
            ),
            ("pids.max=50", "TasksMax=50"),
            ("pids.max=0", "TasksMax=1"),
            ("pids.max=max", "TasksMax=infinity"),
            ("io.weight=default 20", "IOWeight=20"),
            ("io.weight=8:0 20", ""),
            (
                "memory.limit_in_bytes=-1;cpu.shares=9;blkio.weight=20",
                "MemoryLimit=infinity CPUShares=9 BlockIOWeight=20",
            ),
            ("hugetlb.2MB.max=0;rdma.max=x y", ""),
        ] {
            assert_eq!(show(&settings(files), 257), want, "{files}");
        }
        let new = "cpu.idle=1;cpu.weight=5;cpu.max=5000 10000;cpuset.cpus=1";
        assert_eq!(show(&settings(new), 219), "CPUWeight=5 CPUQuotaPerSecUSec=500000");
        for wrong in ["cpuset.cpus=a", "cpuset.cpus=3-1", "cpuset.mems=8192", "cpuset.cpus=1-"] {
            assert!(properties(&settings(wrong), 257).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_idle_has_no_weight() {
        for (files, want) in [
            ("cpu.weight=59;cpu.idle=1;pids.max=5", "cpu.idle pids.max"),
            ("cpu.weight=59;cpu.idle=0", "cpu.weight cpu.idle"),
            ("cpu.weight=59", "cpu.weight"),
        ] {
            let mut settings = settings(files);
            drop_weight_of_idle(&mut settings);
            let left: Vec<_> = settings.iter().map(|setting| setting.file.as_str()).collect();
            assert_eq!(left.join(" "), want, "{files}");
        }
    }

    #[test]
    fn quotas_are_rounded_up() {
        for (files, want) in [
            ("cpu.max=50000 100000", "50000 100000"),
            ("cpu.max=50001 100000", "51000 100000"),
            ("cpu.max=1000 100000", "1000 100000"),
            ("cpu.max=999 50000", "1000 50000"),
            ("cpu.max=max 50000", "max 50000"),
            ("cpu.cfs_quota_us=12345", "13000"),
            ("cpu.cfs_quota_us=-1", "-1"),
            ("cpu.cfs_quota_us=1001;cpu.cfs_period_us=10000", "1100"),
            ("memory.max=12345", "12345"),
        ] {
            let mut settings = settings(files);
            round(&mut settings);
            assert_eq!(settings[0].value, want, "{files}");
        }
    }
}
