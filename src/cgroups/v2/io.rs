//! `io.*`: cgroup-v2 of the kernel's documentation.

use anyhow::{Result, ensure};
use oci_spec::runtime::{LinuxBlockIo, LinuxResources, LinuxThrottleDevice};

use crate::cgroups::setting::Setting;

/// How a limit for a device is called.
#[derive(Clone, Copy, Debug)]
pub(in crate::cgroups) struct Throttle {
    /// In the names of v1.
    pub v1: &'static str,
    /// In the lines of v2.
    v2: &'static str,
}

/// All limits for devices, with their JSON paths below `linux.resources`.
pub(in crate::cgroups) fn throttles(
    block_io: &LinuxBlockIo,
) -> Vec<(Throttle, String, LinuxThrottleDevice)> {
    let lists = [
        (("read_bps", "rbps"), "ReadBps", block_io.throttle_read_bps_device()),
        (("write_bps", "wbps"), "WriteBps", block_io.throttle_write_bps_device()),
        (("read_iops", "riops"), "ReadIOPS", block_io.throttle_read_iops_device()),
        (("write_iops", "wiops"), "WriteIOPS", block_io.throttle_write_iops_device()),
    ];
    let entries = lists.into_iter().flat_map(|((v1, v2), name, list)| {
        list.iter().flatten().enumerate().map(move |(index, device)| {
            let json = format!("blockIO.throttle{name}Device[{index}]");
            (Throttle { v1, v2 }, json, *device)
        })
    });
    entries.collect()
}

/// The scheduler BFQ has a file of its own, whose weights are those of the config; else there is
/// the one of the kernel's cost model. 0 means unset (BXG-13), and no limit for a device.
pub(super) fn settings(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let Some(block_io) = resources.block_io() else { return Ok(vec![]) };
    let none = |weight: Option<u16>| weight.unwrap_or(0) == 0;
    let leaf = "a leaf weight is nothing that cgroup v2 has";
    ensure!(none(block_io.leaf_weight()), "linux.resources.blockIO.leafWeight: {leaf}");
    let mut settings = Vec::new();
    if let Some(weight) = block_io.weight().filter(|weight| *weight != 0) {
        let setting = Setting::new("blockIO.weight", "io.bfq.weight", weight);
        settings.push(setting.or_instead("io.weight", io_weight(weight)));
    }
    for (index, device) in block_io.weight_device().iter().flatten().enumerate() {
        let json = format!("blockIO.weightDevice[{index}]");
        ensure!(none(device.leaf_weight()), "linux.resources.{json}.leafWeight: {leaf}");
        if let Some(weight) = device.weight().filter(|weight| *weight != 0) {
            let line = |weight: u64| format!("{}:{} {weight}", device.major(), device.minor());
            let setting = Setting::new(json + ".weight", "io.bfq.weight", line(weight.into()));
            settings.push(setting.or_instead("io.weight", line(io_weight(weight))));
        }
    }
    for (kind, json, device) in throttles(block_io) {
        let rate = device.rate();
        let rate = if rate == 0 { "max".to_string() } else { rate.to_string() };
        let line = format!("{}:{} {}={rate}", device.major(), device.minor(), kind.v2);
        settings.push(Setting::new(json, "io.max", line));
    }
    Ok(settings)
}

/// Converts a weight from 10 to 1000 to one from 1 to 10000 (MAP-16).
fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.saturating_sub(10)) * 9999 / 990
}

#[cfg(test)]
mod tests {
    use super::io_weight;
    use crate::cgroups::tests::check;
    use serde_json::json;

    #[test]
    fn weights() {
        for (weight, want) in [(10, 1), (11, 11), (100, 910), (500, 4950), (1000, 10_000)] {
            assert_eq!(io_weight(weight), want, "{weight}");
        }
    }

    #[test]
    fn translation() {
        let block_io = |change| json!({"blockIO": change});
        let device = |rate: u64| json!([{"major": 8, "minor": 1, "rate": rate}]);
        let weights = |name: &str| json!([{"major": 8, "minor": 0, name: 10}]);
        check(
            super::settings,
            [
                (json!({}), Ok("")),
                (block_io(json!({"weight": 0, "leafWeight": 0})), Ok("")),
                (block_io(json!({"weight": 500})), Ok("io.bfq.weight=500")),
                (
                    block_io(json!({"leafWeight": 500})),
                    Err("linux.resources.blockIO.leafWeight: a leaf weight"),
                ),
                (block_io(json!({"weightDevice": weights("weight")})), Ok("io.bfq.weight=8:0 10")),
                (
                    block_io(json!({"weightDevice": weights("leafWeight")})),
                    Err("linux.resources.blockIO.weightDevice[0].leafWeight: a leaf weight"),
                ),
                (
                    block_io(json!({
                        "throttleReadBpsDevice": device(1), "throttleWriteBpsDevice": device(2)})),
                    Ok("io.max=8:1 rbps=1 io.max=8:1 wbps=2"),
                ),
                (
                    block_io(json!({
                        "throttleReadIOPSDevice": device(3), "throttleWriteIOPSDevice": device(0)})),
                    Ok("io.max=8:1 riops=3 io.max=8:1 wiops=max"),
                ),
            ],
        );
    }
}
