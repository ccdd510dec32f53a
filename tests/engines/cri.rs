//! Pods, as Kubernetes has them made: containerd's own tests of its CRI plugin, with the runtime
//! under test as the handler. Which of them are left out, and why, is in `cri/omitted.txt`.

use crate::cri_engine::Engine;
use crate::cri_version::Version;
use crate::docker::{OURS, REFERENCE};
use crate::harness::{Output, reference};

/// The cases here and the tests of containerd that each of them runs.
macro_rules! upstream {
    ($($name:ident = $pattern:literal),* $(,)?) => {
        $(fn $name() { passes(Version::Packaged, $pattern) })*
        const PATTERNS: &[&str] = &[$($pattern),*];
        crate::tests! {
            $($name needs [Docker, Ctr, Cri],)*
            every_test_of_containerd_is_run_or_named needs [Docker, Ctr, Cri],
        }
    };
}

upstream! {
    groups_of_the_user = "TestAdditionalGids",
    logs_of_containers = "Test(ContainerLogWithoutTailingNewLine|LongContainerLog)",
    a_container_is_made_again = "TestContainerRestart",
    a_container_that_failed_is_made_again = "TestFailedContainerRestart",
    stats_of_a_container = "TestContainerStats",
    stats_of_all_containers = "TestContainerListStats",
    stats_of_one_container = "TestContainerListStatsWithIdFilter",
    stats_of_a_pod = "TestContainerListStatsWithSandboxIdFilter",
    stats_of_a_container_in_a_pod = "TestContainerListStatsWithIdSandboxIdFilter",
    shared_processes_are_stopped = "TestSharedPidMultiProcessContainerStop",
    a_stop_is_called_off = "TestContainerStopCancellation",
    exec_with_a_terminal = "TestContainerTTYLeakAfterExit/interactive",
    update_of_memory = "TestUpdateContainerResources_MemoryLimit",
    update_is_told = "TestUpdateContainerResources_StatusUpdated",
    volumes_behind_links = "TestContainerSymlinkVolumes",
    volumes_of_the_image = "Test(VolumeCopyUp|VolumeOwnership)",
    a_container_without_its_image = "TestContainerLifecycleWithoutImageRef",
    names_and_metadata = "Test(DuplicateName|(RunPodSandbox|CreateContainer)WithoutMetadata)",
    handlers_and_short_names = "Test(RuntimeHandler|TruncIndex|ImageFSInfo)",
    networks_of_pods = "TestPodDualStack",
    host_names_and_the_hosts_network = "TestPodHostname",
    containerd_is_restarted = "TestContainerdRestart",
    sockets_of_shims = "TestFailFastWhenConnectShim",
}

/// Each part of a pattern means a whole name.
fn whole(pattern: &str) -> String {
    pattern.split('/').map(|part| format!("^{part}$")).collect::<Vec<_>>().join("/")
}

#[track_caller]
pub fn passes(version: Version, pattern: &str) {
    compare(|handler| {
        let words = ["-test.v", &format!("-test.run={}", whole(pattern))];
        Engine::start(version).test(handler, &words)
    });
}

/// Runs tests, and where they do not pass says whether they do with runc.
#[track_caller]
pub fn compare(run: impl Fn(&str) -> Output) {
    let passed = |seen: &Output| {
        let has = |word: &str| seen.stdout.contains(&format!("--- {word}: "));
        seen.code == 0 && has("PASS") && !has("SKIP")
    };
    let ours = run(OURS);
    if passed(&ours) {
        return;
    }
    let runc = match reference::runc().map(|_| passed(&run(REFERENCE))) {
        Some(true) => "passes",
        Some(false) => "fails as well",
        None => "is not there",
    };
    panic!("runc {runc}\n{}\n{}", ours.stdout, ours.stderr);
}

fn every_test_of_containerd_is_run_or_named() {
    let engine = Engine::start(Version::Packaged);
    let names = |pattern: &str| {
        let listed = engine.test(OURS, &[&format!("-test.list={pattern}")]).ok();
        let names = listed.lines().filter(|line| line.starts_with("Test"));
        names.map(str::to_string).collect::<Vec<_>>()
    };
    let omitted = include_str!("cri/omitted.txt").lines().filter(|line| !line.starts_with('#'));
    let mut told: Vec<_> = omitted
        .map(|line| {
            let (name, reason) = line.split_once(' ').expect("a name and a reason");
            assert!(!reason.trim().is_empty(), "{name} has no reason");
            name.to_string()
        })
        .collect();
    for pattern in PATTERNS {
        let test = pattern.split('/').next().expect("a name");
        let run = names(&whole(test));
        assert!(!run.is_empty(), "{pattern} is no test of containerd");
        told.extend(run);
    }
    let mut all = names(".");
    all.sort();
    told.sort();
    assert_eq!(told, all);
}
