//! `cpu.*`: sched-bwc, sched-design-CFS and sched-rt-group of the kernel's documentation.

use anyhow::{Result, ensure};
use oci_spec::runtime::LinuxResources;

use crate::cgroups::setting::Setting;

/// 0 means unset (BXG-13), but for burst and idle.
pub(super) fn settings(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let Some(cpu) = resources.cpu() else { return Ok(vec![]) };
    let mut settings = Vec::new();
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        // The kernel would take the nearest one instead.
        let path = "linux.resources.cpu.shares";
        ensure!(shares >= 2, "{path}: {shares}: the minimum allowed cpu-shares is 2");
        ensure!(shares <= 262_144, "{path}: {shares}: the maximum allowed cpu-shares is 262144");
        settings.push(Setting::new("cpu.shares", "cpu.shares", shares));
    }
    if let Some(period) = cpu.period().filter(|period| *period != 0) {
        settings.push(Setting::new("cpu.period", "cpu.cfs_period_us", period));
    }
    if let Some(quota) = cpu.quota().filter(|quota| *quota != 0) {
        settings.push(Setting::new("cpu.quota", "cpu.cfs_quota_us", quota.max(-1)));
    }
    if let Some(burst) = cpu.burst() {
        // Linux 5.14
        let setting = Setting::new("cpu.burst", "cpu.cfs_burst_us", burst);
        settings.push(setting.or_nothing(burst == 0));
    }
    if let Some(idle) = cpu.idle() {
        // Linux 5.15. The shares come before it: an idle cgroup takes none.
        settings.push(Setting::new("cpu.idle", "cpu.idle", idle).or_nothing(idle == 0));
    }
    if let Some(period) = cpu.realtime_period().filter(|period| *period != 0) {
        settings.push(Setting::new("cpu.realtimePeriod", "cpu.rt_period_us", period));
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|runtime| *runtime != 0) {
        settings.push(Setting::new("cpu.realtimeRuntime", "cpu.rt_runtime_us", runtime));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use crate::cgroups::tests::check;
    use serde_json::json;

    #[test]
    fn translation() {
        let cpu = |cpu| json!({"cpu": cpu});
        check(
            super::settings,
            [
                (json!({}), Ok("")),
                (cpu(json!({"shares": 0, "quota": 0, "period": 0})), Ok("")),
                (cpu(json!({"shares": 512})), Ok("cpu.shares=512")),
                (cpu(json!({"shares": 1})), Err("the minimum allowed cpu-shares is 2")),
                (cpu(json!({"shares": 262_145})), Err("the maximum allowed cpu-shares is 262144")),
                (
                    cpu(json!({"quota": 50_000, "period": 100_000})),
                    Ok("cpu.cfs_period_us=100000 cpu.cfs_quota_us=50000"),
                ),
                (cpu(json!({"quota": -5})), Ok("cpu.cfs_quota_us=-1")),
                (
                    cpu(json!({"quota": 50_000, "burst": 0})),
                    Ok("cpu.cfs_quota_us=50000 cpu.cfs_burst_us=0"),
                ),
                (cpu(json!({"shares": 2, "idle": 1})), Ok("cpu.shares=2 cpu.idle=1")),
                (
                    cpu(json!({"realtimePeriod": 9, "realtimeRuntime": 5})),
                    Ok("cpu.rt_period_us=9 cpu.rt_runtime_us=5"),
                ),
                (cpu(json!({"realtimePeriod": 0, "realtimeRuntime": 0})), Ok("")),
            ],
        );
    }
}
