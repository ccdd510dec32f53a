//! Pods, as Kubernetes has them made: containerd's own tests of its CRI plugin, with the runtime
//! under test as the handler. Which of them are left out, and why, is in `cri/omitted.txt`.

use crate::cri_engine::Engine;
use crate::cri_version::Version;
use crate::docker::{OURS, REFERENCE};
use crate::harness::{Output, reference};

/// Tests that differ by a text: `run; TEXTS; name = "text", ...; others`. All texts get the second
/// name.
#[macro_export]
macro_rules! cri_tests {
    ($run:path; $list:tt; $($name:ident = $text:literal),* $(,)?; $($other:ident),* $(,)?) => {
        $(fn $name() { $run($text) })*
        const $list: &[&str] = &[$($text),*];
        $crate::tests! {
            $($name needs [Docker, Ctr, Cri],)*
            $($other needs [Docker, Ctr, Cri],)*
        }
    };
}

cri_tests! {
    packaged_passes; PATTERNS;
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
    sockets_of_shims = "TestFailFastWhenConnectShim";
    every_test_of_containerd_is_run_or_named
}

#[track_caller]
fn packaged_passes(pattern: &str) {
    passes(Version::Packaged, pattern);
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

/// Runs Go tests, and where they do not pass says whether they do with runc.
#[track_caller]
pub fn compare(run: impl Fn(&str) -> Output) {
    judge(|handler| {
        let seen = run(handler);
        let has = |word: &str| seen.stdout.contains(&format!("--- {word}: "));
        let passed = seen.code == 0 && has("PASS") && !has("SKIP");
        if passed { Ok(()) } else { Err(format!("{}\n{}", seen.stdout, seen.stderr)) }
    });
}

/// Does something with orlop as the handler, and where it fails says whether it does with runc.
#[track_caller]
pub fn judge(run: impl Fn(&str) -> Result<(), String>) {
    let Err(error) = run(OURS) else { return };
    let runc = match reference::runc().map(|_| run(REFERENCE)) {
        Some(Ok(())) => "passes",
        Some(Err(_)) => "fails as well",
        None => "is not there",
    };
    panic!("runc {runc}\n{error}");
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
