//! `cpu.*`: sched-bwc and sched-design-CFS of the kernel's documentation.

use anyhow::Result;
use oci_spec::runtime::LinuxResources;

use crate::cgroups::setting::Setting;

/// The period comes before the quota, which must fit it. 0 means unset (BXG-13).
pub(super) fn settings(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let Some(cpu) = resources.cpu() else { return Ok(vec![]) };
    let mut settings = Vec::new();
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        settings.push(Setting::new("cpu.shares", "cpu.shares", shares));
    }
    if let Some(period) = cpu.period().filter(|period| *period != 0) {
        settings.push(Setting::new("cpu.period", "cpu.cfs_period_us", period));
    }
    if let Some(quota) = cpu.quota().filter(|quota| *quota != 0) {
        settings.push(Setting::new("cpu.quota", "cpu.cfs_quota_us", quota.max(-1)));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use crate::cgroups::tests::check;
    use serde_json::json;

    #[test]
    fn translation() {
        check(
            super::settings,
            [
                (json!({}), Ok("")),
                (json!({"cpu": {"shares": 0, "quota": 0, "period": 0}}), Ok("")),
                (json!({"cpu": {"shares": 512}}), Ok("cpu.shares=512")),
                (
                    json!({"cpu": {"quota": 50_000, "period": 100_000}}),
                    Ok("cpu.cfs_period_us=100000 cpu.cfs_quota_us=50000"),
                ),
                (json!({"cpu": {"quota": -5}}), Ok("cpu.cfs_quota_us=-1")),
            ],
        );
    }
}
