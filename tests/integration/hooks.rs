//! Hooks: when, where, with what, and what happens when they fail.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{Case, host};
use crate::tests;

tests! {
    all_kinds_run_in_order_with_their_status needs [Root]
        unlike runc "runs poststart hooks before startContainer hooks",
    runtime_hooks_run_beside_the_runtime_before_the_root_changes needs [Root],
    create_container_hooks_run_in_the_container_before_the_root_changes needs [Root],
    start_container_hooks_run_in_the_container_as_its_user needs [Root],
    poststart_hooks_run_when_the_program_runs needs [Root]
        unlike runc "runs them before the program is executed",
    poststop_hooks_run_when_everything_is_gone needs [Root],
    a_hook_that_does_not_read_is_no_error needs [Root],
    a_failing_create_hook_undoes_everything needs [Root]
        unlike runc "does not run poststop hooks then",
    a_failing_start_container_hook_fails_start needs [Root]
        unlike runc "reports success from start",
    a_failing_poststart_hook_ends_the_container needs [Root]
        unlike runc "keeps the stopped container",
    a_failing_poststop_hook_is_a_warning needs [Root]
        unlike runc "stops at the first failing hook",
    a_hook_that_hangs_is_killed_when_its_time_is_up needs [Root],
    environments_of_hooks needs [Root],
    hooks_of_the_config_at_create_are_those_that_run needs [Root],
    the_argument_vector_is_that_of_the_config needs [Root],
    a_hook_without_a_timeout_is_waited_for needs [Root],
    limits_are_in_force_when_hooks_run needs [Root],
    hooks_run_without_a_mount_namespace needs [Root],
}

const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A hook that runs a shell script of the host.
fn script(text: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", text], "env": ["PATH=/usr/bin:/bin"]})
}

/// A hook that runs the probe of the container.
fn probe(words: &[&str]) -> Value {
    let args: Vec<_> = std::iter::once("probe").chain(words.iter().copied()).collect();
    json!({"path": "/bin/probe", "args": args})
}

fn with_hooks(words: &[&str], hooks: Value) -> Case {
    let mut case = Case::new(words);
    case.set("/hooks", hooks);
    case
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn state(path: &Path) -> Value {
    serde_json::from_str(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn all_kinds_run_in_order_with_their_status() {
    let mut case = Case::new(&[]);
    let dir = case.dir.display().to_string();
    // Two of each kind, to see their order; the container's own write inside of it.
    let hook = |kind: &str, number: usize| match kind {
        "startContainer" => probe(&["append", "/log", &format!("{kind}{number}")]),
        _ => script(&format!(
            "cat >{dir}/{kind}{number}.json; echo {kind}{number} >>{dir}/rootfs/log"
        )),
    };
    let hooks: serde_json::Map<_, _> = KINDS
        .iter()
        .map(|kind| (kind.to_string(), json!([hook(kind, 1), hook(kind, 2)])))
        .collect();
    case.set("/hooks", Value::Object(hooks));
    case.set("/annotations", json!({"org.example.a": "b"}));
    case.create().ok();
    let pid = case.pid();
    case.start().ok();
    case.wait_for_end();
    case.delete().ok();
    let log = read(&case.rootfs().join("log"));
    let want: Vec<_> = KINDS.iter().flat_map(|k| [format!("{k}1"), format!("{k}2")]).collect();
    assert_eq!(log.lines().collect::<Vec<_>>(), want);
    for (kind, status, seen) in [
        ("prestart", "creating", Some(pid)),
        ("createRuntime", "creating", Some(pid)),
        ("createContainer", "creating", Some(1)),
        ("poststart", "running", Some(pid)),
        ("poststop", "stopped", None),
    ] {
        let state = state(&case.dir.join(format!("{kind}1.json")));
        assert_eq!(state["id"], json!(case.id), "{kind}");
        assert_eq!(state["status"], json!(status), "{kind}");
        assert_eq!(state["bundle"], json!(case.dir), "{kind}");
        assert_eq!(state["annotations"], json!({"org.example.a": "b"}), "{kind}");
        let got = state["pid"].as_i64().filter(|pid| *pid != 0);
        assert_eq!(got, seen.map(i64::from), "{kind}");
        assert!(state["ociVersion"].as_str().is_some_and(|version| version.starts_with("1.")));
    }
}

fn runtime_hooks_run_beside_the_runtime_before_the_root_changes() {
    let dir = |case: &Case| case.dir.display().to_string();
    let mut case = Case::new(&[]);
    let text = format!(
        "cd {dir}; pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/' | tr -d '\\n'); \
         readlink /proc/self/ns/mnt >own; readlink /proc/$pid/ns/mnt >its; \
         ls /proc/$pid/root{dir}/rootfs/proc/1 >proc; pwd -P >cwd; \
         nsenter -t $pid -n ip link add orlop-dummy type dummy 2>/dev/null || true",
        dir = dir(&case)
    );
    case.set("/hooks", json!({"createRuntime": [script(&text)]}));
    case.run().ok();
    let own = fs::read_link("/proc/self/ns/mnt").expect("our namespace");
    assert_eq!(read(&case.dir.join("own")).trim(), own.display().to_string());
    assert_ne!(read(&case.dir.join("its")), read(&case.dir.join("own")));
    // The mounts are made, and the container still has the host's root.
    assert!(read(&case.dir.join("proc")).contains("mountinfo"));
}

fn create_container_hooks_run_in_the_container_before_the_root_changes() {
    let mut case = Case::new(&["cat", "/tmp/from-hook"]);
    let dir = case.dir.display().to_string();
    let text = format!(
        "pwd -P >{dir}/cwd; readlink /proc/self/ns/mnt >{dir}/mnt; hostname >{dir}/hostname; \
         mount -t tmpfs none {dir}/rootfs/tmp && echo hello >{dir}/rootfs/tmp/from-hook"
    );
    case.set("/hooks", json!({"createContainer": [script(&text)]}));
    assert_eq!(case.run().ok(), "hello\n");
    assert_eq!(read(&case.dir.join("cwd")).trim(), case.rootfs().display().to_string());
    let own = fs::read_link("/proc/self/ns/mnt").expect("our namespace");
    assert_ne!(read(&case.dir.join("mnt")).trim(), own.display().to_string());
    assert!(!case.rootfs().join("tmp/from-hook").exists(), "the mount is seen on the host");
}

fn start_container_hooks_run_in_the_container_as_its_user() {
    let mut case = Case::new(&["cat", "/tmp/seen"]);
    case.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    case.set("/process/cwd", json!("/tmp"));
    let hook = json!({"path": "/bin/probe", "args": ["probe", "spawn", "cat", "/none"]});
    case.set(
        "/hooks",
        json!({"startContainer": [
        hook, probe(&["append", "/tmp/seen", "by the hook", "--", "stat", "/tmp/seen"])]}),
    );
    case.create().ok();
    assert!(!case.rootfs().join("tmp/seen").exists(), "the hook ran during create");
    case.start().ok();
    case.wait_for_end();
    let seen = case.rootfs().join("tmp/seen");
    assert_eq!(read(&seen), "by the hook\n");
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(seen).expect("stat"));
    assert_eq!(owner, 1000);
}

fn poststart_hooks_run_when_the_program_runs() {
    let mut case = Case::new(&["wait"]);
    let dir = case.dir.display().to_string();
    let text =
        format!("pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); readlink /proc/$pid/exe >{dir}/exe");
    case.set("/hooks", json!({"poststart": [script(&text)]}));
    case.run_with(&["--detach"]).ok();
    assert_eq!(read(&case.dir.join("exe")).trim(), "/bin/probe");
}

fn poststop_hooks_run_when_everything_is_gone() {
    let mut case = Case::new(&[]);
    let dir = case.dir.display().to_string();
    let text = format!(
        "ls {dir}/state >{dir}/states; ls -d /sys/fs/cgroup/*{0} /sys/fs/cgroup{0} \
        >{dir}/groups 2>/dev/null; true",
        case.cgroup()
    );
    case.set("/hooks", json!({"poststop": [script(&text)]}));
    case.run().ok();
    assert_eq!(read(&case.dir.join("states")), "");
    assert_eq!(read(&case.dir.join("groups")), "");
}

fn a_hook_that_does_not_read_is_no_error() {
    let mut case = with_hooks(
        &[],
        json!({"createRuntime": [{"path": "/bin/true"}],
               "createContainer": [script("exec <&-")]}),
    );
    case.set("/annotations", json!({"long": "x".repeat(200_000)}));
    case.run().ok();
}

fn a_failing_create_hook_undoes_everything() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let mut case = Case::new(&["write", "/ran", "yes"]);
        let dir = case.dir.display().to_string();
        let fail = script("echo some output; echo a complaint >&2; exit 17");
        let second = script(&format!("touch {dir}/second"));
        let stop = script(&format!("echo poststop >>{dir}/stops"));
        case.set("/hooks", json!({kind: [fail, second], "poststop": [stop]}));
        let error =
            case.create().fails(1, &format!("error running {kind} hook #0: exit status 17"));
        for part in ["stdout: some output", "stderr: a complaint", "\"exit 17\"]", "after 0."] {
            let part = part.replace("\"exit 17\"]", "exit 17\"]");
            assert!(error.contains(&part), "{part} in {error}");
        }
        assert!(!case.dir.join("second").exists(), "the next hook ran");
        assert_eq!(read(&case.dir.join("stops")), "poststop\n");
        assert_eq!(case.leftovers(), Vec::<String>::new());
        case.runtime(&["state", &case.id]).fails(1, "container does not exist");
    }
}

fn a_failing_start_container_hook_fails_start() {
    let mut case = Case::new(&["write", "/ran", "yes"]);
    let dir = case.dir.display().to_string();
    let stop = script(&format!("echo poststop >>{dir}/stops"));
    case.set("/hooks", json!({"startContainer": [probe(&["exit", "3"])], "poststop": [stop]}));
    case.create().ok();
    case.start().fails(1, "error running startContainer hook #0: exit status 3");
    assert!(!case.rootfs().join("ran").exists());
    assert_eq!(read(&case.dir.join("stops")), "poststop\n");
    assert_eq!(case.leftovers(), Vec::<String>::new());
    case.run().fails(1, "error running startContainer hook #0: exit status 3");
}

fn a_failing_poststart_hook_ends_the_container() {
    let case = with_hooks(&["wait"], json!({"poststart": [script("exit 5")]}));
    case.create().ok();
    case.start().fails(1, "error running poststart hook #0: exit status 5");
    assert_eq!(case.leftovers(), Vec::<String>::new());
}

fn a_failing_poststop_hook_is_a_warning() {
    let mut case = Case::new(&[]);
    let dir = case.dir.display().to_string();
    case.set(
        "/hooks",
        json!({"poststop":
        [script("exit 9"), script(&format!("touch {dir}/second"))]}),
    );
    case.run_with(&["--keep"]).ok();
    let deleted = case.delete();
    assert_eq!(deleted.code, 0, "{deleted:?}");
    assert!(deleted.stderr.contains("warning: error running poststop hook #0: exit status 9"));
    assert!(case.dir.join("second").exists());
}

fn a_hook_that_hangs_is_killed_when_its_time_is_up() {
    let mut case = Case::new(&[]);
    let dir = case.dir.display().to_string();
    let mut hook = script(&format!("echo $$ >{dir}/pid; exec sleep 1000"));
    hook["timeout"] = json!(1);
    case.set("/hooks", json!({"createRuntime": [hook]}));
    let begin = Instant::now();
    case.create().fails(1, "hook ran past specified timeout of 1.0s");
    assert!(begin.elapsed().as_secs_f64() >= 1.0);
    let pid = read(&case.dir.join("pid"));
    assert!(!Path::new("/proc").join(pid.trim()).exists(), "the hook is still there");
}

fn environments_of_hooks() {
    let mut case = Case::new(&[]);
    let dir = case.dir.display().to_string();
    let env = |name: &str, env: Option<Value>| {
        let mut hook = json!({"path": "/bin/sh", "args":
            ["sh", "-c", format!("/usr/bin/env >{dir}/{name}")]});
        if let Some(env) = env {
            hook["env"] = env;
        }
        hook
    };
    case.set(
        "/hooks",
        json!({
            "createRuntime": [env("runtime-none", None), env("runtime-empty", Some(json!([]))),
                              env("runtime-set", Some(json!(["B=c"])))],
            "createContainer": [env("container-none", None)],
            "startContainer": [
                {"path": "/bin/probe", "args": ["probe", "write", "/x", "y", "--", "report"]}],
        }),
    );
    case.write_config();
    let mut command = case.command(&["run", &case.id]);
    crate::harness::Output::of(command.env("FROM_CALLER", "yes")).ok();
    let has = |name: &str, line: &str| read(&case.dir.join(name)).lines().any(|l| l == line);
    assert!(has("runtime-none", "FROM_CALLER=yes"));
    assert!(!has("runtime-empty", "FROM_CALLER=yes"));
    assert!(has("runtime-set", "B=c") && !has("runtime-set", "FROM_CALLER=yes"));
    assert!(!has("container-none", "FROM_CALLER=yes"));
}

fn hooks_of_the_config_at_create_are_those_that_run() {
    let mut case = Case::new(&[]);
    let dir = case.dir.display().to_string();
    case.set("/hooks", json!({"poststop": [script(&format!("touch {dir}/first"))]}));
    case.create().ok();
    case.set("/hooks", json!({"poststop": [script(&format!("touch {dir}/second"))]}));
    case.write_config();
    case.start().ok();
    case.wait_for_end();
    case.delete().ok();
    assert!(case.dir.join("first").exists() && !case.dir.join("second").exists());
}

fn the_argument_vector_is_that_of_the_config() {
    let mut case = Case::new(&[]);
    let dir = case.dir.display().to_string();
    let text = format!("tr '\\0' '|' </proc/$$/cmdline >{dir}/argv");
    let hook = json!({"path": "/bin/sh", "args": ["a name", "-c", text, "", "x y"], "env": ["PATH=/bin:/usr/bin"]});
    let alone = case.dir.join("alone");
    fs::write(&alone, format!("#!/bin/sh\necho $# $0 >{dir}/alone.argv\n")).expect("write");
    fs::set_permissions(&alone, fs::Permissions::from_mode(0o755)).expect("chmod");
    case.set("/hooks", json!({"createRuntime": [hook, {"path": alone}]}));
    case.run().ok();
    assert_eq!(read(&case.dir.join("argv")), format!("a name|-c|{text}||x y|"));
    assert_eq!(read(&case.dir.join("alone.argv")), format!("0 {}\n", alone.display()));
}

fn a_hook_without_a_timeout_is_waited_for() {
    let mut case = Case::new(&["echo", "hello"]);
    let fifo = case.dir.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("make a fifo");
    let text = format!("read line <{0}/fifo; echo $line >{0}/read", case.dir.display());
    case.set("/hooks", json!({"createRuntime": [script(&text)]}));
    let run = case.run_in_background();
    // It can be opened when the hook reads.
    fs::write(&fifo, "late\n").expect("write");
    assert_eq!(run.end().ok(), "hello\n");
    assert_eq!(read(&case.dir.join("read")), "late\n");
}

fn limits_are_in_force_when_hooks_run() {
    let mut case = Case::new(&[]);
    case.set("/linux/resources/pids", json!({"limit": 77}));
    let file = host::cgroup("pids", &case.cgroup()).join("pids.max");
    let procs = file.with_file_name("cgroup.procs");
    let pid = "sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/' | tr -d '\\n'";
    let text = format!(
        "cat {} >{dir}/limit; grep -x $({pid}) {} >{dir}/member",
        file.display(),
        procs.display(),
        dir = case.dir.display()
    );
    for kind in ["prestart", "createRuntime"] {
        case.set("/hooks", json!({kind: [script(&text)]}));
        case.run().ok();
        assert_eq!(read(&case.dir.join("limit")), "77\n", "{kind}");
        assert!(!read(&case.dir.join("member")).is_empty(), "{kind}");
        fs::remove_file(case.dir.join("limit")).expect("remove");
    }
}

fn hooks_run_without_a_mount_namespace() {
    let mut case = Case::new(&["echo", "hello"]);
    case.namespace("mount", None);
    case.remove("/linux/maskedPaths").remove("/linux/readonlyPaths");
    let dir = case.dir.display().to_string();
    let hooks: serde_json::Map<_, _> = ["prestart", "createRuntime", "createContainer", "poststop"]
        .iter()
        .map(|kind| (kind.to_string(), json!([script(&format!("echo {kind} >>{dir}/order"))])))
        .collect();
    case.set("/hooks", Value::Object(hooks));
    assert_eq!(case.run().ok(), "hello\n");
    assert_eq!(
        read(&case.dir.join("order")),
        "prestart\ncreateRuntime\ncreateContainer\npoststop\n"
    );
    assert_eq!(case.leftovers(), Vec::<String>::new());
}
