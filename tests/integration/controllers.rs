//! Controllers that not every host has: without one only its limits are missed, and where the
//! kernel has a rare one, its limits are in force.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Case, Output, host};
use crate::mounts::cgroup_mount;
use crate::tests;

tests! {
    a_hierarchy_that_is_not_mounted_is_missed_by_its_limits_only needs [Root, CgroupV1]
        unlike runc "has other texts",
    without_a_freezer_a_container_ends_but_is_not_paused needs [Root, CgroupV1]
        unlike runc "has other texts",
    without_the_devices_controller_there_is_no_container needs [Root, CgroupV1]
        unlike runc "has other texts",
    what_this_host_has_not_is_refused needs [Root] unlike runc "ignores it on v2",
    without_any_cgroups_there_is_no_container needs [Root, Cgroupfs]
        unlike runc "has other texts",
    a_cgroup_of_v1_stays_roots needs [Root, CgroupV1],
    weights_of_disks_are_those_of_v1 needs [Root, CgroupV1],
    weights_of_disks_are_those_of_the_scheduler needs [Root, CgroupV2, NullBlock]
        unlike runc "drops weights of devices without BFQ",
    huge_pages_are_limited needs [Root, HugePages],
    realtime_is_given needs [Root, Realtime],
    the_oom_score_and_what_the_cgroup_says_are_two_things needs [Root],
    resctrl_is_not_looked_at_unless_asked_for needs [Root, Strace],
}

#[track_caller]
fn read(case: &Case, controller: &str, file: &str) -> String {
    read_file(&host::cgroup(controller, &case.cgroup()).join(file))
}

#[track_caller]
fn read_file(path: &Path) -> String {
    let text = fs::read_to_string(path);
    text.unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_string()
}

/// A case whose runtime is on a host that has not mounted this below `/sys/fs/cgroup`.
fn without(mount: &str, words: &[&str]) -> Case {
    let mut case = Case::new(words);
    let hide = format!("umount --lazy {mount} && exec {} \"$@\"", case.runtime.display());
    let text = format!("#!/bin/sh\nexec unshare --mount sh -c '{hide}' sh \"$@\"\n");
    case.runtime = case.dir.join("elsewhere");
    fs::write(&case.runtime, text).expect("write a script");
    fs::set_permissions(&case.runtime, fs::Permissions::from_mode(0o755)).expect("chmod");
    case
}

fn a_hierarchy_that_is_not_mounted_is_missed_by_its_limits_only() {
    let mut case = without("/sys/fs/cgroup/pids", &["wait"]);
    case.set("/linux/resources/cpu", json!({"shares": 512}));
    case.create().ok();
    assert_eq!(read(&case, "cpu", "cpu.shares"), "512");
    assert!(!host::cgroup("pids", &case.cgroup()).exists());
    let update = ["update", "--pids-limit", "5", &case.id];
    let missing = "linux.resources.pids.limit: this host has no cgroup controller \"pids\"";
    case.runtime(&update).fails(1, missing);
    case.end();
    case.set("/linux/resources/pids", json!({"limit": 50}));
    case.create().fails(1, missing);
    assert_eq!(case.leftovers(), Vec::<String>::new());
}

fn without_a_freezer_a_container_ends_but_is_not_paused() {
    let mut case =
        without("/sys/fs/cgroup/freezer", &["spawn", "wait", "--", "echo", "up", "--", "wait"]);
    case.namespace("pid", None);
    let mut run = case.run_in_background();
    assert_eq!(run.line(), "up");
    case.runtime(&["pause", &case.id]).fails(1, "freezer not supported");
    assert_eq!(case.status(), "running");
    case.runtime(&["delete", "--force", &case.id]).ok();
    run.wait();
    assert_eq!(host::processes_in_cgroup(&case.cgroup()), Vec::<i32>::new());
}

/// Whatever device a container makes a node for, it could use (BXG-27).
fn without_the_devices_controller_there_is_no_container() {
    let mut case = without("/sys/fs/cgroup/devices", &["echo", "x"]);
    let missing = "linux.resources.devices: this host has no cgroup controller \"devices\"";
    for rules in [json!([{"allow": false, "access": "rwm"}]), json!([])] {
        case.set("/linux/resources", json!({"devices": rules}));
        case.run().fails(1, missing);
        assert_eq!(case.leftovers(), Vec::<String>::new());
    }
    case.set("/linux/resources", json!({"devices": [{"allow": true, "access": "rwm"}]}));
    assert_eq!(case.run().ok(), "x\n");
}

fn without_any_cgroups_there_is_no_container() {
    let case = without("--recursive /sys/fs/cgroup", &["echo", "x"]);
    case.run().fails(1, "no cgroups are mounted at /sys/fs/cgroup");
    assert_eq!(case.leftovers(), Vec::<String>::new());
    case.runtime(&["--cgroup-manager=disabled", "run", &case.id]).ok();
}

fn what_this_host_has_not_is_refused() {
    let device = json!([{"major": 8, "minor": 0, "leafWeight": 10}]);
    let v1 = [
        (json!({"unified": {"memory.high": "1"}}), "cannot use unified on cgroup v1"),
        (json!({"rdma": {"mlx": {"hcaHandles": 1}}}), "no cgroup controller \"rdma\""),
        (json!({"cpu": {"shares": 1}}), "the minimum allowed cpu-shares is 2"),
    ];
    let v2 = [
        (json!({"memory": {"swappiness": 1}}), "linux.resources.memory.swappiness: "),
        (json!({"cpu": {"realtimeRuntime": 1}}), "linux.resources.cpu.realtimeRuntime: "),
        (json!({"blockIO": {"weightDevice": device}}), "weightDevice[0].leafWeight: "),
    ];
    for (resources, want) in if host::is_v2() { v2 } else { v1 } {
        let mut case = Case::new(&[]);
        case.set("/linux/resources", resources);
        case.create().fails(1, want);
        assert_eq!(case.leftovers(), Vec::<String>::new());
    }
}

/// Who has a cgroup of v1 can do more than v2 lets him do (CGO-02).
fn a_cgroup_of_v1_stays_roots() {
    let mut case = Case::new(&["wait"]);
    case.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    case.set("/mounts/-", cgroup_mount(&["nosuid"]));
    case.namespace("cgroup", Some(json!({"type": "cgroup"})));
    case.run_detached();
    for hierarchy in host::hierarchies() {
        let directory = hierarchy.join(case.cgroup().trim_start_matches('/'));
        for path in [directory.clone(), directory.join("cgroup.procs")] {
            let owner = fs::metadata(&path).expect("look at a cgroup").uid();
            assert_eq!(owner, 0, "{}", path.display());
        }
    }
}

/// A disk, its number, and whether BFQ is its scheduler.
fn disk() -> (Value, String, bool) {
    let entries = fs::read_dir("/sys/block").expect("read /sys/block").flatten();
    let mut disks: Vec<_> = entries.map(|entry| entry.path()).collect();
    disks.retain(|disk| disk.join("queue/scheduler").exists());
    disks.sort();
    // Those with letters, such as vda, come after loop0.
    let disk = disks.pop().expect("a disk");
    let (number, text) = number_of(&disk);
    (number, text, read_file(&disk.join("queue/scheduler")).contains("[bfq]"))
}

/// As the document has it, and as files of cgroups have it.
fn number_of(disk: &Path) -> (Value, String) {
    let text = read_file(&disk.join("dev"));
    let (major, minor) = text.split_once(':').expect("two numbers");
    let number = |text: &str| text.parse::<u64>().expect("a number");
    (json!({"major": number(major), "minor": number(minor), "weight": 100}), text)
}

/// Which file has it depends on the kernel, and whether a device has one on its scheduler.
fn weights_of_disks_are_those_of_v1() {
    let mut case = Case::new(&["wait"]);
    case.run_detached();
    let cgroup = host::cgroup("blkio", &case.cgroup());
    let file = ["blkio.weight", "blkio.bfq.weight"].into_iter().find(|f| cgroup.join(f).exists());
    case.end();
    case.set("/linux/resources", json!({"blockIO": {"weight": 500}}));
    let Some(file) = file else {
        case.create().fails(1, "linux.resources.blockIO.weight: ");
        return;
    };
    case.create().ok();
    assert_eq!(read(&case, "blkio", file), "500");
    case.runtime(&["update", "--blkio-weight", "300", &case.id]).ok();
    assert_eq!(read(&case, "blkio", file), "300");
    case.end();
    let (device, number, is_bfq) = disk();
    case.set("/linux/resources", json!({"blockIO": {"weightDevice": [device]}}));
    if !is_bfq {
        case.create().fails(1, "linux.resources.blockIO.weightDevice[0].weight: ");
        assert_eq!(case.leftovers(), Vec::<String>::new());
        return;
    }
    case.create().ok();
    let want = format!("default 100\n{number} 100");
    assert_eq!(read(&case, "blkio", &format!("{file}_device")), want);
}

/// First by the kernel's model of costs, and then, once it is there, by the scheduler BFQ.
fn weights_of_disks_are_those_of_the_scheduler() {
    let modprobe = |name: &str| Output::of(Command::new("modprobe").arg(name)).ok();
    modprobe("null_blk");
    let disk = Path::new("/sys/block/nullb0");
    let (device, number) = number_of(disk);
    let mut case = Case::new(&["wait"]);
    let weights = json!({"weight": 500, "weightDevice": [device]});
    case.set("/linux/resources", json!({"blockIO": weights}));
    if !Path::new("/sys/module/bfq").exists() {
        let model = Path::new("/sys/fs/cgroup/io.cost.qos");
        fs::write(model, format!("{number} enable=1")).expect("have costs counted");
        case.create().ok();
        assert_eq!(read(&case, "", "io.weight"), format!("default 4950\n{number} 910"));
        case.runtime(&["update", "--blkio-weight", "10", &case.id]).ok();
        assert_eq!(read(&case, "", "io.weight"), format!("default 1\n{number} 910"));
        case.end();
        fs::write(model, format!("{number} enable=0")).expect("have costs counted no more");
    }
    modprobe("bfq");
    fs::write(disk.join("queue/scheduler"), "bfq").expect("set the scheduler");
    case.create().ok();
    assert_eq!(read(&case, "", "io.bfq.weight"), format!("default 500\n{number} 100"));
    // One that the kernel does not have for a device is taken back with the others.
    let path = case.dir.join("resources.json");
    let other = json!({"major": 0, "minor": 77, "weight": 100, "rate": 5});
    for (rest, at_fault) in [
        (json!({"weightDevice": [device, other]}), "weightDevice[1].weight"),
        (json!({"throttleReadBpsDevice": [other]}), "throttleReadBpsDevice[0]"),
    ] {
        let mut resources = json!({"blockIO": rest});
        resources["blockIO"]["weight"] = json!(300);
        fs::write(&path, resources.to_string()).expect("write a document");
        let update = ["update", "--resources", path.to_str().expect("a path"), &case.id];
        case.runtime(&update).fails(1, &format!("linux.resources.blockIO.{at_fault}"));
        assert_eq!(read(&case, "", "io.bfq.weight"), format!("default 500\n{number} 100"));
    }
}

/// Pages of 2 MiB of which the machine has some at least, as long as this exists.
struct HugePages(String);

const POOL: &str = "/proc/sys/vm/nr_hugepages";

impl HugePages {
    fn new() -> Self {
        let before = read_file(POOL.as_ref());
        let count = before.parse::<u32>().expect("a number").max(8);
        fs::write(POOL, count.to_string()).expect("reserve huge pages");
        assert_eq!(read_file(POOL.as_ref()), count.to_string(), "there are no huge pages");
        Self(before)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        let _ = fs::write(POOL, &self.0);
    }
}

/// A program that maps so many huge pages is told at once when it may not.
fn huge_pages_are_limited() {
    let _pages = HugePages::new();
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB;
    let (two, three, flags) = ((2 << 21).to_string(), (3 << 21).to_string(), flags.to_string());
    let map = |size| ["syscall", "mmap", "0", size, "3", &flags, "0", "0"];
    let mut case = Case::new(&map(&three));
    assert_eq!(case.run().ok(), "ok\n");
    case.set("/linux/resources/hugepageLimits", json!([{"pageSize": "2MB", "limit": 2 << 21}]));
    assert_eq!(case.run().ok(), "ENOMEM\n");
    case.args(&[&map(&two)[..], &["--", "wait"]].concat());
    let mut run = case.run_in_background();
    assert_eq!(run.line(), "ok");
    let end = if host::is_v2() { "max" } else { "limit_in_bytes" };
    for reserved in ["", "rsvd."] {
        assert_eq!(read(&case, "hugetlb", &format!("hugetlb.2MB.{reserved}{end}")), "4194304");
    }
    let text = case.runtime(&["events", "--stats", &case.id]).ok();
    let event: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(event["data"]["hugetlb"]["2MB"]["usage"], json!(2 << 21), "{event:#}");
    let path = case.dir.join("resources.json");
    let limits = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 21}]});
    fs::write(&path, limits.to_string()).expect("write a document");
    case.runtime(&["update", "--resources", path.to_str().expect("a path"), &case.id]).ok();
    assert_eq!(case.exec(&map(&two)).ok(), "ok\n");
    assert_eq!(case.exec(&map(&three)).ok(), "ENOMEM\n");
    case.end();
    run.wait();
}

/// A cgroup gets a share of what the one above it has, which is all only at the top.
fn realtime_is_given() {
    let mut case = Case::new(&["shares", "--", "wait"]);
    let path = format!("/orlop-test-{}", case.id);
    case.set("/linux/cgroupsPath", json!(path));
    case.set("/process/scheduler", json!({"policy": "SCHED_RR", "priority": 3}));
    let share = json!({"realtimePeriod": 500_000, "realtimeRuntime": 5000});
    case.set("/linux/resources/cpu", share);
    let mut run = case.run_in_background();
    let shares = run.line();
    assert!(shares.starts_with("policy 2 priority 3 "), "{shares}");
    let file = |name: &str| read_file(&host::cgroup("cpu", &path).join(name));
    assert_eq!(
        (file("cpu.rt_period_us"), file("cpu.rt_runtime_us")),
        ("500000".into(), "5000".into())
    );
    case.runtime(&["update", "--cpu-rt-runtime", "6000", &case.id]).ok();
    assert_eq!(file("cpu.rt_runtime_us"), "6000");
    let refused = ["update", "--cpu-rt-runtime", "600000", &case.id];
    case.runtime(&refused).fails(1, "linux.resources.cpu.realtimeRuntime: ");
    assert_eq!(file("cpu.rt_runtime_us"), "6000");
    case.end();
    run.wait();
    assert!(!host::cgroup("cpu", &path).exists());
}

fn the_oom_score_and_what_the_cgroup_says_are_two_things() {
    for (score, alone) in [(300, true), (0, true), (300, false)] {
        let mut case = Case::new(&["cat", "/proc/self/oom_score_adj", "--", "wait"]);
        case.set("/process/oomScoreAdj", json!(score));
        let (resources, file, want) = match (host::is_v2(), alone) {
            (true, true) => {
                (json!({"unified": {"memory.oom.group": "1"}}), "memory.oom.group", "1")
            }
            (true, false) => (json!({}), "memory.oom.group", "0"),
            (false, true) => (
                json!({"memory": {"disableOOMKiller": true}}),
                "memory.oom_control",
                "oom_kill_disable 1",
            ),
            (false, false) => (json!({}), "memory.oom_control", "oom_kill_disable 0"),
        };
        case.set("/linux/resources", resources);
        let mut run = case.run_in_background();
        assert_eq!(run.line(), score.to_string());
        let got = read(&case, "memory", file);
        assert!(got.starts_with(want), "{score}: {got}");
        case.end();
        run.wait();
    }
}

/// RDT-03
fn resctrl_is_not_looked_at_unless_asked_for() {
    let mut case = Case::new(&["echo", "x"]);
    let trace = case.dir.join("trace");
    let traced = |case: &Case| {
        case.write_config();
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-e", "trace=file", "-o"]).arg(&trace).arg(&case.runtime);
        command.args(case.arguments(&["run", &case.id])).current_dir(&case.dir);
        let output = Output::of(&mut command);
        (output, fs::read_to_string(&trace).expect("read the trace"))
    };
    let (output, text) = traced(&case);
    assert_eq!(output.ok(), "x\n");
    assert!(text.contains("state.json") && !text.contains("resctrl"), "{text}");
    case.set("/linux/intelRdt", json!({}));
    assert!(traced(&case).1.contains("resctrl"));
}
