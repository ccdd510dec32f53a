//! `net_cls.*` and `net_prio.*`: cgroup-v1/net_cls and net_prio of the kernel's documentation.

use anyhow::Result;
use oci_spec::runtime::LinuxResources;

use crate::cgroups::setting::Setting;

/// The class of packets; 0 is what a new cgroup has.
pub(super) fn class(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let network = resources.network().as_ref();
    let class = network.and_then(|network| network.class_id()).filter(|class| *class != 0);
    let setting = class.map(|class| Setting::new("network.classID", "net_cls.classid", class));
    Ok(setting.into_iter().collect())
}

/// Priorities of packets, by interfaces of the runtime's network namespace (HUG-07).
pub(super) fn priorities(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let network = resources.network().as_ref();
    let list = network.and_then(|network| network.priorities().as_deref()).unwrap_or_default();
    let settings = list.iter().enumerate().map(|(index, entry)| {
        let line = format!("{} {}", entry.name(), entry.priority());
        Setting::new(format!("network.priorities[{index}]"), "net_prio.ifpriomap", line)
    });
    Ok(settings.collect())
}

#[cfg(test)]
mod tests {
    use crate::cgroups::tests::check;
    use serde_json::json;

    #[test]
    fn translation() {
        let network = json!({"network": {"classID": 1_048_577, "priorities": [
            {"name": "eth0", "priority": 5}, {"name": "lo", "priority": 0}]}});
        check(
            super::class,
            [
                (network.clone(), Ok("net_cls.classid=1048577")),
                (json!({"network": {"classID": 0}}), Ok("")),
            ],
        );
        check(
            super::priorities,
            [
                (network, Ok("net_prio.ifpriomap=eth0 5 net_prio.ifpriomap=lo 0")),
                (json!({"network": {}}), Ok("")),
            ],
        );
    }
}
