//! Control groups: where the container is, what it may use, and that nothing of it stays.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::{Case, host, wait_until_gone};
use crate::tests;

tests! {
    the_container_is_in_its_cgroup_of_every_hierarchy needs [Root],
    a_cgroup_path_relative_or_absent_is_below_the_runtimes_own needs [Root, CgroupV1],
    a_cgroup_path_cannot_leave_the_hierarchy needs [Root, Cgroupfs],
    limits_are_written needs [Root],
    limits_that_ask_for_nothing_change_nothing needs [Root],
    limits_that_contradict_are_refused needs [Root] unlike runc "leaves it to the kernel",
    a_limit_that_the_kernel_refuses_is_named needs [Root],
    the_number_of_processes_is_limited needs [Root],
    memory_is_limited needs [Root],
    processor_time_is_limited needs [Root],
    a_device_is_throttled needs [Root],
    the_program_runs_on_the_configured_cpus needs [Root],
    a_container_that_has_too_little_memory_to_start_says_so needs [Root]
        unlike runc "needs more memory to start",
    the_usual_devices_are_allowed needs [Root],
    devices_are_denied_and_allowed_in_order needs [Root],
    a_hole_in_an_allowed_wildcard_is_refused needs [Root]
        unlike runc "refuses it with an internal error",
    a_used_cgroup_is_refused needs [Root],
    a_frozen_cgroup_is_refused needs [Root],
    an_empty_cgroup_is_used needs [Root],
    what_a_container_makes_below_its_cgroup_is_removed needs [Root],
    a_failed_create_removes_every_cgroup_it_made needs [Root, Cgroupfs] unlike runc "keeps the upper ones",
    many_at_a_time_leave_nothing needs [Root, Cgroupfs],
}

fn many_at_a_time_leave_nothing() {
    crate::units::many(|| Case::new(&["wait"]));
}

fn directory(controller: &str, case: &Case) -> PathBuf {
    host::cgroup(controller, &case.cgroup())
}

fn read(path: &std::path::Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn the_container_is_in_its_cgroup_of_every_hierarchy() {
    let case = Case::new(&["wait"]);
    case.run_with(&["--detach"]).ok();
    let text = read(format!("/proc/{}/cgroup", case.pid()).as_ref());
    for line in text.lines() {
        assert!(line.ends_with(&format!(":{}", case.cgroup())), "{line}");
    }
    assert_eq!(text.lines().count(), read("/proc/self/cgroup".as_ref()).lines().count());
    let shown = &case.state()["cgroup"];
    assert_eq!(shown["driver"], if case.by_systemd { "systemd" } else { "cgroupfs" });
    let directories = shown["directories"].as_array().expect("directories");
    for hierarchy in host::hierarchies() {
        let directory = hierarchy.join(case.cgroup().trim_start_matches('/'));
        assert!(directories.contains(&json!(directory)), "{shown}");
    }
    case.end();
    let log = case.runtime(&["--debug", "create", &case.id]).stderr;
    assert!(log.contains(case.cgroup().trim_start_matches('/')), "{log}");
}

fn a_cgroup_path_relative_or_absent_is_below_the_runtimes_own() {
    let own = read("/proc/self/cgroup".as_ref());
    for (path, below) in [(json!("a/../../b"), "b"), (Value::Null, "")] {
        let mut case = Case::new(&["wait"]);
        let name = if below.is_empty() { case.id.clone() } else { format!("{}-b", case.id) };
        let path = path.as_str().map(|_| format!("a/../../{name}"));
        case.set("/linux/cgroupsPath", path.map_or(Value::Null, Value::from));
        case.run_with(&["--detach"]).ok();
        let text = read(format!("/proc/{}/cgroup", case.pid()).as_ref());
        for controller in ["pids", "memory"] {
            let of = |text: &str| {
                let line = text.lines().find(|line| line.contains(&format!(":{controller}:")));
                line.expect("a line").rsplit(':').next().expect("a path").to_string()
            };
            let base = of(&own);
            assert_eq!(of(&text), format!("{}/{name}", base.trim_end_matches('/')));
        }
        case.end();
        for hierarchy in host::hierarchies() {
            assert!(!hierarchy.join(&name).exists());
        }
    }
}

fn a_cgroup_path_cannot_leave_the_hierarchy() {
    let mut case = Case::new(&["wait"]);
    let path = format!("/../../..{}", case.cgroup());
    case.set("/linux/cgroupsPath", json!(path));
    case.run_with(&["--detach"]).ok();
    assert!(directory("pids", &case).join("cgroup.procs").exists());
}

/// Resources, and what is then in which file: controller, file, value.
type Written = (Value, &'static [(&'static str, &'static str, &'static str)]);

const MIB: u64 = 1 << 20;

fn written() -> Vec<Written> {
    if host::is_v2() { written_to_v2() } else { written_to_v1() }
}

fn written_to_v2() -> Vec<Written> {
    vec![
        (json!({"pids": {"limit": 33}}), &[("", "pids.max", "33")]),
        (json!({"pids": {"limit": -1}}), &[("", "pids.max", "max")]),
        (json!({"pids": {"limit": 0}}), &[("", "pids.max", "1")]),
        (
            json!({"memory": {"limit": 64 * MIB, "reservation": 32 * MIB}}),
            &[("", "memory.max", "67108864"), ("", "memory.low", "33554432")],
        ),
        (json!({"memory": {"limit": -1}}), &[("", "memory.max", "max")]),
        (
            json!({"memory": {"limit": 64 * MIB, "swap": 96 * MIB}}),
            &[("", "memory.max", "67108864"), ("", "memory.swap.max", "33554432")],
        ),
        (json!({"memory": {"limit": 64 * MIB, "swap": 64 * MIB}}), &[("", "memory.swap.max", "0")]),
        (json!({"memory": {"limit": 64 * MIB, "swap": -1}}), &[("", "memory.swap.max", "max")]),
        (
            json!({"cpu": {"quota": 50_000, "burst": 20_000}}),
            &[("", "cpu.max", "50000 100000"), ("", "cpu.max.burst", "20000")],
        ),
        (json!({"cpu": {"shares": 512, "idle": 1}}), &[("", "cpu.idle", "1")]),
        (json!({"memory": {"useHierarchy": true}}), &[]),
        (json!({"cpu": {"shares": 512}}), &[("", "cpu.weight", "59")]),
        (json!({"cpu": {"shares": 1024}}), &[("", "cpu.weight", "100")]),
        (json!({"cpu": {"quota": 50_000, "period": 200_000}}), &[("", "cpu.max", "50000 200000")]),
        (json!({"cpu": {"quota": 50_000}}), &[("", "cpu.max", "50000 100000")]),
        (json!({"cpu": {"quota": -1}}), &[("", "cpu.max", "max 100000")]),
        (json!({"cpu": {"period": 50_000}}), &[("", "cpu.max", "max 50000")]),
        (
            json!({"cpu": {"cpus": "0", "mems": "0"}}),
            &[("", "cpuset.cpus", "0"), ("", "cpuset.mems", "0")],
        ),
    ]
}

fn written_to_v1() -> Vec<Written> {
    vec![
        (json!({"pids": {"limit": 33}}), &[("pids", "pids.max", "33")]),
        (json!({"pids": {"limit": -1}}), &[("pids", "pids.max", "max")]),
        (json!({"pids": {"limit": 0}}), &[("pids", "pids.max", "1")]),
        (
            json!({"memory": {"limit": 64 * MIB, "reservation": 32 * MIB}}),
            &[
                ("memory", "memory.limit_in_bytes", "67108864"),
                ("memory", "memory.soft_limit_in_bytes", "33554432"),
            ],
        ),
        (
            json!({"memory": {"limit": -1}}),
            &[("memory", "memory.limit_in_bytes", "9223372036854771712")],
        ),
        (json!({"memory": {"swappiness": 0}}), &[("memory", "memory.swappiness", "0")]),
        (
            json!({"memory": {"disableOOMKiller": true}}),
            &[("memory", "memory.oom_control", "oom_kill_disable 1\nunder_oom 0\noom_kill 0")],
        ),
        (json!({"memory": {"useHierarchy": true}}), &[("memory", "memory.use_hierarchy", "1")]),
        (
            json!({"cpu": {"quota": 50_000, "burst": 20_000}}),
            &[("cpu", "cpu.cfs_quota_us", "50000"), ("cpu", "cpu.cfs_burst_us", "20000")],
        ),
        (json!({"cpu": {"shares": 512, "idle": 1}}), &[("cpu", "cpu.idle", "1")]),
        (json!({"cpu": {"shares": 512}}), &[("cpu", "cpu.shares", "512")]),
        (
            json!({"cpu": {"quota": 50_000, "period": 200_000}}),
            &[("cpu", "cpu.cfs_quota_us", "50000"), ("cpu", "cpu.cfs_period_us", "200000")],
        ),
        (
            // One that the kernel takes only in this order.
            json!({"cpu": {"quota": 1_500_000, "period": 1_000_000}}),
            &[("cpu", "cpu.cfs_quota_us", "1500000"), ("cpu", "cpu.cfs_period_us", "1000000")],
        ),
        (json!({"cpu": {"quota": -1}}), &[("cpu", "cpu.cfs_quota_us", "-1")]),
        (
            json!({"cpu": {"cpus": "0", "mems": "0"}}),
            &[("cpuset", "cpuset.cpus", "0"), ("cpuset", "cpuset.mems", "0")],
        ),
    ]
}

fn limits_are_written() {
    for (resources, files) in written() {
        let mut case = Case::new(&["wait"]);
        case.set("/linux/resources", resources.clone());
        case.create().ok();
        for (controller, file, want) in files {
            let got = read(&directory(controller, &case).join(file));
            assert_eq!(got.trim(), *want, "{file} for {resources}");
        }
    }
}

fn limits_that_ask_for_nothing_change_nothing() {
    let plain = Case::new(&["wait"]);
    plain.create().ok();
    let mut zero = Case::new(&["wait"]);
    zero.set(
        "/linux/resources",
        json!({
            "memory": {"limit": 0, "reservation": 0, "swap": 0, "disableOOMKiller": false},
            "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""},
            "blockIO": {"weight": 0, "weightDevice": [], "throttleReadBpsDevice": null},
            "hugepageLimits": [], "network": {}, "rdma": {}, "unified": {}
        }),
    );
    zero.create().ok();
    let files: &[(&str, &str)] = if host::is_v2() {
        &[("", "memory.max"), ("", "cpu.max"), ("", "cpu.weight"), ("", "cpuset.cpus")]
    } else {
        &[
            ("memory", "memory.limit_in_bytes"),
            ("cpu", "cpu.shares"),
            ("cpu", "cpu.cfs_quota_us"),
            ("cpuset", "cpuset.cpus"),
            ("pids", "pids.max"),
        ]
    };
    for (controller, file) in files {
        let of = |case: &Case| read(&directory(controller, case).join(file));
        assert_eq!(of(&plain), of(&zero), "{file}");
    }
}

fn limits_that_contradict_are_refused() {
    for (resources, error) in [
        (json!({"memory": {"swap": MIB}}), "linux.resources.memory.swap: "),
        (json!({"memory": {"limit": 2 * MIB, "swap": MIB}}), "linux.resources.memory.swap: "),
    ] {
        let mut case = Case::new(&[]);
        case.set("/linux/resources", resources);
        case.create().fails(1, error);
        assert!(!directory("memory", &case).exists());
    }
}

fn a_limit_that_the_kernel_refuses_is_named() {
    for (resources, path) in [
        (json!({"cpu": {"cpus": "9999"}}), "linux.resources.cpu.cpus"),
        (json!({"cpu": {"cpus": "nonsense"}}), "linux.resources.cpu.cpus"),
        (json!({"cpu": {"quota": 1}}), "linux.resources.cpu.quota"),
        (json!({"cpu": {"period": 5}}), "linux.resources.cpu.period"),
        (json!({"cpu": {"quota": 1, "period": 5}}), "linux.resources.cpu"),
    ] {
        let mut case = Case::new(&[]);
        // systemd counts in hundredths and makes enough of it.
        if case.by_systemd && path == "linux.resources.cpu.quota" {
            continue;
        }
        case.set("/linux/resources", resources);
        let error = case.create().fails(1, "");
        let ours = std::env::var_os("RUNTIME").is_none();
        assert!(!ours || error.contains(path), "{path}: {error}");
    }
}

fn the_number_of_processes_is_limited() {
    let mut case = Case::new(&["fork", "20"]);
    case.set("/linux/resources", json!({"pids": {"limit": 8}}));
    let text = case.run().ok();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "EAGAIN", "{text}");
    let count: u32 = lines[1].parse().expect("a number");
    assert!((1..8).contains(&count), "{text}");
}

fn memory_is_limited() {
    let mut case = Case::new(&["allocate", "256"]);
    let limit = 32 * MIB;
    case.set("/linux/resources", json!({"memory": {"limit": limit, "swap": limit}}));
    let output = case.run();
    assert_eq!((output.code, output.stdout.as_str()), (137, ""), "{output:?}");
    case.args(&["allocate", "4"]);
    case.run().ok();
}

fn processor_time_is_limited() {
    let mut case = Case::new(&["spin", "100", "--", "echo", "done", "--", "wait"]);
    case.set("/linux/resources", json!({"cpu": {"quota": 20_000, "period": 100_000}}));
    let mut run = case.run_in_background();
    while run.line() != "done" {}
    let stat = read(&directory("cpu", &case).join("cpu.stat"));
    let throttled = stat.lines().find_map(|line| line.strip_prefix("nr_throttled "));
    assert_ne!(throttled.expect("a line of cpu.stat"), "0", "{stat}");
    case.end();
    run.wait();
}

/// The number of a disk of this machine.
fn disk() -> Option<String> {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let disks = entries.filter(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        ["vd", "sd", "nvme", "loop0"].iter().any(|prefix| name.starts_with(prefix))
    });
    let mut numbers: Vec<_> =
        disks.filter_map(|entry| fs::read_to_string(entry.path().join("dev")).ok()).collect();
    numbers.sort();
    numbers.first().map(|number| number.trim().to_string())
}

fn a_device_is_throttled() {
    let disk = disk().expect("a disk");
    let (major, minor) = disk.split_once(':').expect("two numbers");
    let number = |text: &str| text.parse::<u64>().expect("a number");
    let device =
        |rate: u64| json!([{"major": number(major), "minor": number(minor), "rate": rate}]);
    let mut case = Case::new(&["wait"]);
    let limits = json!({
        "throttleReadBpsDevice": device(1 << 20), "throttleWriteBpsDevice": device(2 << 20),
        "throttleReadIOPSDevice": device(100), "throttleWriteIOPSDevice": device(200)
    });
    case.set("/linux/resources", json!({"blockIO": limits}));
    case.create().ok();
    if host::is_v2() {
        let got = read(&directory("", &case).join("io.max"));
        assert_eq!(got, format!("{disk} rbps=1048576 wbps=2097152 riops=100 wiops=200\n"));
        return;
    }
    for (file, rate) in
        [("read_bps", 1 << 20), ("write_bps", 2 << 20), ("read_iops", 100), ("write_iops", 200)]
    {
        let got = read(&directory("blkio", &case).join(format!("blkio.throttle.{file}_device")));
        assert_eq!(got, format!("{disk} {rate}\n"), "{file}");
    }
}

fn the_program_runs_on_the_configured_cpus() {
    let mut case = Case::new(&["report"]);
    case.set("/linux/resources", json!({"cpu": {"cpus": "0"}}));
    let report: Value = serde_json::from_str(&case.run().ok()).expect("a report");
    assert_eq!(report["status"]["Cpus_allowed_list"], json!("0"));
}

fn a_container_that_has_too_little_memory_to_start_says_so() {
    let mut case = Case::new(&[]);
    case.set("/linux/resources", json!({"memory": {"limit": 4096, "swap": 4096}}));
    case.create().fails(1, "container init was OOM-killed (memory limit too low?)");
    assert_eq!(case.leftovers(), Vec::<String>::new());
}

/// A container that may make device nodes and tries to open some.
fn opening(devices: &[(&str, u32, u32)]) -> Case {
    let mut words = vec![];
    let nodes: Vec<_> = devices
        .iter()
        .enumerate()
        .map(|(index, (kind, major, minor))| {
            (format!("/run/{index}"), *kind, major.to_string(), minor.to_string())
        })
        .collect();
    for (path, kind, major, minor) in &nodes {
        words.extend(["mknod", path, kind, major, minor, "--", "open", path, "rw", "--"]);
    }
    let mut case = Case::new(&words);
    let caps = json!(["CAP_MKNOD"]);
    case.set(
        "/process/capabilities",
        json!({
            "bounding": caps, "permitted": caps, "effective": caps
        }),
    );
    case
}

/// What opening the devices gave, each after its `mknod`.
fn opened(case: &Case) -> Vec<String> {
    let text = case.run().ok();
    let lines: Vec<_> = text.lines().collect();
    lines
        .chunks(2)
        .map(|pair| {
            assert_eq!(pair[0], "ok", "mknod is always allowed");
            pair[1].to_string()
        })
        .collect()
}

fn the_usual_devices_are_allowed() {
    let usual = [("c", 1, 3), ("c", 1, 5), ("c", 1, 7), ("c", 1, 8), ("c", 1, 9), ("c", 5, 2)];
    for rules in [json!([]), json!([{"allow": false, "access": "rwm"}])] {
        let mut case = opening(&usual);
        case.set("/linux/resources", json!({"devices": rules}));
        let opened = opened(&case);
        // 5:2 is the multiplexer of terminals, which works only beside a devpts.
        assert!(opened[..5].iter().all(|result| result == "ok"), "{opened:?}");
        assert_ne!(opened[5], "EPERM");
        // kmsg, mem, and the first disk.
        let mut case = opening(&[("c", 1, 11), ("c", 1, 1), ("b", 7, 0), ("b", 254, 0)]);
        case.set("/linux/resources", json!({"devices": rules}));
        assert_eq!(self::opened(&case), ["EPERM"; 4]);
    }
}

fn devices_are_denied_and_allowed_in_order() {
    let deny = json!({"allow": false, "access": "rwm"});
    // There is no such device, which only those learn who may open it.
    let one = |allow: bool, access: &str| json!({"allow": allow, "type": "c", "major": 1, "minor": 77, "access": access});
    let tries = [("c", 1, 77)];
    for (rules, denied) in [
        (json!([deny, one(true, "rwm")]), false),
        (json!([one(true, "rwm"), deny]), true),
        (json!([deny, one(true, "rwm"), one(false, "w")]), true),
        (json!([deny, one(true, "r")]), true),
        (json!([deny, {"allow": true, "type": "c", "major": 1, "access": "rwm"}]), false),
        (json!([deny, {"allow": true, "type": "c", "access": "rwm"}]), false),
        (json!([deny, {"allow": true, "type": "b", "access": "rwm"}]), true),
        (json!([deny, {"allow": true, "type": "a", "access": "rwm"}]), false),
        (json!([{"allow": true, "access": "rwm"}]), false),
    ] {
        let mut case = opening(&tries);
        case.set("/linux/resources", json!({"devices": rules}));
        let want = if denied { "EPERM" } else { "ENXIO" };
        assert_eq!(opened(&case), [want], "{rules}");
    }
}

fn a_hole_in_an_allowed_wildcard_is_refused() {
    let mut case = Case::new(&[]);
    let rules = json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "access": "rwm"},
        {"allow": false, "type": "c", "major": 1, "minor": 11, "access": "rwm"}
    ]);
    case.set("/linux/resources", json!({"devices": rules}));
    case.create().fails(1, "linux.resources.devices[2]: ");
}

fn a_used_cgroup_is_refused() {
    let first = Case::new(&["wait"]);
    first.run_with(&["--detach"]).ok();
    let mut second = Case::new(&["wait"]);
    second.set("/linux/cgroupsPath", first.config["linux"]["cgroupsPath"].clone());
    second.create().fails(1, "container's cgroup is not empty: 1 process(es) found");
    assert_eq!(first.status(), "running");
    assert!(directory("pids", &first).exists());
}

fn a_frozen_cgroup_is_refused() {
    let case = Case::new(&["wait"]);
    let (file, frozen) =
        if host::is_v2() { ("cgroup.freeze", "1") } else { ("freezer.state", "FROZEN") };
    let path = directory("freezer", &case);
    fs::create_dir_all(&path).expect("make a cgroup");
    fs::write(path.join(file), frozen).expect("freeze it");
    case.create().fails(1, "container's cgroup unexpectedly frozen");
    fs::remove_dir(path).expect("remove the cgroup");
}

fn an_empty_cgroup_is_used() {
    let case = Case::new(&["wait"]);
    for hierarchy in host::hierarchies() {
        let path = hierarchy.join(case.cgroup().trim_start_matches('/'));
        fs::create_dir_all(&path).expect("make a cgroup");
    }
    case.run_with(&["--detach"]).ok();
    assert!(read(&directory("pids", &case).join("cgroup.procs")).contains(&case.pid().to_string()));
}

fn what_a_container_makes_below_its_cgroup_is_removed() {
    let case = Case::new(&["wait"]);
    case.run_with(&["--detach"]).ok();
    let deep = directory("pids", &case).join("a/b/c");
    fs::create_dir_all(&deep).expect("make a cgroup");
    fs::create_dir_all(directory("pids", &case).join("a/d")).expect("make a cgroup");
    let pid = case.pid();
    case.kill("KILL").ok();
    wait_until_gone(pid);
    case.delete().ok();
    assert!(!directory("pids", &case).exists());
}

fn a_failed_create_removes_every_cgroup_it_made() {
    let mut case = Case::new(&[]);
    let path = format!("{}/b/c", case.cgroup());
    case.set("/linux/cgroupsPath", json!(path));
    case.set("/process/args", json!(["/nosuch"]));
    case.create().fails(1, "exec: ");
    assert_eq!(case.leftovers(), Vec::<String>::new());
}
