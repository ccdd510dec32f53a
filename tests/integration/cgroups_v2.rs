//! What only cgroup v2 has: controllers enabled level by level, clone3(2) into a cgroup, programs
//! that decide about devices, and `cgroup.kill`.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Background, Case, Output, host, ordinary};
use crate::mounts::{cgroup_mount, line};
use crate::tests;

tests! {
    limits_reach_the_end_of_a_long_path needs [Root, CgroupV2, Cgroupfs],
    files_by_name_are_written needs [Root, CgroupV2],
    files_by_name_are_checked needs [Root, CgroupV2],
    the_default_place_is_beside_the_runtimes_own needs [Root, CgroupV2, Cgroupfs],
    below_processes_there_is_a_cgroup_but_no_limit needs [Root, CgroupV2, Cgroupfs]
        unlike runc "makes the upper one threaded",
    a_cgroup_that_can_have_no_processes_is_named needs [Root, CgroupV2, Cgroupfs]
        unlike runc "joins threaded ones",
    init_is_born_in_its_cgroup needs [Root, CgroupV2, Cgroupfs, Strace] unlike runc "is traced otherwise",
    init_moves_itself_where_clone3_cannot_place_it needs [Root, CgroupV2, Cgroupfs, Strace]
        unlike runc "is traced otherwise",
    a_cgroup_that_was_once_killed_can_be_used_again needs [Root, CgroupV2, Cgroupfs],
    device_rules_that_cannot_be_loaded_are_an_error needs [Root, CgroupV2, Strace]
        unlike runc "is traced otherwise",
    device_rules_of_a_lost_container_are_gone needs [Root, CgroupV2],
    kill_reaches_processes_in_cgroups_below needs [Root, CgroupV2],
    cgroups_are_shown_with_and_without_a_namespace needs [Root, CgroupV2],
    a_container_makes_cgroups_below_its_own needs [Root, CgroupV2],
    an_ordinary_user_sets_limits_below_a_cgroup_of_his_own needs [Root, CgroupV2, Cgroupfs],
    only_what_may_be_delegated_is_the_users needs [Root, CgroupV2]
        unlike runc "does it with systemd only",
}

fn directory(path: &str) -> PathBuf {
    host::cgroup("", path)
}

fn read(path: &Path) -> String {
    let text = fs::read_to_string(path);
    text.unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_string()
}

/// A cgroup that a test has made, and that goes away with those below it.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(path: &str) -> Self {
        let path = directory(path);
        fs::create_dir_all(&path).expect("make a cgroup");
        Self(path)
    }

    fn write(&self, file: &str, value: &str) {
        fs::write(self.0.join(file), value).expect("write to a cgroup");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        for below in entries.filter(|entry| entry.path().is_dir()) {
            drop(Self(below.path()));
        }
        let removed = fs::remove_dir(&self.0);
        assert!(removed.is_ok() || std::thread::panicking(), "{}: {removed:?}", self.0.display());
    }
}

/// A process of the host in a cgroup.
fn process_in(cgroup: &Cgroup) -> Background {
    let mut command = Command::new("sleep");
    command.arg("1000").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let process = Background::start(&mut command);
    cgroup.write("cgroup.procs", &process.pid().to_string());
    process
}

fn limits_reach_the_end_of_a_long_path() {
    let mut case = Case::new(&["wait"]);
    let top = Cgroup::new(&case.cgroup());
    let path = format!("{}/a/b", case.cgroup());
    case.set("/linux/cgroupsPath", json!(path));
    let limits = json!({
        "pids": {"limit": 50}, "memory": {"limit": 1 << 28}, "cpu": {"shares": 512, "cpus": "0"}
    });
    case.set("/linux/resources", limits);
    case.create().ok();
    for (file, want) in [
        ("pids.max", "50"),
        ("memory.max", "268435456"),
        ("cpu.weight", "59"),
        ("cpuset.cpus.effective", "0"),
    ] {
        assert_eq!(read(&directory(&path).join(file)), want, "{file}");
    }
    let available = read(&top.0.join("cgroup.controllers"));
    for level in [&top.0, &top.0.join("a")] {
        assert_eq!(read(&level.join("cgroup.subtree_control")), available, "{}", level.display());
    }
    case.runtime(&["delete", "--force", &case.id]).ok();
    assert!(!directory(&path).exists());
    drop(top);
}

/// A unit of systemd is such a place: what runs in it has limits of its own, and the container
/// has others.
fn the_default_place_is_beside_the_runtimes_own() {
    let own = read("/proc/self/cgroup".as_ref());
    let own = own.strip_prefix("0::").expect("the only hierarchy");
    let above = Path::new(own).parent().unwrap_or(Path::new("/"));
    for path in [Value::Null, json!("NAME"), json!("a/../../NAME")] {
        let mut case = Case::new(&["wait"]);
        let name = if path.is_null() { case.id.clone() } else { format!("{}-b", case.id) };
        let path = path.as_str().map(|path| path.replace("NAME", &name));
        case.set("/linux/cgroupsPath", path.map_or(Value::Null, Value::from));
        case.set("/linux/resources/pids", json!({"limit": 50}));
        case.run_with(&["--detach"]).ok();
        let want = above.join(&name);
        let cgroup = read(format!("/proc/{}/cgroup", case.pid()).as_ref());
        assert_eq!(cgroup, format!("0::{}", want.display()));
        let directory = directory(&want.to_string_lossy());
        assert_eq!(read(&directory.join("pids.max")), "50");
        case.end();
        assert!(!directory.exists());
        // Also when it comes to nothing.
        case.set("/process/args", json!(["/nosuch"]));
        case.create().fails(1, "exec: ");
        assert!(!directory.exists());
    }
}

/// The kernel enables no controller in a cgroup with processes.
fn below_processes_there_is_a_cgroup_but_no_limit() {
    let mut case = Case::new(&["wait"]);
    let top = Cgroup::new(&case.cgroup());
    let process = process_in(&top);
    case.set("/linux/cgroupsPath", json!(format!("{}/below", case.cgroup())));
    case.run_with(&["--detach"]).ok();
    assert_eq!(read(&top.0.join("below/cgroup.procs")), case.pid().to_string());
    assert_eq!(read(&top.0.join("cgroup.type")), "domain");
    case.runtime(&["delete", "--force", &case.id]).ok();
    for (limits, error) in [
        (json!({"pids": {"limit": 50}}), "linux.resources.pids.limit: \"pids.max\" can't be set"),
        (json!({"memory": {"limit": 1 << 28}}), "controller \"memory\" not available in "),
    ] {
        case.set("/linux/resources", limits);
        case.create().fails(1, error);
        assert!(!top.0.join("below").exists());
    }
    assert_eq!(read(&top.0.join("cgroup.procs")), process.pid().to_string());
    process.kill();
}

fn a_cgroup_that_can_have_no_processes_is_named() {
    let mut case = Case::new(&["wait"]);
    let top = Cgroup::new(&case.cgroup());
    case.set("/linux/cgroupsPath", json!(format!("{}/below", case.cgroup())));
    let busy = Cgroup::new(&format!("{}/below", case.cgroup()));
    top.write("cgroup.subtree_control", "+memory");
    busy.write("cgroup.subtree_control", "+memory");
    case.create().fails(1, "linux.cgroupsPath: it has controllers for the cgroups below it");
    drop((busy, top));
    let top = Cgroup::new(&case.cgroup());
    let threaded = Cgroup::new(&format!("{}/threaded", case.cgroup()));
    threaded.write("cgroup.type", "threaded");
    case.create().fails(1, "linux.cgroupsPath: it is threaded, or beside threaded ones");
    assert!(!top.0.join("below").exists());
    drop((threaded, top));
}

/// Runs `create` under strace with these options; returns what it did and the trace.
fn traced_create(case: &Case, options: &[&str]) -> (Output, String) {
    case.write_config();
    let trace = case.dir.join("trace");
    let mut command = Command::new("strace");
    command.args(["-qq", "-v", "-o"]).arg(&trace).args(options).arg(&case.runtime);
    command.args(case.arguments(&["create", &case.id]));
    let output = Output::of(command.current_dir(&case.dir));
    (output, read(&trace))
}

fn is_in_its_cgroup(case: &Case) {
    let cgroup = read(format!("/proc/{}/cgroup", case.pid()).as_ref());
    assert_eq!(cgroup, format!("0::{}", case.cgroup()));
}

fn files_by_name_are_written() {
    let mut case = Case::new(&["wait"]);
    let unified = json!({
        "memory.high": "33554432", "cgroup.max.depth": "3", "pids.max": "77",
        "memory.oom.group": "1"
    });
    case.set("/linux/resources", json!({"unified": unified, "pids": {"limit": 5}}));
    case.create().ok();
    for (file, want) in [
        ("memory.high", "33554432"),
        ("cgroup.max.depth", "3"),
        ("pids.max", "77"),
        ("memory.oom.group", "1"),
    ] {
        assert_eq!(read(&directory(&case.cgroup()).join(file)), want, "{file}");
    }
}

fn files_by_name_are_checked() {
    for (file, want) in [
        ("../x.y", "must be a file name (no slashes)"),
        ("..", "must be in the form CONTROLLER.PARAMETER"),
        ("memory", "must be in the form CONTROLLER.PARAMETER"),
        ("nosuch.max", "can't be set: controller \"nosuch\" not available"),
        ("memory.nosuch", "unified resource \"memory.nosuch\" can't be set"),
    ] {
        let mut case = Case::new(&[]);
        case.set("/linux/resources", json!({"unified": {file: "1"}}));
        case.create().fails(1, want);
        assert_eq!(case.leftovers(), Vec::<String>::new());
    }
}

fn init_is_born_in_its_cgroup() {
    let case = Case::new(&["wait"]);
    let (output, trace) = traced_create(&case, &["-e", "trace=clone3"]);
    output.ok();
    assert!(trace.contains("CLONE_INTO_CGROUP"), "{trace}");
    is_in_its_cgroup(&case);
}

fn init_moves_itself_where_clone3_cannot_place_it() {
    for error in ["EINVAL", "E2BIG", "ENOSYS"] {
        let case = Case::new(&["wait"]);
        let inject = format!("inject=clone3:error={error}:when=1");
        let (output, trace) = traced_create(&case, &["-e", "trace=clone3", "-e", &inject]);
        output.ok();
        assert!(trace.contains("INJECTED"), "{trace}");
        is_in_its_cgroup(&case);
    }
}

/// The kernel takes children for ones that escaped a kill of either cgroup (Linux 6.14).
fn a_cgroup_that_was_once_killed_can_be_used_again() {
    let case = Case::new(&["wait"]);
    let own = Cgroup::new(&format!("{}-runtime", case.cgroup()));
    let container = Cgroup::new(&case.cgroup());
    for killed in [&own, &container] {
        killed.write("cgroup.kill", "1");
        case.write_config();
        let script = format!(
            "echo $$ >{}/cgroup.procs; exec {} --root {} create {}",
            own.0.display(),
            case.runtime.display(),
            case.state_root().display(),
            case.id
        );
        let mut command = Command::new("sh");
        Output::of(command.args(["-c", &script]).current_dir(&case.dir)).ok();
        is_in_its_cgroup(&case);
        case.runtime(&["delete", "--force", &case.id]).ok();
        fs::create_dir(&container.0).expect("make a cgroup");
    }
}

fn device_rules_that_cannot_be_loaded_are_an_error() {
    for (number, step) in [(1, "load the device program"), (2, "attach the device program to ")] {
        let case = Case::new(&["wait"]);
        let inject = format!("inject=bpf:error=EPERM:when={number}");
        let (output, _) = traced_create(&case, &["-e", "trace=bpf", "-e", &inject]);
        output.fails(1, &format!("linux.resources.devices: {step}"));
        assert_eq!(case.leftovers(), Vec::<String>::new());
    }
}

/// A program that denies stays as long as its cgroup does.
fn device_rules_of_a_lost_container_are_gone() {
    let deny = json!({"allow": false, "access": "rwm"});
    let one = json!({"allow": true, "type": "c", "major": 1, "minor": 77, "access": "rwm"});
    for rules in [json!([{"allow": true, "access": "rwm"}]), json!([deny, one])] {
        let lost = Case::new(&["wait"]);
        lost.run_with(&["--detach"]).ok();
        fs::write(directory(&lost.cgroup()).join("cgroup.kill"), "1").expect("kill");
        lost.wait_for_end();
        let mut case = Case::new(&["mknod", "/run/x", "c", "1", "77", "--", "open", "/run/x", "r"]);
        let caps = json!(["CAP_MKNOD"]);
        let caps = json!({"bounding": caps, "permitted": caps, "effective": caps});
        case.set("/process/capabilities", caps);
        case.set("/linux/cgroupsPath", lost.config["linux"]["cgroupsPath"].clone());
        case.set("/linux/resources", json!({"devices": rules}));
        // There is no such device, which only those learn who may open it.
        assert_eq!(case.run().ok(), "ok\nENXIO\n", "{rules}");
    }
}

fn kill_reaches_processes_in_cgroups_below() {
    for how in [["kill", "KILL"], ["delete", "--force"]] {
        let mut case = Case::new(&["spawn", "wait", "--", "echo", "up", "--", "wait"]);
        case.namespace("pid", None);
        let mut run = case.run_in_background();
        assert_eq!(run.line(), "up");
        let below = directory(&case.cgroup()).join("a/b");
        fs::create_dir_all(&below).expect("make a cgroup");
        let init = case.pid();
        let others = host::processes_in_cgroup(&case.cgroup());
        let other = others.iter().find(|pid| **pid != init).expect("another process");
        fs::write(below.join("cgroup.procs"), other.to_string()).expect("move a process");
        match how {
            ["kill", signal] => drop(case.kill(signal).ok()),
            [command, option] => drop(case.runtime(&[command, option, &case.id]).ok()),
        }
        assert_eq!(host::processes_in_cgroup(&case.cgroup()), Vec::<i32>::new(), "{how:?}");
        run.wait();
    }
}

fn cgroups_are_shown_with_and_without_a_namespace() {
    for (cgroup, user) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut case = Case::new(&["write", "/sys/fs/cgroup/cgroup.procs", "0", "--", "report"]);
        case.set("/mounts/-", cgroup_mount(&["nosuid", "noexec", "nodev", "relatime", "ro"]));
        if cgroup {
            case.namespace("cgroup", Some(json!({"type": "cgroup"})));
        }
        if user {
            case.namespace("user", Some(json!({"type": "user"})));
            let map = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
            case.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
            crate::namespaces::give_to(&case, 100_000, 100_000);
        }
        let text = case.run().ok();
        let report = text.strip_prefix("EROFS\n").expect("a read-only file");
        let report: Value = serde_json::from_str(report).expect("a report");
        // The numbers and the root of what is shown are left out: the options count.
        let line = line(&report["mounts"], "/sys/fs/cgroup");
        assert!(line.contains(" /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime "), "{line}");
        assert!(line.contains(" - cgroup2 "), "{line}");
        let own = if cgroup { "/".to_string() } else { case.cgroup() };
        assert_eq!(report["cgroups"], json!([format!("0::{own}")]), "{line}");
    }
}

fn a_container_makes_cgroups_below_its_own() {
    let below = "/sys/fs/cgroup/below";
    let procs = format!("{below}/cgroup.procs");
    let mut case = Case::new(&[
        "make-dir",
        below,
        "--",
        "write",
        &procs,
        "0",
        "--",
        "cat",
        "/proc/self/cgroup",
    ]);
    case.set("/mounts/-", cgroup_mount(&["nosuid", "noexec", "nodev"]));
    case.namespace("cgroup", Some(json!({"type": "cgroup"})));
    assert_eq!(case.run().ok(), "ok\nok\n0::/below\n");
    assert_eq!(case.leftovers(), Vec::<String>::new());
}

/// The runtime has to be in it as well: from outside nobody but root moves a process there.
fn an_ordinary_user_sets_limits_below_a_cgroup_of_his_own() {
    let mut case = ordinary::case(&["cat", "/proc/self/cgroup", "--", "wait"]);
    let top = Cgroup::new(&case.cgroup());
    let own = Cgroup::new(&format!("{}/runtime", case.cgroup()));
    fs::write(top.0.join("../cgroup.subtree_control"), "+memory +pids")
        .expect("enable controllers");
    for directory in [&top.0, &own.0] {
        for name in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
            chown(directory.join(name), Some(ordinary::ID), None).expect("give a cgroup away");
        }
    }
    let path = format!("{}/box", case.cgroup());
    case.set("/linux/cgroupsPath", json!(path));
    case.set("/linux/resources", json!({"pids": {"limit": 50}, "memory": {"limit": 1 << 28}}));
    case.write_config();
    let enter = format!("echo $$ >{}/cgroup.procs && exec setpriv \"$@\"", own.0.display());
    let id = ordinary::ID;
    let mut command = Command::new("sh");
    command.args(["-c", &enter, "sh", &format!("--reuid={id}"), &format!("--regid={id}")]);
    command.args(["--clear-groups", "--"]).arg(&case.runtime);
    command.args(case.arguments(&["run", &case.id])).current_dir(&case.dir).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut run = Background::start(&mut command);
    assert_eq!(run.line(), format!("0::{path}"));
    for (file, want) in [("pids.max", "50"), ("memory.max", "268435456")] {
        assert_eq!(read(&directory(&path).join(file)), want, "{file}");
    }
    case.runtime(&["update", "--pids-limit", "40", &case.id]).ok();
    assert_eq!(read(&directory(&path).join("pids.max")), "40");
    case.runtime(&["delete", "--force", &case.id]).ok();
    run.wait();
    assert!(!directory(&path).exists());
    drop((own, top));
}

/// He has a cgroup namespace and a writable mount, or else nothing is his (CGO-01 to CGO-08).
fn only_what_may_be_delegated_is_the_users() {
    use std::os::unix::fs::MetadataExt;
    for (namespace, options, owner) in
        [(true, &["nosuid"][..], 1000), (true, &["ro"], 0), (false, &["nosuid"], 0)]
    {
        let mut case = Case::new(&["wait"]);
        case.set("/process/user", json!({"uid": 1000, "gid": 1000}));
        case.set("/mounts/-", cgroup_mount(options));
        if namespace {
            case.namespace("cgroup", Some(json!({"type": "cgroup"})));
        }
        case.run_detached();
        let owner_of = |name: &str| {
            let path = directory(&case.cgroup()).join(name);
            fs::metadata(path).expect("look at a file of a cgroup").uid()
        };
        for (name, want) in [
            ("", owner),
            ("cgroup.procs", owner),
            ("cgroup.subtree_control", owner),
            ("memory.max", 0),
            ("cgroup.freeze", 0),
        ] {
            assert_eq!(owner_of(name), want, "{name} {namespace} {options:?}");
        }
    }
}
