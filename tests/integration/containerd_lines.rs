//! The command lines of containerd, its shim and BuildKit, as they write them, in the surroundings
//! that they call from.

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::harness::engine::{BUILDKIT, Caller, SHIM};
use crate::harness::terminal::{Receiver, Screen};
use crate::harness::{Background, Case, copy_program, host, wait_until_gone};
use crate::tests;

tests! {
    containerd_creates_and_starts needs [Root],
    containerd_may_do_without_pivot_and_keyring needs [Root],
    containerd_makes_terminals needs [Root],
    containerd_executes needs [Root],
    containerd_kills_and_deletes needs [Root],
    containerd_kills_all_of_a_pod needs [Root],
    containerd_pauses_lists_and_updates needs [Root],
    containerds_library_has_more_commands needs [Root],
    containerd_checkpoints_and_restores needs [Root],
    the_shim_leaks_sockets needs [Root] unlike runc "lets poststop hooks have them",
    the_shim_ends_and_the_container_does_not needs [Root],
    dockers_wrapper_puts_arguments_first needs [Root],
    buildkit_runs_a_step needs [Root],
    buildkit_calls_a_step_off needs [Root],
}

/// A container that waits.
fn waiting() -> Case {
    Case::new(&["wait"])
}

/// The pid in a file.
pub fn number(pid_file: &Path) -> i32 {
    let text = fs::read_to_string(pid_file).expect("read the pid file");
    text.parse().expect("bare digits")
}

pub fn object(text: &str) -> Value {
    serde_json::from_str(text).expect("an object")
}

/// Writes the document of a process that is to be executed in the container.
pub fn write_process(case: &Case, change: impl Fn(&mut Value)) {
    let mut process = case.config["process"].clone();
    change(&mut process);
    fs::write(case.dir.join("process"), process.to_string()).expect("write a document");
}

pub fn pids_limit(case: &Case) -> String {
    let file = host::cgroup("pids", &case.cgroup()).join("pids.max");
    fs::read_to_string(file).expect("read a limit").trim().to_string()
}

fn containerd_creates_and_starts() {
    let case = waiting();
    let shim = Caller::new(&SHIM, &case);
    shim.ok("create --bundle @bundle --pid-file @bundle/init.pid @id");
    assert_eq!(number(&case.dir.join("init.pid")), case.pid());
    assert_eq!(case.status(), "created");
    assert_eq!(shim.lets_go("start @id"), "");
    assert_eq!(case.status(), "running");
    assert_eq!(fs::read_to_string(case.dir.join("log.json")).unwrap_or_default(), "");
}

fn containerd_may_do_without_pivot_and_keyring() {
    let case = waiting();
    let receiver = Receiver::new(&case.id);
    let shim = Caller::new(&SHIM, &case).says("@socket", receiver.argument());
    shim.ok("create --bundle @bundle --pid-file @bundle/init.pid --no-pivot --no-new-keyring \
             --pidfd-socket @socket @id");
    assert_eq!(receiver.receive().1, "standard");
    shim.ok("start @id");
    assert_eq!(case.status(), "running");
}

fn containerd_makes_terminals() {
    let mut case = waiting();
    case.set("/process/terminal", json!(true)).args(&["read-line"]);
    let receiver = Receiver::new(&case.id);
    let shim = Caller::new(&SHIM, &case).says("@socket", receiver.argument());
    // Both streams are one pipe then.
    let create = "create --bundle @bundle --pid-file @bundle/init.pid --console-socket @socket @id";
    assert_eq!(shim.lets_go(create), "");
    let mut screen = Screen::new(receiver.receive().0);
    shim.ok("start @id");
    write_process(&case, |process| process["args"] = json!(["/bin/probe", "terminal"]));
    let other = Receiver::new(&format!("{}x", case.id));
    let shim = shim.says("@other", other.argument());
    let exec = "exec --process @bundle/process --console-socket @other --detach \
                --pid-file @bundle/e1.pid @id";
    assert_eq!(shim.lets_go(exec), "");
    let mut of_exec = Screen::new(other.receive().0);
    of_exec.wait_for("stdin /dev/pts/1");
    screen.type_in("hello\n");
    screen.wait_for("read \"hello\\n\"");
    wait_until_gone(number(&case.dir.join("init.pid")));
}

fn containerd_executes() {
    let case = waiting();
    let shim = Caller::new(&SHIM, &case);
    shim.ok("create --bundle @bundle --pid-file @bundle/init.pid @id");
    shim.ok("start @id");
    write_process(&case, |process| {
        process["args"] = json!(["/bin/probe", "write", "/tmp/executed", "yes"]);
    });
    shim.lets_go("exec --process @bundle/process --detach --pid-file @bundle/e1.pid @id");
    wait_until_gone(number(&case.dir.join("e1.pid")));
    assert_eq!(fs::read_to_string(case.rootfs().join("tmp/executed")).expect("read"), "yes");
}

/// `delete --force` comes after each container, when it is gone already.
fn containerd_kills_and_deletes() {
    let case = waiting();
    let shim = Caller::new(&SHIM, &case);
    shim.ok("create --bundle @bundle --pid-file @bundle/init.pid @id");
    shim.ok("start @id");
    assert_eq!(shim.lets_go("kill @id 9"), "");
    wait_until_gone(number(&case.dir.join("init.pid")));
    assert_eq!(shim.lets_go("delete @id"), "");
    assert_eq!(shim.ok("delete --force @id"), "");
    assert_eq!(case.leftovers(), [""; 0]);
}

/// Where processes are shared, those of a container outlive its first.
fn containerd_kills_all_of_a_pod() {
    let pod = Case::running();
    let mut case = Case::new(&["spawn", "wait", "--", "wait"]);
    let path = format!("/proc/{}/ns/pid", pod.pid());
    case.namespace("pid", Some(json!({"type": "pid", "path": path})));
    let shim = Caller::new(&SHIM, &case);
    shim.ok("create --bundle @bundle --pid-file @bundle/init.pid @id");
    shim.ok("start @id");
    let pid = number(&case.dir.join("init.pid"));
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("kill");
    wait_until_gone(pid);
    shim.ok("kill --all @id 9");
    assert_eq!(host::processes_in_cgroup(&case.cgroup()), [0; 0]);
    shim.ok("delete @id");
}

fn containerd_pauses_lists_and_updates() {
    let case = waiting();
    let shim = Caller::new(&SHIM, &case);
    shim.ok("create --bundle @bundle --pid-file @bundle/init.pid @id");
    shim.ok("start @id");
    shim.lets_go("pause @id");
    assert_eq!(case.status(), "paused");
    shim.lets_go("resume @id");
    assert_eq!(case.status(), "running");
    let seen = shim.call("ps --format json @id");
    assert_eq!(object(&seen.stdout), json!([case.pid()]));
    assert_eq!(seen.stderr, "");
    for (line, limit) in [("update --resources - @id", 41), ("update --resources=- @id", 42)] {
        shim.told(line, &json!({"pids": {"limit": limit}}).to_string());
        assert_eq!(pids_limit(&case), limit.to_string());
    }
}

/// Those that go-runc knows, though containerd was not seen to use them.
fn containerds_library_has_more_commands() {
    let case = waiting();
    let shim = Caller::new(&SHIM, &case);
    shim.ok("create --bundle @bundle --pid-file @bundle/init.pid @id");
    shim.ok("start @id");
    let event = object(&shim.ok("events --stats @id"));
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(case.id)));
    let list = object(&shim.ok("list --format=json"));
    let state = object(&shim.ok("state @id"));
    for member in ["id", "pid", "status", "bundle", "rootfs", "created"] {
        assert_eq!(list[0][member], state[member], "{member}");
    }
    assert_eq!(state["status"], "running");
}

/// What it does not do it says in the first line of its output.
fn containerd_checkpoints_and_restores() {
    let case = waiting();
    let shim = Caller::new(&SHIM, &case);
    for line in [
        "checkpoint --image-path @bundle/image --work-path @bundle/work @id",
        "checkpoint --image-path @bundle/image --work-path @bundle/work --file-locks \
         --leave-running @id",
        "restore --image-path @bundle/image --work-path @bundle/work --detach \
         --pid-file @bundle/init.pid -no-subreaper --bundle @bundle @id",
    ] {
        refuses(&shim, line);
        assert!(!case.dir.join("init.pid").exists());
    }
}

/// The command line is understood, and the one line of output says why it fails.
#[track_caller]
pub fn refuses(engine: &Caller, line: &str) {
    let seen = engine.call(line);
    assert_eq!((seen.code, seen.stdout.as_str()), (1, ""), "{seen:?}");
    assert_eq!(seen.stderr.lines().count(), 1, "{seen:?}");
    assert!(!seen.stderr.contains("flag"), "{seen:?}");
    assert!(!seen.stderr.contains("requires"), "{seen:?}");
}

/// They reach neither hooks nor programs.
fn the_shim_leaks_sockets() {
    let mut case = waiting();
    let text = "ls -l /proc/self/fd >> descriptors";
    let hook =
        json!([{"path": "/bin/sh", "args": ["sh", "-c", text], "env": ["PATH=/bin:/usr/bin"]}]);
    case.set("/hooks", json!({"createRuntime": hook, "poststart": hook, "poststop": hook}));
    let shim = Caller::new(&SHIM, &case);
    shim.ok("create --bundle @bundle --pid-file @bundle/init.pid @id");
    shim.ok("start @id");
    let open = fs::read_dir(format!("/proc/{}/fd", case.pid())).expect("read descriptors");
    assert_eq!(open.count(), 3);
    write_process(&case, |process| process["args"] = json!(["/bin/probe", "wait"]));
    shim.ok("exec --process @bundle/process --detach --pid-file @bundle/e1.pid @id");
    let pid = number(&case.dir.join("e1.pid"));
    assert_eq!(fs::read_dir(format!("/proc/{pid}/fd")).expect("read descriptors").count(), 3);
    shim.ok("kill @id 9");
    wait_until_gone(number(&case.dir.join("init.pid")));
    shim.ok("delete @id");
    let seen = fs::read_to_string(case.dir.join("descriptors")).expect("what hooks saw");
    assert_eq!(seen.matches("total ").count(), 3, "{seen}");
    assert!(!seen.contains("socket:"), "{seen}");
}

/// The kernel ends the runtime with the thread that started it, not what that made.
fn the_shim_ends_and_the_container_does_not() {
    let case = waiting();
    let shim = Caller::new(&SHIM, &case);
    for line in ["create --bundle @bundle --pid-file @bundle/init.pid @id", "start @id"] {
        std::thread::scope(|scope| {
            scope.spawn(|| shim.ok(line));
        });
    }
    let pid = case.pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    assert!(status.starts_with("Name:\tprobe\n"), "{status}");
    assert_eq!(case.status(), "running");
}

/// Docker has a script for a runtime with arguments of its own.
fn dockers_wrapper_puts_arguments_first() {
    let mut case = waiting();
    let draft = case.dir.join("draft");
    let text = format!("#!/bin/sh\n{} --rootless=false --debug $@\n", case.runtime.display());
    fs::write(&draft, text).expect("write a script");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&draft, mode).expect("chmod");
    let (script, runtime) = (case.dir.join("script"), case.runtime.clone());
    copy_program(&draft, &script);
    case.runtime = script;
    let shim = Caller::new(&SHIM, &case);
    shim.ok("create --bundle @bundle --pid-file @bundle/init.pid @id");
    shim.ok("start @id");
    assert_eq!(object(&shim.ok("state @id"))["status"], "running");
    let log = fs::read_to_string(case.dir.join("log.json")).expect("read the log");
    assert!(log.lines().all(|line| object(line)["level"] == "debug"), "{log}");
    shim.ok("delete --force @id");
    drop(shim);
    case.runtime = runtime;
}

/// The exit status of `run` is that of the step; newer versions delete the container by themselves.
fn buildkit_runs_a_step() {
    let mut case = Case::new(&["echo", "built", "--", "exit", "42"]);
    case.set("/process/cwd", json!("/tmp"));
    let buildkit = Caller::new(&BUILDKIT, &case);
    for line in ["run --bundle @bundle @id", "run --bundle @bundle --keep @id"] {
        let seen = buildkit.call(line);
        assert_eq!((seen.code, seen.stdout.as_str()), (42, "built\n"), "{seen:?}");
        if line.contains("--keep") {
            assert_eq!(object(&buildkit.ok("state @id"))["status"], "stopped");
            buildkit.ok("delete @id");
        }
        buildkit.call("state @id").fails(1, "container does not exist");
    }
}

fn buildkit_calls_a_step_off() {
    let case = Case::new(&["echo", "ready", "--", "wait"]);
    let buildkit = Caller::new(&BUILDKIT, &case);
    let mut run = Background::start(&mut buildkit.command("run --bundle @bundle @id"));
    assert_eq!(run.line(), "ready");
    buildkit.ok("kill @id 9");
    assert_eq!(run.wait(), 137);
    buildkit.call("state @id").fails(1, "container does not exist");
}
