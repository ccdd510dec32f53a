//! `memory.*`: cgroup-v1/memory of the kernel's documentation.

use anyhow::{Result, ensure};
use oci_spec::runtime::LinuxResources;

use crate::cgroups::setting::Setting;
use crate::spec::resources::swappiness;

/// In a new cgroup both limits are infinite, so memory comes before memory plus swap, which must
/// never be the smaller one. 0 means unset (BXG-13).
pub(super) fn settings(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let Some(memory) = resources.memory() else { return Ok(vec![]) };
    let limit = memory.limit().filter(|limit| *limit != 0);
    let swap = memory.swap().filter(|swap| *swap != 0);
    if let (Some(limit), Some(swap)) = (limit, swap) {
        ensure!(
            swap < 0 || (limit >= 0 && swap >= limit),
            "linux.resources.memory.swap: memory+swap limit should be >= memory limit"
        );
    }
    let mut settings = Vec::new();
    if memory.use_hierarchy() == Some(true) {
        // Since Linux 5.11 always so; later there will be no such file.
        let setting = Setting::new("memory.useHierarchy", "memory.use_hierarchy", 1);
        settings.push(setting.or_nothing(true));
    }
    // No limit for memory and one for both would be one for memory (BXG-16). A kernel without
    // accounting of swap has no file for both.
    let implied = limit == Some(-1) && swap.is_none();
    for (json, file, value) in [
        ("memory.limit", "memory.limit_in_bytes", limit),
        ("memory.swap", SWAP, if implied { Some(-1) } else { swap }),
        ("memory.reservation", "memory.soft_limit_in_bytes", memory.reservation()),
    ] {
        if let Some(value) = value.filter(|value| *value != 0) {
            let setting = Setting::new(json, file, value.max(-1));
            settings.push(setting.or_nothing(implied && file == SWAP));
        }
    }
    if memory.disable_oom_killer() == Some(true) {
        settings.push(Setting::new("memory.disableOOMKiller", "memory.oom_control", 1));
    }
    if let Some(swappiness) = swappiness(memory) {
        settings.push(Setting::new("memory.swappiness", "memory.swappiness", swappiness));
    }
    Ok(settings)
}

const SWAP: &str = "memory.memsw.limit_in_bytes";

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
                (memory(7, 0), Ok("memory.limit_in_bytes=7")),
                (memory(7, 9), Ok("memory.limit_in_bytes=7 memory.memsw.limit_in_bytes=9")),
                (memory(7, -1), Ok("memory.limit_in_bytes=7 memory.memsw.limit_in_bytes=-1")),
                (memory(-1, 0), Ok("memory.limit_in_bytes=-1 memory.memsw.limit_in_bytes=-1")),
                (memory(9, 7), Err("memory+swap limit should be >= memory limit")),
                (memory(-1, 7), Err("memory+swap limit should be >= memory limit")),
                (json!({"memory": {"reservation": 5}}), Ok("memory.soft_limit_in_bytes=5")),
                (json!({"memory": {"swappiness": 0}}), Ok("memory.swappiness=0")),
                (json!({"memory": {"swappiness": 100}}), Ok("memory.swappiness=100")),
                (json!({"memory": {"swappiness": u64::MAX}}), Ok("")),
                (json!({"memory": {"disableOOMKiller": true}}), Ok("memory.oom_control=1")),
                (json!({"memory": {"disableOOMKiller": false}}), Ok("")),
                (json!({"memory": {"useHierarchy": true}}), Ok("memory.use_hierarchy=1")),
                (json!({"memory": {"kernel": 5, "kernelTCP": 5}}), Ok("")),
            ],
        );
    }
}
