//! The runtime in the hands of an ordinary user: see `harness/ordinary.rs`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::exec_security::{may_trace, nothing_can_be_seen};
use crate::harness::ordinary::{ID, case, subordinate};
use crate::harness::{Background, Case, Output};
use crate::seccomp_listener::{agent, notifying};
use crate::tests;

tests! {
    an_ordinary_user_has_containers needs [Root]
        unlike runc "has another text",
    the_document_of_spec_runs needs [Root],
    state_is_kept_in_the_users_runtime_directory needs [Root],
    one_id_is_mapped_without_help needs [Root],
    many_ids_are_mapped_by_helpers needs [Root, UidMap],
    what_helpers_complain_about_is_told needs [Root, UidMap],
    groups_need_an_id_each needs [Root, UidMap],
    a_user_namespace_is_required needs [Root],
    cgroups_are_required_only_if_asked_for needs [Root]
        unlike runc "has other texts",
    the_namespaces_of_another_container_can_be_joined needs [Root],
    exec_gets_what_the_document_says needs [Root],
    nothing_of_the_runtime_can_be_seen_by_the_container needs [Root],
    a_terminal_can_be_had needs [Root],
    ptmx_among_the_devices_is_no_hindrance needs [Root],
    sysfs_of_a_foreign_network_is_refused_with_the_reason needs [Root]
        unlike runc "does not give a reason",
    root_of_a_user_namespace_has_containers needs [Root],
    rootless_is_true_false_or_auto needs [Root],
    a_listener_answers needs [Root],
}

fn report(output: Output) -> Value {
    serde_json::from_str(&output.ok()).expect("a report")
}

fn an_ordinary_user_has_containers() {
    let case = case(&["wait-for", "15"]);
    let mut create = case.create_in_background();
    assert_eq!(create.wait(), 0);
    assert_eq!(case.status(), "created");
    let hidden = "cannot exec in a created container of an ordinary user";
    case.exec(&["echo"]).fails(255, hidden);
    case.start().ok();
    assert_eq!(create.line(), "ready");
    assert_eq!(case.status(), "running");
    let list = case.runtime(&["list"]).ok();
    assert!(list.contains("daemon"), "{list}");
    assert_eq!(case.exec(&["echo", "inside"]).ok(), "inside\n");
    case.kill("TERM").ok();
    case.wait_for_end();
    assert_eq!(case.status(), "stopped");
    case.delete().ok();
    case.runtime(&["state", &case.id]).fails(1, "container does not exist");
}

fn the_document_of_spec_runs() {
    let mut case = case(&[]);
    case.runtime(&["spec", "--rootless"]).ok();
    let text = fs::read(case.dir.join("config.json")).expect("read the document");
    case.config = serde_json::from_slice(&text).expect("a document");
    case.set("/process/terminal", json!(false)).args(&["report"]);
    let report = report(case.run());
    assert_eq!(report["status"]["Uid"], "0 0 0 0");
    assert_eq!(report["maps"][0], format!("0 {ID} 1"));
}

fn state_is_kept_in_the_users_runtime_directory() {
    let case = case(&["echo", "hello"]);
    case.write_config();
    let run = |directory: &str| {
        let mut command = std::process::Command::new(&case.runtime);
        command.args(["run", "--keep", &case.id]).current_dir(&case.dir);
        case.user.as_ref().expect("a user").execute(&mut command);
        Output::of(command.env("XDG_RUNTIME_DIR", directory))
    };
    let directory = case.dir.join("run");
    fs::create_dir(&directory).expect("make a directory");
    std::os::unix::fs::chown(&directory, Some(ID), Some(ID)).expect("chown");
    assert_eq!(run(directory.to_str().expect("a path")).ok(), "hello\n");
    let state = directory.join("orlop");
    let mode = fs::metadata(&state).expect("stat").permissions().mode();
    assert_eq!(mode & 0o7777, 0o1700);
    assert!(state.join(&case.id).join("state.json").exists());
    // Nothing is as not set: there only root can write, whether or not he has containers of his own.
    let told = run("").fails(1, "directory /run/orlop");
    assert!(told.contains("permission denied"), "{told}");
}

fn one_id_is_mapped_without_help() {
    let mut case = case(&["report", "--", "cat", "/proc/self/setgroups"]);
    let output = case.run().ok();
    let (text, setgroups) = output.rsplit_once("}\n").expect("a report");
    let report: Value = serde_json::from_str(&format!("{text}}}")).expect("a report");
    assert_eq!(report["maps"], json!([format!("0 {ID} 1"), format!("0 {ID} 1")]));
    assert_eq!(setgroups, "deny\n");
    // Any id inside will do.
    let map = json!([{"containerID": 1000, "hostID": ID, "size": 1}]);
    case.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    case.set("/process/user", json!({"uid": 1000, "gid": 1000})).args(&["report"]);
    let report = self::report(case.run());
    assert_eq!(report["status"]["Uid"], "1000 1000 1000 1000");
}

/// Id 0 is the user, what follows his subordinate ids, in several lines.
fn mapped(words: &[&str]) -> Case {
    let mut case = case(words);
    subordinate(&case, &["200000:1000", "300000:1000"]);
    let map = |container: u32, host: u32, size: u32| json!({"containerID": container, "hostID": host, "size": size});
    let maps = json!([map(0, ID, 1), map(1, 200_000, 1000), map(1001, 300_000, 500)]);
    case.set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps);
    case
}

/// The listener is taken from an init that is somebody else inside.
fn a_listener_answers() {
    for no_new_privileges in [false, true] {
        let mut case = case(&["make-dir", "/tmp/x"]);
        notifying(&mut case);
        case.set("/process/noNewPrivileges", json!(no_new_privileges));
        let path = case.dir.join("agent");
        case.set("/linux/seccomp/listenerPath", json!(path));
        let agent = agent(&path, 111);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("chmod");
        let output = case.run();
        assert_eq!(output.stdout, "ECONNREFUSED\n", "{no_new_privileges}: {output:?}");
        let (state, _) = agent.join().expect("the agent");
        assert_eq!(state["fds"], json!(["seccompFd"]));
        assert_eq!(state["state"]["pid"], state["pid"]);
    }
}

fn many_ids_are_mapped_by_helpers() {
    let mut case = mapped(&["report"]);
    case.set("/process/user", json!({"uid": 1200, "gid": 1300, "additionalGids": [5, 1400]}));
    let report = report(case.run());
    let maps = format!("0 {ID} 1 1 200000 1000 1001 300000 500");
    assert_eq!(report["maps"], json!([maps, maps]));
    assert_eq!(report["status"]["Uid"], "1200 1200 1200 1200");
    assert_eq!(report["status"]["Gid"], "1300 1300 1300 1300");
    assert_eq!(report["status"]["Groups"], "5 1400");
    // Others may enter by their ids as well.
    case.args(&["wait"]);
    case.run_detached();
    let report = self::report(case.exec_with(&["--user", "7:8"], &["report"]));
    assert_eq!(report["status"]["Uid"], "7 7 7 7");
}

fn what_helpers_complain_about_is_told() {
    let mut case = mapped(&["report"]);
    for (maps, program) in [("uidMappings", "newuidmap"), ("gidMappings", "newgidmap")] {
        let good = case.config["linux"][maps][1]["hostID"].take();
        case.config["linux"][maps][1]["hostID"] = json!(500_000);
        let error = case.run().fails(1, &format!("linux.{maps}: {program}: "));
        assert!(error.contains("500000"), "{error}");
        case.config["linux"][maps][1]["hostID"] = good;
    }
    // Without helpers there is a hint at them.
    case.write_config();
    let mut command = case.command(&["run", &case.id]);
    Output::of(command.env("PATH", "/nowhere")).fails(1, "newuidmap(1), which is not installed");
}

fn groups_need_an_id_each() {
    let mut case = mapped(&["report"]);
    case.set("/process/user/additionalGids", json!([1501]));
    case.run().fails(1, "process.user.additionalGids: ");
    let mut case = self::case(&["report"]);
    case.set("/process/user/additionalGids", json!([0]));
    case.run().fails(1, "process.user.additionalGids: ");
}

fn a_user_namespace_is_required() {
    let mut case = case(&["report"]);
    case.namespace("user", None).remove("/linux/uidMappings").remove("/linux/gidMappings");
    case.run().fails(1, "rootless container requires user namespaces");
}

fn cgroups_are_required_only_if_asked_for() {
    let mut case = case(&["echo", "hello"]);
    let refused = "unable to apply cgroup configuration: rootless needs no limits + no cgrouppath when \
        no permission is granted";
    assert_eq!(case.run().ok(), "hello\n");
    case.set("/linux/resources", json!({"devices": [{"allow": false, "access": "rwm"}]}));
    assert_eq!(case.run().ok(), "hello\n");
    case.set("/linux/resources", json!({"pids": {"limit": 10}}));
    case.run().fails(1, refused);
    case.remove("/linux/resources");
    case.set("/linux/cgroupsPath", json!(case.cgroup()));
    case.run().fails(1, refused);
    case.remove("/linux/cgroupsPath");
    let strict = ["--rootless", "false", "run", &case.id];
    case.write_config();
    case.runtime(&strict).fails(1, "make the cgroup ");
    assert!(case.leftovers().is_empty(), "{:?}", case.leftovers());
}

fn the_namespaces_of_another_container_can_be_joined() {
    let first = case(&["wait"]);
    first.run_detached();
    let pid = first.pid();
    let mut second = case(&["report"]);
    for (kind, file) in [("user", "user"), ("pid", "pid"), ("ipc", "ipc"), ("uts", "uts")] {
        let path = format!("/proc/{pid}/ns/{file}");
        second.namespace(kind, Some(json!({"type": kind, "path": path})));
    }
    second.remove("/linux/uidMappings").remove("/linux/gidMappings");
    let report = report(second.run());
    assert_eq!(report["maps"][0], format!("0 {ID} 1"));
    assert_eq!(report["status"]["Uid"], "0 0 0 0");
    assert_ne!(report["pid"], json!(1));
}

fn exec_gets_what_the_document_says() {
    let mut case = case(&["wait"]);
    case.set("/process/oomScoreAdj", json!(300));
    case.set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 90, "hard": 90}]));
    case.run_detached();
    let report = report(case.exec_with(&["--cwd", "/tmp", "--env", "X=y"], &["report"]));
    assert_eq!(report["oom_score_adj"], "300");
    assert_eq!((&report["cwd"], &report["env"]["X"]), (&json!("/tmp"), &json!("y")));
    let limits = report["limits"].to_string();
    assert!(limits.contains("Max open files            90                   90"), "{limits}");
    case.exec(&["exit", "7"]).fails(7, "");
    let pid_file = case.dir.join("pid");
    let path = pid_file.to_str().expect("a path");
    let mut detached = case.command(&case.exec_arguments(&["-d", "--pid-file", path], &["wait"]));
    detached.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    assert_eq!(Background::wait_for(&mut detached), 0);
    let pid = fs::read_to_string(&pid_file).expect("read the pid file");
    assert!(fs::exists(format!("/proc/{pid}")).expect("look"), "{pid}");
}

/// Root of the container is the very user who executes the runtime: CVE-2016-9962.
fn nothing_of_the_runtime_can_be_seen_by_the_container() {
    let mut case = case(&["peep", "2"]);
    may_trace(&mut case);
    nothing_can_be_seen(&case, 50);
}

/// Devices of the host are bound in a user namespace; this one is a link whatever a document says.
fn ptmx_among_the_devices_is_no_hindrance() {
    let mut case = case(&["stat", "/dev/ptmx"]);
    let device = json!({"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2});
    case.set("/linux/devices", json!([device]));
    assert_eq!(case.run().ok(), "/dev/ptmx link pts/ptmx 0777 0:0\n");
}

fn a_terminal_can_be_had() {
    let mut case = case(&["terminal"]);
    case.set("/process/terminal", json!(true));
    let seen = case.observe().expect("a container");
    assert!(seen.contains("stdin /dev/pts/0"), "{seen}");
    assert!(seen.contains("leader true"), "{seen}");
    assert!(seen.contains("controlling ok"), "{seen}");
}

fn sysfs_of_a_foreign_network_is_refused_with_the_reason() {
    let mut case = case(&["report"]);
    case.set("/mounts/5", json!({"destination": "/sys", "type": "sysfs", "source": "sysfs"}));
    let want = "mounts[5]: sysfs: in a user namespace, sysfs can be mounted only for \
        a network namespace that belongs to it";
    case.run().fails(1, want);
    case.namespace("network", Some(json!({"type": "network"})));
    case.run().ok();
    // The host's procfs cannot be had without its processes.
    case.namespace("pid", None);
    case.run().fails(1, "mounts[0]: proc: in a user namespace, proc can be mounted");
}

/// As Podman runs it: uid 0 of a user namespace, and no user namespace in the document.
fn root_of_a_user_namespace_has_containers() {
    let mut case = case(&["report"]);
    case.namespace("user", None).remove("/linux/uidMappings").remove("/linux/gidMappings");
    case.write_config();
    let run = |case: &Case, words: &[&str]| {
        let mut command = std::process::Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount"]).arg(&case.runtime);
        command.arg("--root").arg(case.state_root()).args(words).current_dir(&case.dir);
        case.user.as_ref().expect("a user").execute(&mut command);
        Output::of(&mut command)
    };
    let report = report(run(&case, &["run", &case.id]));
    assert_eq!(report["status"]["Uid"], "0 0 0 0");
    assert_eq!(report["maps"][0], format!("0 {ID} 1"));
    let dev = report["dev"].to_string();
    assert!(dev.contains("/dev/null 20666"), "{dev}");
    // And one more below that.
    let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    case.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    case.namespace("user", Some(json!({"type": "user"})));
    case.write_config();
    let report = self::report(run(&case, &["run", &case.id]));
    assert_eq!(report["maps"][0], "0 0 1");
}

fn rootless_is_true_false_or_auto() {
    let case = Case::new(&["echo", "hello"]);
    case.write_config();
    for value in ["auto", "AUTO", "", "true", "1", "false", "F"] {
        assert_eq!(case.runtime(&["--rootless", value, "run", &case.id]).ok(), "hello\n");
    }
    let wrong = ["--rootless", "maybe", "run", &case.id];
    case.runtime(&wrong).fails(1, "--rootless: \"maybe\" is none of true, false, auto");
}
