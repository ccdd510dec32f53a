//! What engines read back: how each of them takes the output of the runtime, and its exit status.

use std::fs;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::containerd_lines::{number, object, write_process};
use crate::harness::engine::{BUILDKIT, CONMON, CRIO, Caller, PODMAN, SHIM};
use crate::harness::{Case, Output, wait_until_gone};
use crate::tests;

tests! {
    dockerd_finds_the_version,
    every_engine_parses_the_features needs [Root],
    the_shim_takes_these_errors_for_a_container_that_is_gone needs [Root],
    the_shim_takes_a_missing_container_for_deleted needs [Root],
    the_shim_finds_one_error_in_the_log needs [Root],
    gorunc_reads_both_streams needs [Root],
    podman_reads_the_log_as_one_object needs [Root] unlike runc "writes warnings as well",
    conmon_reads_the_error_of_create needs [Root],
    crio_takes_these_errors_for_a_container_that_is_gone needs [Root],
    crio_takes_a_failing_state_for_stopped needs [Root],
    buildkit_reads_exit_statuses_only needs [Root],
    state_has_every_member needs [Root],
    ps_is_an_array_of_numbers needs [Root],
    pid_files_have_digits_only needs [Root],
    no_command_leaves_a_process_with_its_streams needs [Root],
    rlimits_and_device_rules_of_podman_are_taken needs [Root],
}

/// A container of the shim's that waits.
fn waiting(case: &Case) -> Caller<'_> {
    let shim = Caller::new(&SHIM, case);
    shim.ok("create --bundle @bundle --pid-file @bundle/init.pid @id");
    shim.ok("start @id");
    shim
}

fn stop(case: &Case, engine: &Caller) {
    engine.ok("kill @id 9");
    wait_until_gone(number(&case.dir.join("init.pid")));
}

/// As go-runc reads it.
fn combined(output: &Output) -> String {
    format!("{}{}", output.stdout, output.stderr)
}

/// dockerd takes what follows the word on any line, and the commit if there is one; other engines
/// show the whole.
fn dockerd_finds_the_version() {
    let case = Case::new(&[]);
    let seen = case.runtime(&["--version"]);
    assert_eq!((seen.code, seen.stderr.as_str()), (0, ""));
    let line = seen.stdout.lines().find_map(|line| line.split_once("version"));
    let (name, version) = line.expect("a version");
    assert_eq!(name.split_whitespace().count(), 1, "{name}");
    assert!(version.trim().starts_with(|first: char| first.is_ascii_digit()), "{version}");
    assert!(!version.trim().contains(' '), "{version}");
}

/// CRI-O takes both streams for one document; without options, as BuildKit and Docker ask.
fn every_engine_parses_the_features() {
    let case = Case::new(&[]);
    for engine in [&SHIM, &BUILDKIT, &CRIO, &PODMAN] {
        let engine = Caller::new(engine, &case);
        let features = object(&combined(&engine.call("features")));
        let options = features["mountOptions"].as_array().expect("options");
        assert!(options.contains(&json!("rro")), "{options:?}");
        assert_eq!(features["linux"]["mountExtensions"]["idmap"]["enabled"], json!(true));
    }
}

fn is_gone(text: &str) -> bool {
    text.contains("os: process already finished")
        || text.contains("container not running")
        || text.to_lowercase().contains("no such process")
        || text.contains("does not exist")
}

/// Anything else is an "unknown error after kill".
fn the_shim_takes_these_errors_for_a_container_that_is_gone() {
    let case = Case::new(&["wait"]);
    let shim = waiting(&case);
    stop(&case, &shim);
    for gone in [false, true] {
        for line in ["kill @id 9", "kill @id 15"] {
            let seen = shim.call(line);
            assert!(seen.code == 1 && is_gone(&combined(&seen)), "{gone} {line}: {seen:?}");
        }
        shim.ok("delete --force @id");
    }
    // What is no such thing has no such text.
    let case = Case::new(&["wait"]);
    let seen = waiting(&case).call("kill @id nosuch");
    assert!(seen.code == 1 && !is_gone(&combined(&seen)), "{seen:?}");
}

fn the_shim_takes_a_missing_container_for_deleted() {
    let case = Case::new(&["wait"]);
    let shim = Caller::new(&SHIM, &case);
    let seen = shim.call("delete @id");
    assert!(seen.code == 1 && combined(&seen).contains("does not exist"), "{seen:?}");
    assert_eq!(shim.ok("delete --force @id"), "");
    shim.ok("create --bundle @bundle --pid-file @bundle/init.pid @id");
    shim.ok("start @id");
    let seen = shim.call("delete @id");
    assert!(seen.code == 1 && !combined(&seen).contains("does not exist"), "{seen:?}");
}

/// The last record of an error is what users are told, if all of it can be read.
fn the_shim_finds_one_error_in_the_log() {
    let mut case = Case::new(&["wait"]);
    case.set("/process/capabilities/bounding", json!(["CAP_NOSUCH"]));
    let log = case.dir.join("log.json");
    let shim = waiting(&case);
    write_process(&case, |process| process["args"] = json!(["nosuch"]));
    for (line, want) in [
        ("create --bundle @bundle --pid-file @bundle/other.pid @id", "already exists"),
        ("start @id", "cannot start an already running container"),
        (
            "exec --process @bundle/process --detach --pid-file @bundle/e1.pid @id",
            "exec: \"nosuch\": executable file not found in $PATH",
        ),
        ("resume @id", "not paused"),
        ("kill @id nosuch", "unknown signal"),
        ("update --resources=@bundle/nosuch @id", "no such file or directory"),
        ("ps --format nosuch @id", "invalid format option"),
    ] {
        // go-runc finds what the commands before have written as well.
        let before = fs::read_to_string(&log).unwrap_or_default().lines().count();
        let seen = shim.call(line);
        assert!(seen.code != 0, "{line}: {seen:?}");
        let text = fs::read_to_string(&log).expect("read the log");
        let records: Vec<_> = text.lines().skip(before).map(object).collect();
        let errors: Vec<_> = records.iter().filter(|record| record["level"] == "error").collect();
        assert_eq!(errors.len(), 1, "{line}: {text}");
        let word = |member: &str| errors[0][member].as_str().expect("a text").to_string();
        assert!(word("msg").contains(want), "{line}: {}", word("msg"));
        let time = humantime::parse_rfc3339(&word("time")).expect("a time of RFC 3339");
        assert!(time <= SystemTime::now(), "{time:?}");
    }
}

/// The error has to be in what a command prints, and nothing but the document of one that succeeds.
fn gorunc_reads_both_streams() {
    let case = Case::new(&["wait"]);
    let shim = waiting(&case);
    for line in ["ps --format json @id", "state @id", "list --format=json", "events --stats @id"] {
        let seen = shim.call(line);
        assert_eq!((seen.code, seen.stderr.as_str()), (0, ""), "{line}");
        object(&combined(&seen));
    }
    shim.ok("delete --force @id");
    for line in [
        "kill @id 9",
        "delete @id",
        "update --resources=@bundle/nosuch @id",
        "ps --format json @id",
        "state @id",
        "checkpoint --image-path @bundle/image @id",
    ] {
        let seen = shim.call(line);
        assert_eq!((seen.code, seen.stdout.as_str()), (1, ""), "{line}");
        // The error of a checkpoint is looked for in the first line.
        assert_eq!(seen.stderr.lines().count(), 1, "{line}: {seen:?}");
    }
}

/// A warning before it would be one object too many.
fn podman_reads_the_log_as_one_object() {
    let mut case = Case::new(&[]);
    case.set("/process/capabilities/bounding", json!(["CAP_NOSUCH"]));
    case.set("/process/args", json!(["nosuch"]));
    let conmon = Caller::new(&CONMON, &case);
    conmon.call("create --bundle @bundle --pid-file @bundle/pid @id");
    let text = fs::read_to_string(case.dir.join("oci-log")).expect("read the log");
    let record = object(&text);
    let told = record["msg"].as_str().expect("a text");
    assert!(told.contains("exec: \"nosuch\": executable file not found in $PATH"), "{told}");
}

fn conmon_reads_the_error_of_create() {
    let mut case = Case::new(&[]);
    case.set("/process/args", json!(["/nosuch"]));
    let conmon = Caller::new(&CONMON, &case);
    let seen = conmon.call("create --bundle @bundle --pid-file @bundle/pid @id");
    seen.fails(1, "exec: \"/nosuch\": stat /nosuch: no such file or directory");
    assert!(!case.dir.join("pid").exists());
    assert_eq!(case.leftovers(), [""; 0]);
}

fn crio_takes_these_errors_for_a_container_that_is_gone() {
    let case = Case::new(&["wait"]);
    let crio = Caller::new(&CRIO, &case);
    crio.ok("create --bundle @bundle --pid-file @bundle/init.pid @id");
    crio.ok("start @id");
    stop(&case, &crio);
    let told = crio.call("kill @id 15").stderr;
    let known = ["no such process", "container not running", "invalid process"];
    assert!(known.iter().any(|text| told.contains(text)), "{told}");
}

fn crio_takes_a_failing_state_for_stopped() {
    let case = Case::new(&["wait"]);
    let crio = Caller::new(&CRIO, &case);
    crio.call("state @id").fails(1, "container does not exist");
    crio.ok("create --bundle @bundle --pid-file @bundle/init.pid @id");
    crio.ok("start @id");
    stop(&case, &crio);
    assert_eq!(object(&crio.ok("state @id"))["status"], "stopped");
}

fn buildkit_reads_exit_statuses_only() {
    let mut case = Case::new(&[]);
    for code in [0, 1, 42, 125, 126, 127, 255] {
        case.args(&["exit", &code.to_string()]);
        assert_eq!(Caller::new(&BUILDKIT, &case).call("run --bundle @bundle @id").code, code);
    }
    case.args(&["wait"]);
    let shim = waiting(&case);
    for code in [0, 42, 127] {
        write_process(&case, |process| {
            process["args"] = json!(["/bin/probe", "exit", code.to_string()]);
        });
        assert_eq!(shim.call("exec --process @bundle/process @id").code, code);
    }
}

fn state_has_every_member() {
    let mut case = Case::new(&["wait"]);
    case.set("/annotations", json!({"org.example": "x"}));
    let shim = waiting(&case);
    let state = object(&shim.ok("state @id"));
    assert_eq!(state["id"], json!(case.id));
    assert_eq!(state["pid"], json!(number(&case.dir.join("init.pid"))));
    assert_eq!(state["status"], "running");
    assert_eq!(state["bundle"], json!(case.dir));
    assert_eq!(state["rootfs"], json!(case.rootfs()));
    assert_eq!(state["annotations"], json!({"org.example": "x"}));
    assert!(state["ociVersion"].is_string() && state["owner"].is_string(), "{state}");
    let created = state["created"].as_str().expect("a time");
    humantime::parse_rfc3339(created).expect("a time of RFC 3339");
}

fn ps_is_an_array_of_numbers() {
    let case = Case::new(&["wait"]);
    let shim = waiting(&case);
    let pids: Vec<i32> = serde_json::from_str(&shim.ok("ps --format json @id")).expect("numbers");
    assert_eq!(pids, [number(&case.dir.join("init.pid"))]);
}

fn pid_files_have_digits_only() {
    let case = Case::new(&["wait"]);
    let shim = waiting(&case);
    write_process(&case, |_| {});
    shim.ok("exec --process @bundle/process --detach --pid-file @bundle/e1.pid @id");
    for file in ["init.pid", "e1.pid"] {
        let text = fs::read_to_string(case.dir.join(file)).expect("read a pid file");
        assert!(text.bytes().all(|byte| byte.is_ascii_digit()), "{file}: {text:?}");
    }
}

/// A process that did would hang the caller; `create` alone hands its streams on.
fn no_command_leaves_a_process_with_its_streams() {
    let mut case = Case::new(&["wait"]);
    let hook = json!([{"path": "/bin/true"}]);
    case.set("/hooks", json!({"poststart": hook, "poststop": hook}));
    let shim = Caller::new(&SHIM, &case);
    shim.ok("create --bundle @bundle --pid-file @bundle/init.pid @id");
    for line in ["start @id", "state @id", "ps --format json @id", "pause @id", "resume @id"] {
        shim.lets_go(line);
    }
    shim.lets_go("kill @id 9");
    wait_until_gone(number(&case.dir.join("init.pid")));
    shim.lets_go("delete @id");
}

fn rlimits_and_device_rules_of_podman_are_taken() {
    let mut case = Case::new(&["report"]);
    case.set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "hard": 300, "soft": 200}]));
    case.set(
        "/linux/resources/devices",
        json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 136, "minor": -1, "access": "rw"},
            {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
        ]),
    );
    let report: Value = object(&Caller::new(&BUILDKIT, &case).ok("run --bundle @bundle @id"));
    let limits = report["limits"].to_string();
    assert!(limits.contains("Max open files            200                  300"), "{limits}");
}
