//! What fails, why, and what engines make of the text: each step of `create` and `exec` with the
//! errors that can be brought about.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{PermissionsExt, symlink};

use nix::errno::Errno;
use serde_json::{Value, json};

use crate::containerd_lines::write_process;
use crate::harness::engine::{CONMON, Caller, SHIM};
use crate::harness::{Case, copy_program};
use crate::namespaces::give_to;
use crate::tests;

tests! {
    errors_of_create_are_those_of_their_step needs [Root]
        unlike runc "has other words around them",
    errors_of_options_are_those_of_their_step needs [Root]
        unlike runc "has other words around them",
    errors_of_exec_are_those_of_their_step needs [Root]
        unlike runc "leaves those of execve to the program, if it is detached",
    errors_of_start_are_the_programs needs [Root],
    a_score_that_takes_a_privilege_is_permission_denied needs [Root]
        unlike runc "has the words of the C library",
}

/// Texts that engines look for, and the error that each of them belongs to.
const MATCHED: [(&str, Option<Errno>); 10] = [
    ("executable file not found", None),
    ("no such file or directory", Some(Errno::ENOENT)),
    ("permission denied", Some(Errno::EACCES)),
    ("operation not permitted", Some(Errno::EPERM)),
    ("is a directory", Some(Errno::EISDIR)),
    ("not a directory", Some(Errno::ENOTDIR)),
    ("no such process", Some(Errno::ESRCH)),
    ("container not running", None),
    ("does not exist", None),
    ("open executable", None),
];

/// What the user of an engine gets for an error of `create`: from Docker's client, from its daemon
/// for the state of the container, and from Podman.
#[derive(Debug, PartialEq, Eq)]
struct Statuses {
    client: i32,
    daemon: i32,
    podman: i32,
}

impl Statuses {
    /// As the engines derive them, each in its own order.
    fn of(text: &str) -> Self {
        let lower = text.to_lowercase();
        let first = |text: &str, rules: &[(&str, i32)], other: i32| {
            let found = rules.iter().find(|(part, _)| text.contains(part));
            found.map_or(other, |(_, status)| *status)
        };
        let client = [
            ("executable file not found", 127),
            ("no such file or directory", 127),
            ("permission denied", 126),
            ("is a directory", 126),
        ];
        let daemon = [
            ("permission denied", 126),
            ("is a directory", 126),
            ("not a directory", 127),
            ("executable file not found", 127),
            ("no such file or directory", 127),
            ("failed to run runc create/exec call", 127),
        ];
        let podman = [
            ("permission denied", 126),
            ("operation not permitted", 126),
            ("executable file not found in", 127),
            ("no such file or directory", 127),
            ("open executable", 127),
        ];
        Self {
            client: first(text, &client, 125),
            daemon: first(&lower, &daemon, 128),
            podman: first(&lower, &podman, 126),
        }
    }

    /// Those that an error is to have; none stands for a name that is nowhere in `PATH`.
    fn for_error(number: Option<Errno>) -> Self {
        let [client, daemon, podman] = match number {
            None | Some(Errno::ENOENT) => [127, 127, 127],
            Some(Errno::EACCES) => [126, 126, 126],
            Some(Errno::EISDIR) => [126, 126, 126],
            Some(Errno::ENOTDIR) => [125, 127, 126],
            Some(_) => [125, 128, 126],
        };
        Self { client, daemon, podman }
    }
}

/// Checks that the text names this error, no other, and what was done.
#[track_caller]
fn check(what: &str, text: &str, number: Option<Errno>, step: &str) {
    let text = text.trim_end();
    let why = number.map_or("executable file not found in $PATH".to_string(), orlop::error::errno);
    let wanted = if step.is_empty() { why } else { format!("{step}: {why}") };
    assert!(text.ends_with(&wanted), "{what}\n wanted: {wanted}\n    got: {text}");
    for (part, belongs) in MATCHED {
        let there = text.to_lowercase().contains(part);
        let meant = match number {
            None => part == "executable file not found",
            Some(_) => belongs == number,
        };
        assert_eq!(there, meant, "{what}: {part:?} in {text}");
    }
    assert_eq!(Statuses::of(text), Statuses::for_error(number), "{what}: {text}");
}

type Change = fn(&mut Case);

/// A step, the error, and how it comes about.
type Row = (&'static str, Option<Errno>, Change);

/// What there is in the root file system to fail at.
fn prepare(case: &Case) {
    let root = case.rootfs();
    let executable = || fs::Permissions::from_mode(0o755);
    fs::write(root.join("bin/data"), "x").expect("write");
    for (name, text) in [("script", "#!/nosuch\n"), ("noise", "noise"), ("nothing", "#!/bin\n")] {
        let path = root.join(name);
        fs::write(&path, text).expect("write");
        fs::set_permissions(&path, executable()).expect("chmod");
    }
    symlink("loop", root.join("loop")).expect("make a link");
    fs::create_dir(root.join("closed")).expect("make a directory");
    copy_program(&root.join("bin/probe"), &root.join("closed/program"));
    fs::set_permissions(root.join("closed"), fs::Permissions::from_mode(0o700)).expect("chmod");
    fs::create_dir(root.join("mnt")).expect("make a directory");
}

fn program(case: &mut Case, name: &str) {
    case.set("/process/args", json!([name]));
}

fn mount(case: &mut Case, mount: Value) {
    case.set("/mounts/-", mount);
}

fn long() -> String {
    "x".repeat(300)
}

const AT_CREATE: [Row; 24] = [
    ("exec: \"nosuch\"", None, |case| program(case, "nosuch")),
    // Not what keeps it from being executed: as Go's lookup.
    ("exec: \"data\"", None, |case| program(case, "data")),
    ("exec: \"/nosuch\": stat /nosuch", Some(Errno::ENOENT), |case| program(case, "/nosuch")),
    ("exec: \"/bin/data\"", Some(Errno::EACCES), |case| program(case, "/bin/data")),
    ("exec: \"/bin\"", Some(Errno::EISDIR), |case| program(case, "/bin")),
    ("exec: \"/bin/probe/x\": stat /bin/probe/x", Some(Errno::ENOTDIR), |case| {
        program(case, "/bin/probe/x");
    }),
    ("exec: \"/loop\": stat /loop", Some(Errno::ELOOP), |case| program(case, "/loop")),
    ("", Some(Errno::ENAMETOOLONG), |case| program(case, &format!("/{}", long()))),
    ("exec: \"/closed/program\": stat /closed/program", Some(Errno::EACCES), |case| {
        case.set("/process/user", json!({"uid": 1000, "gid": 1000}));
        program(case, "/closed/program");
    }),
    ("exec: \"/mnt/probe\"", Some(Errno::EACCES), |case| {
        let source = case.rootfs().join("bin");
        let options = json!(["bind", "noexec"]);
        mount(case, json!({"destination": "/mnt", "source": source, "options": options}));
        program(case, "/mnt/probe");
    }),
    ("chdir to cwd (\"/bin/probe/x\") set in config.json failed", Some(Errno::ENOTDIR), |case| {
        case.set("/process/cwd", json!("/bin/probe/x"));
    }),
    ("chdir to cwd (\"/loop\") set in config.json failed", Some(Errno::ELOOP), |case| {
        case.set("/process/cwd", json!("/loop"));
    }),
    ("set in config.json failed", Some(Errno::ENAMETOOLONG), |case| {
        case.set("/process/cwd", json!(format!("/{}", long())));
    }),
    ("chdir to cwd (\"/closed\") set in config.json failed", Some(Errno::EACCES), |case| {
        let none = json!([]);
        let sets = json!({"bounding": none, "effective": none, "permitted": none});
        case.set("/process/capabilities", sets);
        case.set("/process/user", json!({"uid": 1000, "gid": 1000}));
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        case.namespace("user", Some(json!({"type": "user"})));
        case.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
        give_to(case, 100_000, 100_000);
        std::os::unix::fs::chown(case.rootfs().join("closed"), Some(0), Some(0)).expect("chown");
        case.set("/process/cwd", json!("/closed"));
    }),
    ("", Some(Errno::ENOENT), |case| {
        mount(case, json!({"destination": "/mnt", "source": "/nosuch", "options": ["bind"]}));
    }),
    ("", Some(Errno::ELOOP), |case| {
        let source = case.rootfs().join("loop");
        mount(case, json!({"destination": "/mnt", "source": source, "options": ["bind"]}));
    }),
    ("", Some(Errno::ENODEV), |case| {
        mount(case, json!({"destination": "/mnt", "type": "nosuchfs", "source": "x"}));
    }),
    ("", Some(Errno::EPERM), |case| {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        case.namespace("user", Some(json!({"type": "user"})));
        case.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
        give_to(case, 100_000, 100_000);
        mount(case, json!({"destination": "/mnt", "type": "debugfs", "source": "x"}));
    }),
    ("", Some(Errno::ENOENT), |case| {
        let hook = json!([{"path": "/nosuch"}]);
        case.set("/hooks", json!({"createRuntime": hook}));
    }),
    ("", Some(Errno::EACCES), |case| {
        let hook = json!([{"path": case.rootfs().join("bin/data")}]);
        case.set("/hooks", json!({"createRuntime": hook}));
    }),
    ("", Some(Errno::ENOEXEC), |case| {
        let hook = json!([{"path": case.rootfs().join("noise")}]);
        case.set("/hooks", json!({"createContainer": hook}));
    }),
    ("", Some(Errno::ENOENT), |case| {
        case.set("/linux/sysctl", json!({"net.ipv4.nosuch": "1"}));
    }),
    ("", Some(Errno::ENOENT), |case| {
        case.namespace("uts", Some(json!({"type": "uts", "path": "/nosuch"})));
        case.remove("/hostname");
    }),
    ("", Some(Errno::ENOENT), |case| {
        case.set("/root/path", json!("nosuch"));
    }),
];

/// The engines take turns.
fn errors_of_create_are_those_of_their_step() {
    let engines = [(&SHIM, "log.json"), (&CONMON, "oci-log")].into_iter().cycle();
    for ((engine, log), (step, number, change)) in engines.zip(AT_CREATE) {
        let mut case = Case::new(&[]);
        prepare(&case);
        change(&mut case);
        let engine = Caller::new(engine, &case);
        let seen = engine.call("create --bundle @bundle --pid-file @bundle/pid @id");
        assert_eq!(seen.code, 1, "{step}: {seen:?}");
        check(step, &seen.stderr, number, step);
        // One engine reads it there, the other here.
        let record = fs::read_to_string(case.dir.join(log)).expect("read the log");
        let record: Value = serde_json::from_str(&record).expect("one record");
        check(step, record["msg"].as_str().expect("a text"), number, step);
        assert_eq!(case.leftovers(), [""; 0], "{step}");
    }
}

/// Files and sockets that command lines name.
fn errors_of_options_are_those_of_their_step() {
    let create = "create --bundle @bundle --pid-file @bundle/pid";
    for (line, number) in [
        ("create --bundle @bundle/nosuch @id".to_string(), Errno::ENOENT),
        ("create --bundle @bundle/config.json @id".to_string(), Errno::ENOTDIR),
        ("create --bundle @bundle --pid-file @bundle/nosuch/pid @id".to_string(), Errno::ENOENT),
        ("create --bundle @bundle --pid-file @bundle/rootfs @id".to_string(), Errno::EISDIR),
        (format!("{create} --pidfd-socket @bundle/nosuch @id"), Errno::ENOENT),
        (format!("{create} --pidfd-socket @bundle/config.json @id"), Errno::ECONNREFUSED),
        (format!("{create} --console-socket @bundle/nosuch @id"), Errno::ENOENT),
        (format!("{create} --console-socket @bundle/config.json @id"), Errno::ECONNREFUSED),
        (format!("{create} --console-socket @bundle/config.json/x @id"), Errno::ENOTDIR),
        ("--log @bundle/nosuch/log state @id".to_string(), Errno::ENOENT),
        ("--log @bundle state @id".to_string(), Errno::EISDIR),
    ] {
        let mut case = Case::new(&["wait"]);
        case.set("/process/terminal", json!(line.contains("console")));
        let shim = Caller::new(&SHIM, &case);
        let seen = shim.call(&line);
        assert_eq!(seen.code, 1, "{line}: {seen:?}");
        check(&line, &seen.stderr, Some(number), "");
        assert_eq!(case.leftovers(), [""; 0], "{line}");
    }
    let case = Case::running();
    let shim = Caller::new(&SHIM, &case);
    for (file, number) in [("nosuch", Errno::ENOENT), ("rootfs", Errno::EISDIR)] {
        let line = format!("update --resources=@bundle/{file} @id");
        check(&line, &shim.call(&line).stderr, Some(number), "");
    }
}

type Process = fn(&mut Value);

const AT_EXEC: [(&str, Option<Errno>, Process); 14] = [
    ("exec: \"nosuch\"", None, |process| process["args"] = json!(["nosuch"])),
    ("exec: \"/nosuch\": stat /nosuch", Some(Errno::ENOENT), |process| {
        process["args"] = json!(["/nosuch"]);
    }),
    ("exec: \"/bin/data\"", Some(Errno::EACCES), |process| {
        process["args"] = json!(["/bin/data"]);
    }),
    ("exec: \"/bin\"", Some(Errno::EISDIR), |process| process["args"] = json!(["/bin"])),
    ("exec: \"/loop\": stat /loop", Some(Errno::ELOOP), |process| {
        process["args"] = json!(["/loop"]);
    }),
    ("exec: \"/closed/program\": stat /closed/program", Some(Errno::EACCES), |process| {
        process["args"] = json!(["/closed/program"]);
        process["user"] = json!({"uid": 1000, "gid": 1000});
    }),
    ("exec /script", Some(Errno::ENOENT), |process| process["args"] = json!(["/script"])),
    ("exec /noise", Some(Errno::ENOEXEC), |process| process["args"] = json!(["/noise"])),
    ("exec /nothing", Some(Errno::EACCES), |process| process["args"] = json!(["/nothing"])),
    ("exec /busy", Some(Errno::ETXTBSY), |process| process["args"] = json!(["/busy"])),
    ("exec /bin/probe", Some(Errno::E2BIG), |process| {
        process["args"] = json!(["/bin/probe", "x".repeat(200_000)]);
    }),
    ("chdir to cwd (\"/nosuch\") set in config.json failed", Some(Errno::ENOENT), |process| {
        process["cwd"] = json!("/nosuch");
    }),
    ("chdir to cwd (\"/bin/data\") set in config.json failed", Some(Errno::ENOTDIR), |process| {
        process["cwd"] = json!("/bin/data");
    }),
    ("chdir to cwd (\"/loop\") set in config.json failed", Some(Errno::ELOOP), |process| {
        process["cwd"] = json!("/loop");
    }),
];

fn errors_of_exec_are_those_of_their_step() {
    let case = Case::new(&["wait"]);
    prepare(&case);
    copy_program(&case.rootfs().join("bin/probe"), &case.rootfs().join("busy"));
    let shim = Caller::new(&SHIM, &case);
    shim.ok("create --bundle @bundle --pid-file @bundle/init.pid @id");
    shim.ok("start @id");
    let busy = OpenOptions::new().write(true).open(case.rootfs().join("busy"));
    for (step, number, change) in AT_EXEC {
        write_process(&case, change);
        let line = "exec --process @bundle/process --detach --pid-file @bundle/e1.pid @id";
        let seen = shim.call(line);
        assert_eq!(seen.code, 255, "{step}: {seen:?}");
        check(step, &seen.stderr, number, step);
        assert!(!case.dir.join("e1.pid").exists(), "{step}");
    }
    drop(busy);
}

/// By then nobody waits for the runtime, so the text goes where the program's goes.
fn errors_of_start_are_the_programs() {
    for (name, number) in
        [("/script", Errno::ENOENT), ("/noise", Errno::ENOEXEC), ("/nothing", Errno::EACCES)]
    {
        let mut case = Case::new(&[]);
        prepare(&case);
        program(&mut case, name);
        let seen = case.run();
        assert_eq!((seen.code, seen.stdout.as_str()), (255, ""), "{seen:?}");
        check(name, &seen.stderr, Some(number), &format!("exec {name}"));
    }
}

fn a_score_that_takes_a_privilege_is_permission_denied() {
    let own = fs::read_to_string("/proc/self/oom_score_adj").expect("read");
    let lower = own.trim().parse::<i32>().expect("a number") - 1;
    let mut case = Case::new(&[]);
    case.set("/process/oomScoreAdj", json!(lower));
    let seen = case.create();
    if crate::harness::host::has_sys_resource() || lower < -1000 {
        seen.ok();
        return;
    }
    check("oomScoreAdj", &seen.stderr, Some(Errno::EACCES), "");
}
