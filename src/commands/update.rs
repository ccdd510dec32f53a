//! `update`

use anyhow::{Context, Result, anyhow, ensure};
use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};

use super::Global;
use crate::cgroups::rdt::Schemas;
use crate::cli::Update;
use crate::log;
use crate::spec::resources;

/// Changes limits of a container.
///
/// # Errors
/// When there is no such container, it has stopped, or one of the values cannot be had; nothing
/// is changed then.
pub(super) fn run(global: &Global, args: &Update) -> Result<i32> {
    let container = global.store.take(&args.id)?;
    let (resources, warnings) = read(args)?;
    warnings.iter().for_each(log::warn);
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let schemas = Schemas {
        l3_cache: filled(&args.l3_cache_schema),
        memory_bandwidth: filled(&args.mem_bw_schema),
    };
    container.update(&resources, &schemas)?;
    Ok(0)
}

/// A document, or else the options in the form of one.
fn read(args: &Update) -> Result<(LinuxResources, Vec<String>)> {
    if let Some(path) = args.resources.as_ref().filter(|path| !path.as_os_str().is_empty()) {
        return resources::load(path).with_context(|| format!("resources {}", path.display()));
    }
    resources::read(options(args)?.to_string().as_bytes())
}

type Convert = fn(&str) -> Result<Value>;

fn options(args: &Update) -> Result<Value> {
    let (mut memory, mut cpu, mut rest) = (Map::new(), Map::new(), Map::new());
    for (option, text, member, convert) in [
        ("memory", &args.memory, "limit", size as Convert),
        ("memory-swap", &args.memory_swap, "swap", size),
        ("memory-reservation", &args.memory_reservation, "reservation", size),
        ("kernel-memory", &args.kernel_memory, "kernel", size),
        ("kernel-memory-tcp", &args.kernel_memory_tcp, "kernelTCP", size),
    ] {
        insert(&mut memory, option, text, member, convert)?;
    }
    for (option, text, member, convert) in [
        ("cpu-share", &args.cpu_share, "shares", unsigned as Convert),
        ("cpu-period", &args.cpu_period, "period", unsigned),
        ("cpu-quota", &args.cpu_quota, "quota", signed),
        ("cpu-burst", &args.cpu_burst, "burst", unsigned),
        ("cpu-idle", &args.cpu_idle, "idle", signed),
        ("cpu-rt-period", &args.cpu_rt_period, "realtimePeriod", unsigned),
        ("cpu-rt-runtime", &args.cpu_rt_runtime, "realtimeRuntime", signed),
        ("cpuset-cpus", &args.cpuset_cpus, "cpus", |text| Ok(json!(text))),
        ("cpuset-mems", &args.cpuset_mems, "mems", |text| Ok(json!(text))),
    ] {
        insert(&mut cpu, option, text, member, convert)?;
    }
    insert(&mut rest, "pids-limit", &args.pids_limit, "limit", signed)?;
    insert(&mut rest, "blkio-weight", &args.blkio_weight, "weight", unsigned)?;
    let (limit, weight) = (rest.remove("limit"), rest.remove("weight"));
    Ok(json!({
        "memory": memory,
        "cpu": cpu,
        "pids": {"limit": limit},
        "blockIO": {"weight": weight},
    }))
}

fn insert(
    object: &mut Map<String, Value>,
    option: &str,
    text: &Option<String>,
    member: &str,
    convert: Convert,
) -> Result<()> {
    if let Some(text) = text.as_ref().filter(|text| !text.is_empty()) {
        let value = convert(text).with_context(|| format!("invalid value for {option}"))?;
        object.insert(member.to_string(), value);
    }
    Ok(())
}

fn signed(text: &str) -> Result<Value> {
    let number = text.parse::<i64>().map_err(|error| anyhow!("{text:?}: {error}"))?;
    Ok(json!(number))
}

fn unsigned(text: &str) -> Result<Value> {
    let number = text.parse::<u64>().map_err(|error| anyhow!("{text:?}: {error}"))?;
    Ok(json!(number))
}

/// Bytes, or a number with a unit to the base of 1024: `64m`, `1.5 GiB`. -1 means no limit.
fn size(text: &str) -> Result<Value> {
    if text == "-1" {
        return Ok(json!(-1));
    }
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit() && c != '.');
    let unit = text[digits.len()..].trim_start_matches(' ').to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let unit = unit.strip_suffix('i').filter(|unit| !unit.is_empty()).unwrap_or(unit);
    let power = ["", "k", "m", "g", "t", "p"].iter().position(|known| *known == unit);
    let number = digits.parse::<f64>().ok().filter(|number| *number >= 0.0);
    let (Some(power), Some(number)) = (power, number) else {
        return Err(anyhow!("invalid size: {text:?}"));
    };
    let bytes = (0..power).fold(number, |bytes, _| bytes * 1024.0);
    // The largest number that a limit can be, and every smaller one, is fine.
    ensure!(bytes < 9_223_372_036_854_775_808.0, "{text:?} is too large");
    #[expect(clippy::cast_possible_truncation, reason = "it was compared")]
    let bytes = bytes as i64;
    Ok(json!(bytes))
}

#[cfg(test)]
mod tests {
    use super::size;
    use serde_json::json;

    #[test]
    fn sizes() {
        for (text, want) in [
            ("0", Some(0)),
            ("5", Some(5)),
            ("5b", Some(5)),
            ("-1", Some(-1)),
            ("64m", Some(64 << 20)),
            ("64M", Some(64 << 20)),
            ("64MB", Some(64 << 20)),
            ("64MiB", Some(64 << 20)),
            ("1.5 g", Some(3 << 29)),
            ("2k", Some(2048)),
            ("1t", Some(1 << 40)),
            ("1P", Some(1 << 50)),
            ("-2", None),
            ("", None),
            ("m", None),
            ("1x", None),
            ("1 2", None),
            ("1mm", None),
            ("1i", None),
            ("9000p", None),
        ] {
            assert_eq!(size(text).ok(), want.map(|want: i64| json!(want)), "{text}");
        }
    }
}
