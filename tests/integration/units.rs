//! Cgroups that systemd makes: as root by the system's manager, as anybody else by his own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use serde_json::{Value, json};

use crate::harness::{Background, Case, Output, host};
use crate::mounts::cgroup_mount;
use crate::tests;

tests! {
    a_scope_has_the_limits needs [Systemd],
    limits_are_kept_when_systemd_reloads needs [Systemd, Root],
    what_update_changes_is_kept_when_systemd_reloads needs [Systemd, Root],
    an_update_changes_the_unit_too needs [Systemd],
    devices_are_denied_before_and_after_a_reload needs [Systemd, Root],
    annotations_become_properties needs [Systemd],
    annotations_that_are_no_properties_are_refused needs [Systemd],
    paths_that_name_no_unit_are_refused needs [Systemd],
    the_default_is_a_scope_of_its_own needs [Systemd],
    a_program_that_joins_is_in_the_scope needs [Systemd],
    the_scope_is_the_root_of_a_cgroup_namespace needs [Systemd, Root],
    processes_are_in_cgroups_below_if_annotations_say_so needs [Systemd]
        unlike runc "does not know these annotations",
    too_little_memory_is_said needs [Systemd, Root],
    nothing_is_left_of_a_failed_create needs [Systemd],
    a_killed_container_leaves_no_unit needs [Systemd],
    a_failed_unit_of_the_same_name_is_forgotten needs [Systemd, Root],
    systemd_serves_without_a_bus needs [Systemd, Root],
    a_user_outside_of_his_cgroups_gets_a_scope needs [Systemd, Root, UserManager],
    many_at_a_time_leave_nothing needs [Systemd],
}

/// A container in a scope. An ordinary user's has a user namespace with his own id.
fn case(words: &[&str]) -> Case {
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    if uid == 0 {
        let mut case = Case::new(words);
        case.scope();
        return case;
    }
    let mut case = Case::below(Path::new("/var/tmp"), words);
    case.scope().namespace("network", None).namespace("user", Some(json!({"type": "user"})));
    let map = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
    case.set("/linux/uidMappings", map(uid)).set("/linux/gidMappings", map(gid));
    case.set("/mounts/2/options", json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666"]));
    let options = json!(["rbind", "nosuid", "noexec", "nodev", "ro"]);
    let sys = json!({"destination": "/sys", "type": "none", "source": "/sys", "options": options});
    case.set("/mounts/5", sys);
    case
}

fn systemctl(words: &[&str]) -> Output {
    let mut command = Command::new("systemctl");
    if !nix::unistd::geteuid().is_root() {
        command.arg("--user");
    }
    Output::of(command.args(words))
}

/// Properties of the unit, as `NAME=VALUE` in this order.
fn properties(unit: &str, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| systemctl(&["show", unit, "-p", name]).ok().trim().into()).collect()
}

fn is_known(unit: &str) -> bool {
    properties(unit, &["LoadState"]) != ["LoadState=not-found"]
}

fn directory(case: &Case) -> PathBuf {
    host::cgroup("", &case.cgroup())
}

fn read(path: &Path) -> String {
    let text = fs::read_to_string(path);
    text.unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_string()
}

fn limits() -> Value {
    json!({
        "memory": {"limit": 1 << 28, "reservation": 1 << 27, "swap": 1 << 28},
        "cpu": {"quota": 50_001, "period": 100_000, "shares": 512, "cpus": "0"},
        "pids": {"limit": 50}
    })
}

const FILES: [(&str, &str); 7] = [
    ("memory.max", "268435456"),
    ("memory.low", "134217728"),
    ("memory.swap.max", "0"),
    // systemd counts in hundredths, and both have to agree.
    ("cpu.max", "51000 100000"),
    ("cpu.weight", "59"),
    ("cpuset.cpus", "0"),
    ("pids.max", "50"),
];

fn has_limits(case: &Case) {
    for (file, want) in FILES {
        assert_eq!(read(&directory(case).join(file)), want, "{file}");
    }
}

fn what_update_changes_is_kept_when_systemd_reloads() {
    let mut case = case(&["wait"]);
    case.set("/linux/resources", limits());
    case.run_detached();
    let options = [
        "update",
        "--memory=64m",
        "--memory-swap=96m",
        "--cpu-share=1024",
        "--cpu-quota=30001",
        "--pids-limit=33",
    ];
    case.runtime(&[&options[..], &[&case.id]].concat()).ok();
    let properties = || {
        let names = ["MemoryMax", "MemorySwapMax", "CPUWeight", "CPUQuotaPerSecUSec", "TasksMax"];
        properties(&case.unit(), &names)
    };
    let check = || {
        let want = [
            "MemoryMax=67108864",
            "MemorySwapMax=33554432",
            "CPUWeight=100",
            "CPUQuotaPerSecUSec=310ms",
            "TasksMax=33",
        ];
        assert_eq!(properties(), want);
        for (file, want) in [
            ("memory.max", "67108864"),
            ("memory.swap.max", "33554432"),
            ("cpu.weight", "100"),
            ("cpu.max", "31000 100000"),
            ("pids.max", "33"),
        ] {
            assert_eq!(read(&directory(&case).join(file)), want, "{file}");
        }
    };
    check();
    systemctl(&["daemon-reload"]).ok();
    check();
    // What fails is taken back from systemd too.
    let words = ["update", "--pids-limit=60", "--memory=80m", "--cpuset-mems=99", &case.id];
    case.runtime(&words).fails(1, "linux.resources.cpu.mems");
    check();
    systemctl(&["daemon-reload"]).ok();
    check();
}

fn a_scope_has_the_limits() {
    let mut case = case(&["wait"]);
    case.set("/linux/resources", limits());
    case.run_detached();
    has_limits(&case);
    let want = [
        "MemoryMax=268435456",
        "MemoryLow=134217728",
        "MemorySwapMax=0",
        "CPUQuotaPerSecUSec=510ms",
        "CPUWeight=59",
        "AllowedCPUs=0",
        "TasksMax=50",
        "Delegate=yes",
        "Slice=-.slice",
        "ActiveState=active",
    ];
    let names: Vec<_> = want.iter().filter_map(|p| p.split_once('=')).map(|(n, _)| n).collect();
    assert_eq!(properties(&case.unit(), &names), want);
    let description = format!("Description=libcontainer container {}", case.id);
    assert_eq!(properties(&case.unit(), &["Description"]), [description]);
    let cgroup = read(format!("/proc/{}/cgroup", case.pid()).as_ref());
    assert_eq!(cgroup, format!("0::{}", case.cgroup()));
    let shown = &case.state()["cgroup"];
    assert_eq!(shown["driver"], "systemd");
    assert_eq!(shown["unit"], case.unit());
    assert_eq!(shown["directories"][0], directory(&case).display().to_string());
}

fn limits_are_kept_when_systemd_reloads() {
    let mut case = case(&["wait"]);
    case.set("/linux/resources", limits());
    case.run_detached();
    systemctl(&["daemon-reload"]).ok();
    has_limits(&case);
}

fn an_update_changes_the_unit_too() {
    let mut case = case(&["wait"]);
    case.set("/linux/resources", limits());
    case.run_detached();
    let options = ["--cpu-quota", "60001", "--pids-limit", "40", "--memory", "134217728"];
    let words: Vec<_> = ["update"].iter().chain(&options).copied().chain([&*case.id]).collect();
    case.runtime(&words).ok();
    let names = ["CPUQuotaPerSecUSec", "TasksMax", "MemoryMax"];
    let want = ["CPUQuotaPerSecUSec=610ms", "TasksMax=40", "MemoryMax=134217728"];
    assert_eq!(properties(&case.unit(), &names), want);
    for (file, want) in
        [("cpu.max", "61000 100000"), ("pids.max", "40"), ("memory.max", "134217728")]
    {
        assert_eq!(read(&directory(&case).join(file)), want, "{file}");
    }
}

/// The list of systemd cannot say all of these rules: then ours alone decide.
fn devices_are_denied_before_and_after_a_reload() {
    let node = |minor: u32| json!({"allow": true, "type": "c", "major": 1, "minor": minor, "access": "rw"});
    let deny = json!({"allow": false});
    let allow = json!({"allow": true});
    let but = json!({"allow": false, "type": "c", "major": 1, "minor": 77, "access": "rw"});
    for rules in [json!([deny, node(78)]), json!([allow, but])] {
        let mut case = case(&[
            "mknod", "/run/x", "c", "1", "77", "--", "mknod", "/run/y", "c", "1", "78", "--",
            "wait",
        ]);
        let caps = json!(["CAP_MKNOD"]);
        let caps = json!({"bounding": caps, "permitted": caps, "effective": caps});
        case.set("/process/capabilities", caps);
        case.set("/linux/resources", json!({"devices": rules}));
        let mut run = case.run_in_background();
        assert_eq!((run.line(), run.line()), ("ok".into(), "ok".into()));
        for when in ["before", "after"] {
            let open = [
                "open",
                "/run/x",
                "r",
                "--",
                "open",
                "/run/y",
                "r",
                "--",
                "open",
                "/dev/null",
                "r",
            ];
            // There is no device 1:78 either, which only those learn who may open it.
            let said = case.exec(&open).ok();
            assert_eq!(said, "EPERM\nENXIO\nok\n", "{when} daemon-reload: {rules}");
            systemctl(&["daemon-reload"]).ok();
        }
        case.end();
        run.wait();
    }
}

fn annotations_become_properties() {
    let mut case = case(&["wait"]);
    case.set(
        "/annotations",
        json!({
            "org.systemd.property.TimeoutStopSec": "uint32 7",
            "org.systemd.property.CollectMode": "'inactive'",
            "org.systemd.property.Description": "\"a name of my own\"",
            "org.example": "no value"
        }),
    );
    case.run_detached();
    let names = ["TimeoutStopUSec", "CollectMode", "Description"];
    let want = ["TimeoutStopUSec=7s", "CollectMode=inactive", "Description=a name of my own"];
    assert_eq!(properties(&case.unit(), &names), want);
}

fn annotations_that_are_no_properties_are_refused() {
    for (name, value, error) in [
        ("TimeoutStopSec", "'7'", "annotation org.systemd.property.TimeoutStopSec='7' value parse"),
        ("Description", "x", "annotation org.systemd.property.Description=x value parse error"),
        ("A_b", "1", "annotation org.systemd.property.A_b name incorrect"),
        ("NoSuchThing", "1", "start the unit"),
    ] {
        let mut case = case(&["wait"]);
        case.set("/annotations", json!({format!("org.systemd.property.{name}"): value}));
        case.create().fails(1, error);
        assert_eq!(case.leftovers(), Vec::<String>::new());
    }
}

fn paths_that_name_no_unit_are_refused() {
    for (path, error) in [
        ("/a/b", "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups"),
        ("a:b:c", "linux.cgroupsPath: invalid slice name: \"a\""),
        ("a.slice:b:c d", "can be no name of a unit of systemd"),
    ] {
        let mut case = case(&["wait"]);
        case.set("/linux/cgroupsPath", json!(path));
        case.create().fails(1, error);
        assert_eq!(case.leftovers(), Vec::<String>::new());
    }
}

fn the_default_is_a_scope_of_its_own() {
    let slice = if nix::unistd::geteuid().is_root() { "system.slice" } else { "user.slice" };
    for path in [Value::Null, json!(":some:ID"), json!("orlop-test.slice:some:ID")] {
        let mut case = case(&["wait"]);
        let given = path.as_str().map(|path| path.replace("ID", &case.id));
        case.set("/linux/cgroupsPath", given.map_or(Value::Null, Value::from));
        case.run_detached();
        let prefix = if path.is_null() { "orlop" } else { "some" };
        let slice = match path.as_str() {
            Some(path) if path.starts_with("orlop") => "orlop.slice/orlop-test.slice",
            _ => slice,
        };
        let want = format!("{}/{slice}/{prefix}-{}.scope", host::cgroup_of_manager(), case.id);
        let cgroup = read(format!("/proc/{}/cgroup", case.pid()).as_ref());
        assert_eq!(cgroup, format!("0::{want}"));
        case.end();
        assert!(!host::cgroup("", &want).exists());
    }
}

fn a_program_that_joins_is_in_the_scope() {
    let case = case(&["wait"]);
    case.run_detached();
    assert_eq!(case.exec(&["cat", "/proc/self/cgroup"]).ok(), format!("0::{}\n", case.cgroup()));
}

fn the_scope_is_the_root_of_a_cgroup_namespace() {
    let mut case = case(&["cat", "/proc/self/cgroup"]);
    case.set("/mounts/-", cgroup_mount(&["nosuid", "noexec", "nodev"]));
    case.namespace("cgroup", Some(json!({"type": "cgroup"})));
    assert_eq!(case.run().ok(), "0::/\n");
}

/// systemd removes the cgroup with its last process, and with it the numbers that tell why.
/// crun's: the container's own root is the subgroup, and the limits are those of the scope.
fn processes_are_in_cgroups_below_if_annotations_say_so() {
    for (annotations, below, seen) in [
        (json!({"run.oci.systemd.subgroup": "box"}), "/box", "0::/\n"),
        (json!({"run.oci.delegate-cgroup": "own"}), "/own", "0::/own\n"),
        (
            json!({"run.oci.systemd.subgroup": "box", "run.oci.delegate-cgroup": "own"}),
            "/box/own",
            "0::/own\n",
        ),
        (json!({"run.oci.systemd.subgroup": ""}), "", "0::/\n"),
    ] {
        let mut case = case(&["wait"]);
        case.namespace("cgroup", Some(json!({"type": "cgroup"})));
        case.set("/annotations", annotations.clone());
        case.set("/linux/resources", json!({"pids": {"limit": 77}}));
        case.run_detached();
        let cgroup = read(format!("/proc/{}/cgroup", case.pid()).as_ref());
        assert_eq!(cgroup, format!("0::{}{below}", case.cgroup()), "{annotations}");
        assert_eq!(read(&directory(&case).join("pids.max")), "77", "{annotations}");
        assert_eq!(case.exec(&["cat", "/proc/self/cgroup"]).ok(), seen, "{annotations}");
        case.kill("KILL").ok();
        case.wait_for_end();
        case.delete().ok();
        assert!(!directory(&case).exists(), "{annotations}");
    }
    let mut case = case(&[]);
    case.set("/annotations", json!({"run.oci.systemd.subgroup": "../other"}));
    let error = "annotations.\"run.oci.systemd.subgroup\": \"../other\" is not a path below";
    case.run().fails(1, error);
}

fn too_little_memory_is_said() {
    let mut case = case(&["wait"]);
    case.set("/linux/resources/memory", json!({"limit": 4096}));
    case.create().fails(1, "container init was OOM-killed (memory limit too low?)");
    assert_eq!(case.leftovers(), Vec::<String>::new());
    assert!(!is_known(&case.unit()));
}

fn nothing_is_left_of_a_failed_create() {
    let mut case = case(&["wait"]);
    case.set("/process/args", json!(["/nosuch"]));
    case.create().fails(1, "exec: ");
    assert_eq!(case.leftovers(), Vec::<String>::new());
    assert!(!is_known(&case.unit()));
}

fn a_killed_container_leaves_no_unit() {
    for _ in 0..2 {
        let case = case(&["wait"]);
        case.run_detached();
        assert!(is_known(&case.unit()));
        case.kill("KILL").ok();
        case.wait_for_end();
        case.delete().ok();
        assert!(!is_known(&case.unit()));
        assert_eq!(case.leftovers(), Vec::<String>::new());
        // The name is free again.
        case.run_detached();
    }
}

/// As a runtime that died may leave one. It fails as it has to be killed with force.
fn a_failed_unit_of_the_same_name_is_forgotten() {
    let case = case(&["wait"]);
    let mut command = Command::new("systemd-run");
    command.args(["--scope", "--quiet", "-p", "TimeoutStopSec=1us", "--unit", &case.unit(), "--"]);
    command.args(["sh", "-c", "trap '' TERM; echo up; sleep 1000"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut scope = Background::start(&mut command);
    assert_eq!(scope.line(), "up");
    systemctl(&["stop", &case.unit()]).ok();
    assert_eq!(properties(&case.unit(), &["ActiveState"]), ["ActiveState=failed"]);
    scope.wait();
    case.run_detached();
    assert_eq!(properties(&case.unit(), &["ActiveState"]), ["ActiveState=active"]);
    case.end();
    assert!(!is_known(&case.unit()));
}

/// Nobody listens on the system's bus: systemd has a socket of its own.
fn systemd_serves_without_a_bus() {
    let case = case(&["wait"]);
    case.write_config();
    for words in [&["create", case.id.as_str()][..], &["delete", "--force", &case.id]] {
        let runtime = case.runtime.display();
        let state = case.state_root();
        let hide = "mount -t tmpfs none /run/dbus && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", hide, "sh", &runtime.to_string(), "--root"]);
        command.arg(&state).arg("--systemd-cgroup").args(words).current_dir(&case.dir);
        Output::of(&mut command).ok();
        assert_eq!(is_known(&case.unit()), words[0] == "create");
    }
}

/// He may not move a process out of a cgroup that is not his; his manager has it done.
fn a_user_outside_of_his_cgroups_gets_a_scope() {
    let uid = nix::unistd::Uid::from_raw(1000);
    let user = nix::unistd::User::from_uid(uid).expect("look up a user").expect("user 1000");
    let mut case = Case::below(Path::new("/var/tmp"), &["wait"]);
    case.namespace("network", None).namespace("user", Some(json!({"type": "user"})));
    let map = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
    case.set("/linux/uidMappings", map(uid.as_raw()));
    case.set("/linux/gidMappings", map(user.gid.as_raw()));
    case.set("/mounts/2/options", json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666"]));
    let options = json!(["rbind", "nosuid", "noexec", "nodev", "ro"]);
    let sys = json!({"destination": "/sys", "type": "none", "source": "/sys", "options": options});
    case.set("/mounts/5", sys);
    case.set("/linux/cgroupsPath", json!(format!("-.slice:orlop-test:{}", case.id)));
    case.set("/linux/resources", json!({"pids": {"limit": 50}}));
    case.write_config();
    let program = case.dir.join("orlop");
    crate::harness::copy_program(&case.runtime, &program);
    Output::of(Command::new("chown").args(["-R", &format!("{uid}:{}", user.gid)]).arg(&case.dir))
        .ok();
    let run = |words: &[&str]| {
        let mut command = Command::new("setpriv");
        let ids = [format!("--reuid={uid}"), format!("--regid={}", user.gid)];
        command.args(ids).args(["--clear-groups", "--"]).arg(&program).arg("--root");
        command.arg(case.state_root()).arg("--systemd-cgroup").args(words);
        // As Podman does it for `update`: without the address of the bus.
        command.env_clear().env("XDG_RUNTIME_DIR", format!("/run/user/{uid}"));
        Output::of(command.current_dir(&case.dir))
    };
    run(&["run", "--detach", &case.id]).ok();
    let want =
        format!("/user.slice/user-{uid}.slice/user@{uid}.service/orlop-test-{}.scope", case.id);
    let cgroup = read(format!("/proc/{}/cgroup", case.pid()).as_ref());
    assert_eq!(cgroup, format!("0::{want}"));
    assert_eq!(read(&host::cgroup("", &want).join("pids.max")), "50");
    let joined = run(&["exec", &case.id, "/bin/probe", "cat", "/proc/self/cgroup"]).ok();
    assert_eq!(joined, format!("0::{want}\n"));
    run(&["delete", "--force", &case.id]).ok();
    assert!(!host::cgroup("", &want).exists());
}

fn many_at_a_time_leave_nothing() {
    many(|| case(&["wait"]));
}

/// 56 of them; with `TORTURE=1` a thousand.
pub fn many(case: fn() -> Case) {
    let rounds = if std::env::var_os("TORTURE").is_some() { 125 } else { 7 };
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(move || {
                let case = case();
                for _ in 0..rounds {
                    case.create().ok();
                    case.runtime(&["delete", "--force", &case.id]).ok();
                }
                assert_eq!(case.leftovers(), Vec::<String>::new());
                assert!(!case.by_systemd || !is_known(&case.unit()));
            });
        }
    });
}
