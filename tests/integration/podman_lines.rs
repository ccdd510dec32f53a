//! The command lines of Podman, conmon, Buildah and CRI-O, as they write them, in the surroundings
//! that they call from.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::containerd_lines::{number, object, pids_limit, refuses, write_process};
use crate::harness::engine::{BUILDAH, CONMON, CRIO, Caller, PODMAN};
use crate::harness::terminal::{Receiver, Screen};
use crate::harness::{Background, Case, Output, host, ordinary, wait_until_gone};
use crate::tests;

tests! {
    conmon_creates needs [Root],
    conmon_makes_terminals needs [Root],
    conmon_executes needs [Root],
    conmon_preserves_descriptors needs [Root],
    conmon_ignores_pipes needs [Root] unlike runc "leaves ignored signals ignored",
    conmon_names_who_makes_cgroups_for_create_only needs [Root, Systemd],
    conmon_does_without_cgroups needs [Root] unlike runc "has no such option",
    podman_calls_without_options_and_environment needs [Root],
    podman_updates_by_a_file needs [Root],
    podman_checkpoints_and_restores needs [Root],
    podman_asks_whether_there_are_checkpoints needs [],
    podman_of_a_user_is_root_of_a_namespace needs [Root],
    buildah_leaks_descriptors needs [Root],
    crio_names_the_root_with_an_equals_sign needs [Root],
}

fn conmon_creates() {
    let case = Case::new(&["echo", "ready", "--", "wait"]);
    let (conmon, podman) = (Caller::new(&CONMON, &case), Caller::new(&PODMAN, &case));
    let line = "create --bundle @bundle --pid-file @bundle/pid @id";
    let mut create = Background::start(&mut conmon.command(line));
    assert_eq!(create.wait(), 0);
    podman.lets_go("start @id");
    assert_eq!(create.line(), "ready");
    let environment = format!("/proc/{}/environ", number(&case.dir.join("pid")));
    let environment = fs::read_to_string(environment).expect("read an environment");
    assert!(!environment.contains("XDG_RUNTIME_DIR"), "{environment}");
}

fn conmon_makes_terminals() {
    let mut case = Case::new(&["read-line"]);
    case.set("/process/terminal", json!(true));
    let (receiver, other) = (Receiver::new(&case.id), Receiver::new(&format!("{}x", case.id)));
    let conmon = Caller::new(&CONMON, &case).says("@socket", receiver.argument());
    conmon.lets_go("create --bundle @bundle --pid-file @bundle/pid --console-socket @socket @id");
    let mut screen = Screen::new(receiver.receive().0);
    conmon.ok("start @id");
    write_process(&case, |process| process["args"] = json!(["/bin/probe", "terminal"]));
    let conmon = conmon.says("@other", other.argument());
    conmon.lets_go(
        "exec --pid-file @bundle/exec.pid --process @bundle/process --detach --tty \
         --console-socket @other @id",
    );
    Screen::new(other.receive().0).wait_for("stdin /dev/pts/1");
    screen.type_in("hello\n");
    screen.wait_for("read \"hello\\n\"");
    wait_until_gone(number(&case.dir.join("pid")));
}

fn conmon_executes() {
    let case = Case::new(&["wait"]);
    let conmon = Caller::new(&CONMON, &case);
    conmon.ok("create --bundle @bundle --pid-file @bundle/pid @id");
    conmon.ok("start @id");
    write_process(&case, |process| {
        process["args"] = json!(["/bin/probe", "write", "/tmp/executed", "yes"]);
    });
    let line = "exec --pid-file @bundle/exec.pid --process @bundle/process --detach @id";
    conmon.lets_go(line);
    wait_until_gone(number(&case.dir.join("exec.pid")));
    assert_eq!(fs::read_to_string(case.rootfs().join("tmp/executed")).expect("read"), "yes");
    // A file that is not there tells conmon that it was the runtime that failed.
    fs::remove_file(case.dir.join("exec.pid")).expect("remove a file");
    write_process(&case, |process| process["args"] = json!(["nosuch"]));
    conmon.call(line).fails(255, "executable file not found in $PATH");
    assert!(!case.dir.join("exec.pid").exists());
}

fn conmon_preserves_descriptors() {
    let case = Case::new(&["wait"]);
    case.write_config();
    let opened = |words: &str| {
        let script = format!("exec 3</etc/passwd 4</etc/group 5</; exec \"$0\" {words}");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(&case.runtime).current_dir(&case.dir);
        Output::of(command.env_clear().env("XDG_RUNTIME_DIR", "").env("PATH", "/usr/bin:/bin"))
            .ok();
    };
    let podman = Caller::new(&PODMAN, &case);
    opened(&format!("create --bundle . --pid-file pid --preserve-fds 2 {}", case.id));
    podman.ok("start @id");
    write_process(&case, |_| {});
    let exec = "exec --pid-file exec.pid --process process --detach --preserve-fds 1";
    opened(&format!("{exec} {}", case.id));
    for (file, want) in
        [("pid", &["/etc/passwd", "/etc/group"][..]), ("exec.pid", &["/etc/passwd"])]
    {
        let pid = number(&case.dir.join(file));
        let link = |number: usize| fs::read_link(format!("/proc/{pid}/fd/{number}")).ok();
        for (number, path) in (3..).zip(want) {
            assert_eq!(link(number).as_deref(), Some(Path::new(path)), "{file}");
        }
        assert_eq!(link(3 + want.len()), None, "{file}");
    }
}

/// A program of the host is run, as the tests' own ignores that signal by itself.
fn conmon_ignores_pipes() {
    let mut case = Case::new(&["wait"]);
    for place in ["/usr", "/lib", "/lib64"].into_iter().filter(|place| Path::new(place).exists()) {
        let options = json!(["rbind", "ro"]);
        let mount =
            json!({"destination": place, "type": "bind", "source": place, "options": options});
        case.set("/mounts/-", mount);
    }
    case.set("/process/args", json!(["/usr/bin/sleep", "1000"]));
    let conmon = Caller::new(&CONMON, &case);
    conmon.ok("create --bundle @bundle --pid-file @bundle/pid @id");
    conmon.ok("start @id");
    write_process(&case, |_| {});
    conmon.ok("exec --pid-file @bundle/exec.pid --process @bundle/process --detach @id");
    for file in ["pid", "exec.pid"] {
        let status = format!("/proc/{}/status", number(&case.dir.join(file)));
        let status = fs::read_to_string(status).expect("read a status");
        assert!(status.starts_with("Name:\tsleep\n"), "{status}");
        assert!(status.contains("\nSigIgn:\t0000000000000000\n"), "{file}: {status}");
        assert!(status.contains("\nSigBlk:\t0000000000000000\n"), "{file}: {status}");
    }
}

fn conmon_names_who_makes_cgroups_for_create_only() {
    let mut case = Case::new(&["wait"]);
    case.scope();
    let conmon = Caller::new(&CONMON, &case);
    conmon.ok("create --bundle @bundle --pid-file @bundle/pid @id");
    conmon.ok("start @id");
    write_process(&case, |_| {});
    conmon.ok("exec --pid-file @bundle/exec.pid --process @bundle/process --detach @id");
    let inside = host::processes_in_cgroup(&case.unit());
    assert!(inside.contains(&number(&case.dir.join("exec.pid"))), "{inside:?}");
    conmon.told("update --resources=- @id", &json!({"pids": {"limit": 45}}).to_string());
    conmon.ok("pause @id");
    conmon.ok("delete --force @id");
    assert_eq!(case.leftovers(), [""; 0]);
}

fn conmon_does_without_cgroups() {
    let case = Case::new(&["wait"]);
    let conmon = Caller::new(&CONMON, &case);
    let line = "--cgroup-manager disabled create --bundle @bundle --pid-file @bundle/pid @id";
    conmon.ok(line);
    conmon.ok("start @id");
    assert_eq!(host::processes_in_cgroup(&case.cgroup()), [0; 0]);
    conmon.ok("kill @id 9");
    wait_until_gone(number(&case.dir.join("pid")));
    conmon.ok("delete --force @id");
}

/// Not even a `PATH`.
fn podman_calls_without_options_and_environment() {
    let mut case = Case::new(&["wait"]);
    let stopped = format!("echo stopped > {}/stopped", case.dir.display());
    case.set("/hooks", json!({"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", stopped]}]}));
    let (conmon, podman) = (Caller::new(&CONMON, &case), Caller::new(&PODMAN, &case));
    conmon.ok("create --bundle @bundle --pid-file @bundle/pid @id");
    let status = || object(&podman.ok("state @id"))["status"].clone();
    for (line, then) in [
        ("start @id", "running"),
        ("pause @id", "paused"),
        ("resume @id", "running"),
        // A signal that the first process of a namespace does not notice.
        ("kill @id 10", "running"),
    ] {
        assert_eq!(podman.lets_go(line), "");
        assert_eq!(status(), then, "{line}");
    }
    podman.lets_go("kill @id 9");
    wait_until_gone(number(&case.dir.join("pid")));
    assert_eq!(status(), "stopped");
    assert_eq!(podman.lets_go("delete --force @id"), "");
    podman.call("state @id").fails(1, "container does not exist");
    assert_eq!(fs::read_to_string(case.dir.join("stopped")).expect("read"), "stopped\n");
}

fn podman_updates_by_a_file() {
    let case = Case::new(&["wait"]);
    let (conmon, podman) = (Caller::new(&CONMON, &case), Caller::new(&PODMAN, &case));
    conmon.ok("create --bundle @bundle --pid-file @bundle/pid @id");
    podman.ok("start @id");
    let document = json!({"pids": {"limit": 43}}).to_string();
    fs::write(case.dir.join("podman1"), document).expect("write a document");
    podman.ok("update --resources=@bundle/podman1 @id");
    assert_eq!(pids_limit(&case), "43");
}

fn podman_checkpoints_and_restores() {
    let case = Case::new(&["wait"]);
    let (conmon, podman) = (Caller::new(&CONMON, &case), Caller::new(&PODMAN, &case));
    refuses(&podman, "checkpoint --image-path @bundle/image --work-path @bundle @id");
    refuses(
        &conmon,
        "restore --bundle @bundle --pid-file @bundle/pid --detach --image-path @bundle/image \
         --work-path @bundle @id",
    );
    assert!(!case.dir.join("pid").exists());
}

fn podman_asks_whether_there_are_checkpoints() {
    let case = Case::new(&[]);
    case.runtime(&["checkpoint", "--help"]).ok();
    let seen = case.runtime(&["restore", "--lsm-mount-context"]);
    let text = format!("{}{}", seen.stdout, seen.stderr);
    let words = ["flag needs an argument", "requires an argument"];
    assert!(words.iter().any(|words| text.contains(words)), "{text}");
}

/// His user namespace is there already, and the runtime is root in it.
fn podman_of_a_user_is_root_of_a_namespace() {
    let mut case = ordinary::case(&["wait"]);
    case.namespace("user", None).remove("/linux/uidMappings").remove("/linux/gidMappings");
    case.write_config();
    write_process(&case, |process| process["args"] = json!(["/bin/probe", "write", "/x", "yes"]));
    let script = "set -e; mkdir run; export XDG_RUNTIME_DIR=$PWD/run; \
        L='--log-format=json --log oci-log'; \
        $R $L create --bundle . --pid-file pid $ID; $R start $ID; \
        $R $L exec --pid-file exec.pid --process process $ID >/dev/null; \
        $R state $ID; $R kill $ID 9; $R delete --force $ID; ls $XDG_RUNTIME_DIR/orlop >&2";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
    command.env("R", &case.runtime).env("ID", &case.id).current_dir(&case.dir);
    command.env("_CONTAINERS_USERNS_CONFIGURED", "done");
    command.env("_CONTAINERS_ROOTLESS_UID", "1").env("_CONTAINERS_ROOTLESS_GID", "1");
    case.user.as_ref().expect("a user").execute(&mut command);
    let seen = Output::of(&mut command);
    assert_eq!(seen.stderr, "", "{seen:?}");
    assert_eq!(object(&seen.ok())["status"], "running");
    assert_eq!(fs::read_to_string(case.rootfs().join("x")).expect("read"), "yes");
}

fn buildah_leaks_descriptors() {
    let case = Case::new(&["wait-for", "15"]);
    let buildah = Caller::new(&BUILDAH, &case);
    let mut create = Background::start(
        &mut buildah.command("create --bundle @bundle --pid-file @bundle/pid @id"),
    );
    assert_eq!(create.wait(), 0);
    buildah.ok("start @id");
    assert_eq!(create.line(), "ready");
    let pid = number(&case.dir.join("pid"));
    let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("read descriptors");
    assert_eq!(open.count(), 3);
    assert_eq!(object(&buildah.ok("state @id"))["status"], "running");
    buildah.ok("kill @id 15");
    wait_until_gone(pid);
    assert_eq!(object(&buildah.ok("state @id"))["status"], "stopped");
    buildah.ok("delete @id");
    buildah.call("state @id").fails(1, "container does not exist");
}

fn crio_names_the_root_with_an_equals_sign() {
    let case = Case::new(&["wait"]);
    let crio = Caller::new(&CRIO, &case);
    crio.ok("create --bundle @bundle --pid-file @bundle/pid @id");
    crio.ok("start @id");
    assert_eq!(case.status(), "running");
    assert_eq!(object(&crio.ok("state @id"))["status"], "running");
    crio.told("update --resources - @id", &json!({"pids": {"limit": 44}}).to_string());
    assert_eq!(pids_limit(&case), "44");
    write_process(&case, |process| process["args"] = json!(["/bin/probe", "echo", "probed"]));
    assert_eq!(crio.ok("exec --process @bundle/process @id"), "probed\n");
    crio.ok("delete --force @id");
    assert_eq!(case.leftovers(), [""; 0]);
}
