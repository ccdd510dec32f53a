//! Pods of containerd 2: what it can and containerd 1 cannot, user namespaces first of all, and
//! again what depends on the shim most.

use std::fs;
use std::path::Path;

use crate::cri::passes;
use crate::cri_tests;
use crate::cri_version::Version;

cri_tests! {
    second_passes; _;
    events_of_containers = "TestContainerEvents",
    privileged_containers_write_to_sys = "TestContainerSysfsStatsWithPrivilegedPod",
    shared_processes_are_stopped = "TestSharedPidMultiProcessContainerStop",
    groups_of_the_user = "TestAdditionalGids",
    exec_with_a_terminal = "TestContainerTTYLeakAfterExit/interactive",
    update_of_memory = "TestUpdateContainerResources_MemoryLimit",
    stats_of_a_container = "TestContainerStats",
    networks_of_pods = "TestPodDualStack",
    containerd_is_restarted = "TestContainerdRestart";
    pods_with_user_namespaces
}

#[track_caller]
fn second_passes(pattern: &str) {
    passes(Version::Second, pattern);
}

/// Here the test tries whether mounts can be mapped, wherever the daemon's files are.
struct Root(&'static Path);

impl Drop for Root {
    fn drop(&mut self) {
        // Only if it is empty: it may be somebody's.
        let _ = fs::remove_dir(self.0);
    }
}

fn pods_with_user_namespaces() {
    let root = Root(Path::new("/var/lib/containerd-test"));
    fs::create_dir_all(root.0).expect("make a directory");
    passes(Version::Second, "TestPodUserNS");
}
