//! What cgroup v2 has not, and nothing like it: asked for, it is an error (UNI-07).

use anyhow::{Result, ensure};
use oci_spec::runtime::LinuxResources;

use crate::cgroups::setting::Setting;
use crate::spec::resources::swappiness;

pub(super) fn settings(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let (cpu, memory) = (resources.cpu().as_ref(), resources.memory().as_ref());
    let network = resources.network().as_ref();
    let realtime_runtime = cpu.and_then(|cpu| cpu.realtime_runtime()).unwrap_or(0);
    let realtime_period = cpu.and_then(|cpu| cpu.realtime_period()).unwrap_or(0);
    let disable = memory.and_then(|memory| memory.disable_oom_killer());
    let priorities = network.and_then(|network| network.priorities().as_ref());
    for (json, asked) in [
        ("cpu.realtimeRuntime", realtime_runtime != 0),
        ("cpu.realtimePeriod", realtime_period != 0),
        ("memory.swappiness", memory.and_then(swappiness).is_some()),
        ("memory.disableOOMKiller", disable == Some(true)),
        ("network.classID", network.and_then(|network| network.class_id()).unwrap_or(0) != 0),
        ("network.priorities", priorities.is_some_and(|list| !list.is_empty())),
    ] {
        ensure!(!asked, "linux.resources.{json}: cgroup v2 has no such thing");
    }
    Ok(vec![])
}

#[cfg(test)]
mod tests {
    use crate::cgroups::tests::check;
    use serde_json::json;

    #[test]
    fn refusals() {
        let nothing = json!({
            "cpu": {"realtimeRuntime": 0, "realtimePeriod": 0},
            "memory": {"disableOOMKiller": false, "useHierarchy": true, "swappiness": u64::MAX},
            "network": {"classID": 0, "priorities": []}});
        check(
            super::settings,
            [
                (json!({}), Ok("")),
                (nothing, Ok("")),
                (json!({"cpu": {"realtimeRuntime": 1}}), Err("cpu.realtimeRuntime: ")),
                (json!({"cpu": {"realtimePeriod": 1}}), Err("cpu.realtimePeriod: ")),
                (json!({"memory": {"swappiness": 0}}), Err("memory.swappiness: ")),
                (json!({"memory": {"disableOOMKiller": true}}), Err("memory.disableOOMKiller: ")),
                (json!({"network": {"classID": 1}}), Err("network.classID: ")),
                (
                    json!({"network": {"priorities": [{"name": "lo", "priority": 0}]}}),
                    Err("network.priorities: "),
                ),
            ],
        );
    }
}
