//! What this version cannot do yet is refused by name, before anything is touched.
//!
//! A value that asks for nothing (empty, zero, false) is accepted: engines write those.

use anyhow::{Result, bail};
use oci_spec::runtime::{Linux, LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, Spec};

/// Refuses a document that asks for something this version cannot do.
pub(super) fn refuse(spec: &Spec) -> Result<()> {
    let mut asked = Vec::new();
    if let Some(linux) = spec.linux() {
        self::linux(linux, &mut asked);
    }
    refuse_first(asked)
}

fn refuse_first(asked: Asked) -> Result<()> {
    match asked.into_iter().find(|(_, asked)| *asked) {
        Some((path, _)) => bail!("{path}: not supported by this version"),
        None => Ok(()),
    }
}

type Asked = Vec<(String, bool)>;

fn linux(linux: &Linux, asked: &mut Asked) {
    let flags = linux.personality().as_ref().and_then(|personality| personality.flags().as_ref());
    asked.extend(
        [
            ("linux.intelRdt", linux.intel_rdt().is_some()),
            ("linux.personality.flags", flags.is_some_and(|flags| !flags.is_empty())),
        ]
        .map(|(path, asked)| (path.to_string(), asked)),
    );
    if let Some(resources) = linux.resources() {
        self::resources(resources, asked);
    }
}

fn resources(resources: &LinuxResources, asked: &mut Asked) {
    let network = resources.network().as_ref().is_some_and(|network| {
        network.class_id().unwrap_or(0) != 0 || network.priorities().iter().flatten().count() > 0
    });
    let mut push = |path: &str, is: bool| asked.push((format!("linux.resources.{path}"), is));
    push("hugepageLimits", resources.hugepage_limits().iter().flatten().count() > 0);
    push("network", network);
    push("rdma", resources.rdma().iter().flatten().count() > 0);
    push("unified", resources.unified().iter().flatten().count() > 0);
    if let Some(block_io) = resources.block_io() {
        push("blockIO", asks_block_io(block_io));
    }
    if let Some(cpu) = resources.cpu() {
        asks_cpu(cpu, &mut push);
    }
    if let Some(memory) = resources.memory() {
        asks_memory(memory, &mut push);
    }
}

fn asks_block_io(block_io: &LinuxBlockIo) -> bool {
    let throttled = [
        block_io.throttle_read_bps_device(),
        block_io.throttle_write_bps_device(),
        block_io.throttle_read_iops_device(),
        block_io.throttle_write_iops_device(),
    ];
    block_io.weight().unwrap_or(0) != 0
        || block_io.leaf_weight().unwrap_or(0) != 0
        || block_io.weight_device().iter().flatten().count() > 0
        || throttled.iter().any(|list| list.iter().flatten().count() > 0)
}

fn asks_cpu(cpu: &LinuxCpu, push: &mut impl FnMut(&str, bool)) {
    push("cpu.burst", cpu.burst().is_some());
    push("cpu.idle", cpu.idle().unwrap_or(0) != 0);
    push("cpu.realtimeRuntime", cpu.realtime_runtime().unwrap_or(0) != 0);
    push("cpu.realtimePeriod", cpu.realtime_period().unwrap_or(0) != 0);
}

fn asks_memory(memory: &LinuxMemory, push: &mut impl FnMut(&str, bool)) {
    push("memory.kernel", memory.kernel().unwrap_or(0) != 0);
    push("memory.kernelTCP", memory.kernel_tcp().unwrap_or(0) != 0);
    push("memory.swappiness", memory.swappiness().is_some());
    push("memory.disableOOMKiller", memory.disable_oom_killer() == Some(true));
    push("memory.useHierarchy", memory.use_hierarchy() == Some(true));
    push("memory.checkBeforeUpdate", memory.check_before_update() == Some(true));
}

#[cfg(test)]
mod tests {
    use crate::spec::tests::{accepted, refused};
    use serde_json::json;

    #[test]
    fn what_asks_for_something_is_refused() {
        let resources = |change| json!({"linux": {"resources": change}});
        refused([
            (resources(json!({"blockIO": {"weight": 10}})), "linux.resources.blockIO: "),
            (resources(json!({"unified": {"a.b": "c"}})), "linux.resources.unified: "),
            (resources(json!({"memory": {"swappiness": 0}})), "memory.swappiness: "),
        ]);
    }

    #[test]
    fn what_asks_for_nothing_is_accepted() {
        let resources = |change| json!({"linux": {"resources": change}});
        accepted([
            json!({"process": {"terminal": false, "apparmorProfile": "", "selinuxLabel": ""}}),
            json!({"linux": {"netDevices": {}, "mountLabel": ""}}),
            resources(json!({"blockIO": {"weight": 0, "weightDevice": []}, "cpu": {"shares": 0}})),
            resources(json!({"memory": {"disableOOMKiller": false}, "hugepageLimits": []})),
            resources(json!({"network": {"classID": 0}, "rdma": {}, "unified": {}})),
        ]);
    }
}
