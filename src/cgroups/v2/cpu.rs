//! `cpu.*`: cgroup-v2 of the kernel's documentation.

use anyhow::Result;
use oci_spec::runtime::LinuxResources;

use crate::cgroups::setting::Setting;

/// The period when only a quota is given: the kernel's default, in microseconds.
const PERIOD: u64 = 100_000;

/// 0 means unset (BXG-12, BXG-13), but for burst and idle.
pub(super) fn settings(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let Some(cpu) = resources.cpu() else { return Ok(vec![]) };
    let mut settings = Vec::new();
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        settings.push(Setting::new("cpu.shares", "cpu.weight", weight(shares)));
    }
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    if quota.is_some() || period.is_some() {
        // One file takes both, so the kernel does not tell which it refuses.
        let json = match (quota, period) {
            (Some(_), None) => "cpu.quota",
            (None, _) => "cpu.period",
            (Some(_), Some(_)) => "cpu",
        };
        let quota = quota.filter(|quota| *quota > 0).map_or("max".to_string(), |q| q.to_string());
        let value = format!("{quota} {}", period.unwrap_or(PERIOD));
        settings.push(Setting::new(json, "cpu.max", value));
    }
    if let Some(burst) = cpu.burst() {
        // Linux 5.14
        let setting = Setting::new("cpu.burst", "cpu.max.burst", burst);
        settings.push(setting.or_nothing(burst == 0));
    }
    if let Some(idle) = cpu.idle() {
        // Linux 5.15. The weight comes before it: an idle cgroup takes none.
        settings.push(Setting::new("cpu.idle", "cpu.idle", idle).or_nothing(idle == 0));
    }
    Ok(settings)
}

/// Converts shares (2 to 262144, default 1024) to a weight (1 to 10000, default 100).
///
/// The curve of runc since 1.3.2 and crun since 1.23 (BXG-10): quadratic in the logarithm, so
/// that both ends and the default fit.
fn weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        // The default has to become the default; rounding up would make 101 of it.
        1024 => 100,
        _ => {
            let exact = u32::try_from(shares).map_or(0.0, f64::from);
            let log = exact.log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            let weight = 10_f64.powf(exponent).ceil();
            // The exponent lies between 0 and 4 here.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let weight = weight as u64;
            weight
        }
    }
}

#[cfg(test)]
mod tests {
    use super::weight;
    use crate::cgroups::tests::check;
    use serde_json::json;

    #[test]
    fn weights() {
        for (shares, want) in [
            (1, 1),
            (2, 1),
            (3, 2),
            (10, 4),
            (100, 17),
            (128, 21),
            (256, 35),
            (512, 59),
            (1000, 99),
            (1024, 100),
            (1025, 101),
            (2048, 174),
            (4096, 303),
            (10_240, 639),
            (65_536, 3023),
            (131_072, 5478),
            (262_144, 10_000),
            (1 << 40, 10_000),
        ] {
            assert_eq!(weight(shares), want, "{shares}");
        }
    }

    #[test]
    fn translation() {
        check(
            super::settings,
            [
                (json!({"cpu": {"shares": 0, "quota": 0, "period": 0}}), Ok("")),
                (json!({"cpu": {"shares": 1024}}), Ok("cpu.weight=100")),
                (json!({"cpu": {"quota": 50_000}}), Ok("cpu.max=50000 100000")),
                (json!({"cpu": {"quota": -1, "period": 7}}), Ok("cpu.max=max 7")),
                (json!({"cpu": {"period": 7}}), Ok("cpu.max=max 7")),
                (json!({"cpu": {"burst": 0}}), Ok("cpu.max.burst=0")),
                (json!({"cpu": {"quota": 9, "burst": 5}}), Ok("cpu.max=9 100000 cpu.max.burst=5")),
                (json!({"cpu": {"shares": 1024, "idle": 1}}), Ok("cpu.weight=100 cpu.idle=1")),
                (json!({"cpu": {"idle": 0}}), Ok("cpu.idle=0")),
            ],
        );
    }
}
