//! `blkio.*`: cgroup-v1/blkio-controller of the kernel's documentation.

use anyhow::Result;
use oci_spec::runtime::LinuxResources;

use crate::cgroups::setting::Setting;
use crate::cgroups::v2::io::throttles;

/// The scheduler CFQ had files of its own until Linux 5.0; those of BFQ came beside and stayed.
/// 0 means unset (BXG-13).
pub(super) fn settings(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let Some(block_io) = resources.block_io() else { return Ok(vec![]) };
    let mut settings = Vec::new();
    if let Some(weight) = block_io.weight().filter(|weight| *weight != 0) {
        let setting = Setting::new("blockIO.weight", "blkio.weight", weight);
        settings.push(setting.or_instead("blkio.bfq.weight", weight));
    }
    if let Some(weight) = block_io.leaf_weight().filter(|weight| *weight != 0) {
        settings.push(Setting::new("blockIO.leafWeight", "blkio.leaf_weight", weight));
    }
    for (index, device) in block_io.weight_device().iter().flatten().enumerate() {
        let json = |name: &str| format!("blockIO.weightDevice[{index}].{name}");
        let line = |weight: u16| format!("{}:{} {weight}", device.major(), device.minor());
        if let Some(weight) = device.weight().filter(|weight| *weight != 0) {
            let setting = Setting::new(json("weight"), "blkio.weight_device", line(weight));
            settings.push(setting.or_instead("blkio.bfq.weight_device", line(weight)));
        }
        if let Some(weight) = device.leaf_weight().filter(|weight| *weight != 0) {
            let file = "blkio.leaf_weight_device";
            settings.push(Setting::new(json("leafWeight"), file, line(weight)));
        }
    }
    for (kind, json, device) in throttles(block_io) {
        let file = format!("blkio.throttle.{}_device", kind.v1);
        let line = format!("{}:{} {}", device.major(), device.minor(), device.rate());
        settings.push(Setting::new(json, &file, line));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use crate::cgroups::tests::check;
    use serde_json::json;

    #[test]
    fn translation() {
        let block_io = |change| json!({"blockIO": change});
        let device = |rate: u64| json!([{"major": 8, "minor": 1, "rate": rate}]);
        let weights = json!([
            {"major": 8, "minor": 0, "weight": 10, "leafWeight": 20},
            {"major": 9, "minor": 0, "weight": 0}]);
        check(
            super::settings,
            [
                (json!({}), Ok("")),
                (block_io(json!({"weight": 0, "leafWeight": 0})), Ok("")),
                (
                    block_io(json!({"weight": 10, "leafWeight": 1000})),
                    Ok("blkio.weight=10 blkio.leaf_weight=1000"),
                ),
                (
                    block_io(json!({"weightDevice": weights})),
                    Ok("blkio.weight_device=8:0 10 blkio.leaf_weight_device=8:0 20"),
                ),
                (
                    block_io(json!({
                        "throttleReadBpsDevice": device(1), "throttleWriteBpsDevice": device(2)})),
                    Ok("blkio.throttle.read_bps_device=8:1 1 \
                        blkio.throttle.write_bps_device=8:1 2"),
                ),
                (
                    block_io(json!({
                        "throttleReadIOPSDevice": device(3), "throttleWriteIOPSDevice": device(0)})),
                    Ok("blkio.throttle.read_iops_device=8:1 3 \
                        blkio.throttle.write_iops_device=8:1 0"),
                ),
            ],
        );
    }
}
