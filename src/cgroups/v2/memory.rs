//! `memory.*`: cgroup-v2 of the kernel's documentation.

use anyhow::{Result, bail, ensure};
use oci_spec::runtime::LinuxResources;

use crate::cgroups::setting::{Setting, or_max};

/// 0 means unset (BXG-13).
pub(super) fn settings(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let Some(memory) = resources.memory() else { return Ok(vec![]) };
    let set = |value: Option<i64>| value.filter(|value| *value != 0);
    let mut settings = Vec::new();
    if let Some(swap) = swap(set(memory.limit()), set(memory.swap()))? {
        // A kernel without swap has no file for it, and nothing to limit (BXG-15).
        let setting = Setting::new("memory.swap", "memory.swap.max", or_max(swap));
        settings.push(setting.or_nothing(swap <= 0));
    }
    if let Some(limit) = set(memory.limit()) {
        settings.push(Setting::new("memory.limit", "memory.max", or_max(limit)));
    }
    if let Some(reservation) = set(memory.reservation()) {
        settings.push(Setting::new("memory.reservation", "memory.low", or_max(reservation)));
    }
    Ok(settings)
}

/// The config limits memory and swap together, v2 swap alone (BXG-15).
fn swap(limit: Option<i64>, both: Option<i64>) -> Result<Option<i64>> {
    match (limit, both) {
        (Some(-1), None) | (_, Some(..0)) => Ok(Some(-1)),
        (_, None) => Ok(None),
        (None | Some(..0), Some(_)) => {
            bail!("linux.resources.memory.swap: unable to set swap limit without memory limit")
        }
        (Some(limit), Some(both)) => {
            ensure!(
                both >= limit,
                "linux.resources.memory.swap: memory+swap limit should be >= memory limit"
            );
            Ok(Some(both - limit))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::cgroups::tests::check;
    use serde_json::json;

    #[test]
    fn translation() {
        let memory = |limit: i64, swap: i64| json!({"memory": {"limit": limit, "swap": swap}});
        check(
            super::settings,
            [
                (memory(0, 0), Ok("")),
                (memory(7, 0), Ok("memory.max=7")),
                (memory(7, 9), Ok("memory.swap.max=2 memory.max=7")),
                (memory(7, 7), Ok("memory.swap.max=0 memory.max=7")),
                (memory(7, -1), Ok("memory.swap.max=max memory.max=7")),
                (memory(-1, 0), Ok("memory.swap.max=max memory.max=max")),
                (memory(0, 7), Err("unable to set swap limit without memory limit")),
                (memory(9, 7), Err("memory+swap limit should be >= memory limit")),
                (json!({"memory": {"reservation": -1}}), Ok("memory.low=max")),
            ],
        );
    }
}
