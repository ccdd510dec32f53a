//! What runc's own suite asks for: documents that runc takes, and words that its users look for.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::exec_documents::exec_document;
use crate::harness::Case;
use crate::tests;

tests! {
    a_user_that_is_left_out_is_root needs [Root],
    names_of_members_may_be_written_in_any_case needs [Root],
    a_letter_too_much_in_a_device_rule_says_nothing needs [Root],
    debug_lines_are_records needs [Root],
    a_root_can_be_read_only_without_a_mount_namespace needs [Root],
    a_destination_may_begin_with_the_path_of_the_root needs [Root],
    a_bind_keeps_access_times_that_no_word_sets needs [Root],
    a_root_that_is_named_has_to_be_there,
    signal_0_looks_whether_somebody_is_there needs [Root],
    what_ends_a_hook_is_named_as_go_does needs [Root],
    memory_policies_are_refused_in_runcs_words needs [Root],
    a_deadline_on_some_processors_is_refused_in_runcs_words needs [Root, TwoProcessors],
}

fn a_user_that_is_left_out_is_root() {
    let mut case = Case::new(&["report"]);
    let ids = |text: &str| {
        let report: Value = serde_json::from_str(text).expect("a report");
        (report["status"]["Uid"].clone(), report["status"]["Gid"].clone())
    };
    for (user, want) in [(json!({"gid": 7}), "7 7 7 7"), (json!({}), "0 0 0 0")] {
        case.set("/process/user", user);
        assert_eq!(ids(&case.run().ok()), (json!("0 0 0 0"), json!(want)));
    }
    case.remove("/process/user").args(&["wait"]);
    case.run_detached();
    let document = json!({"cwd": "/", "args": ["/bin/probe", "report"]});
    let zero = json!("0 0 0 0");
    assert_eq!(ids(&exec_document(&case, &document).ok()), (zero.clone(), zero));
}

fn names_of_members_may_be_written_in_any_case() {
    let mut case = Case::new(&["write", "/new", "x", "--", "cat", "/secret"]);
    fs::write(case.rootfs().join("secret"), "told\n").expect("write");
    case.set("/root/readOnly", json!(true)).set("/linux/MaskedPaths", json!(["/secret"]));
    case.remove("/linux/maskedPaths");
    assert_eq!(case.run().ok(), "EROFS\n");
}

fn a_letter_too_much_in_a_device_rule_says_nothing() {
    let mut case = Case::new(&["echo", "x"]);
    let rule = |access: &str| {
        json!([{"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 11, "access": access}])
    };
    case.set("/linux/resources/devices", rule("rwa"));
    assert_eq!(case.run().ok(), "x\n");
    for access in ["a", "rwx"] {
        case.set("/linux/resources/devices", rule(access));
        case.run().fails(1, "linux.resources.devices[1].access: ");
    }
}

fn debug_lines_are_records() {
    let case = Case::new(&[]);
    case.write_config();
    let told = case.runtime(&["--debug", "run", &case.id]).stderr;
    assert!(told.lines().count() > 0);
    assert!(told.lines().all(|line| line.contains(" level=debug msg=\"")), "{told}");
}

fn a_root_can_be_read_only_without_a_mount_namespace() {
    let mut case = Case::new(&["write", "/new", "x"]);
    case.namespace("mount", None).set("/mounts", json!([])).set("/root/readonly", json!(true));
    case.remove("/linux/maskedPaths").remove("/linux/readonlyPaths");
    assert_eq!(case.run().ok(), "EROFS\n");
    assert_eq!(case.leftovers(), Vec::<String>::new());
    fs::write(case.rootfs().join("new"), "x").expect("the host may write");
}

/// What is bound may have been mounted by the container.
fn a_destination_may_begin_with_the_path_of_the_root() {
    let mut case = Case::new(&["cat", "/b/file"]);
    let (source, root) = (case.dir.join("source"), case.rootfs());
    fs::create_dir(&source).expect("mkdir");
    fs::write(source.join("file"), "found\n").expect("write");
    let bind = |source: &Path, destination: &Path| json!({"source": source, "destination": destination, "options": ["rbind"]});
    fs::create_dir(root.join("a")).expect("mkdir");
    case.set("/mounts/-", bind(&source, Path::new("/a")));
    case.set("/mounts/-", bind(&root.join("a"), &root.join("b")));
    assert_eq!(case.run().ok(), "found\n");
    assert!(!root.join(root.strip_prefix("/").expect("an absolute path")).exists());
}

/// As with mount(8): a word that clears something brings back nothing.
fn a_bind_keeps_access_times_that_no_word_sets() {
    for (of_source, word, want) in [
        ("noatime", "norelatime", "rw,noatime"),
        ("noatime", "atime", "rw,noatime"),
        ("noatime", "relatime", "rw,relatime"),
        ("noatime", "nodiratime", "rw,nodiratime,relatime"),
        ("nodiratime", "diratime", "rw,nodiratime,relatime"),
        ("nodiratime", "strictatime", "rw"),
        ("strictatime", "nostrictatime", "rw"),
    ] {
        let mut case = Case::new(&["report"]);
        let source = case.dir.join("tree");
        case.set(
            "/mounts/-",
            json!({"source": source, "destination": "/mnt", "options": ["bind", word]}),
        );
        let script = format!("mkdir tree; mount -t tmpfs -o {of_source} tree tree");
        let text = crate::mounts::run_among_mounts(&case, &script);
        let report: Value = serde_json::from_str(&text).expect("a report");
        let line = crate::mounts::line(&report["mounts"], "/mnt");
        assert_eq!(line.split(' ').nth(2), Some(want), "{of_source} {word}: {line}");
    }
}

fn a_root_that_is_named_has_to_be_there() {
    let case = Case::new(&[]);
    let root = case.dir.join("nosuch");
    let mut command = std::process::Command::new(crate::harness::runtime());
    command.arg("--root").arg(&root).arg("list");
    crate::harness::Output::of(&mut command).fails(1, "no such file or directory");
}

fn signal_0_looks_whether_somebody_is_there() {
    let case = Case::running();
    case.kill("0").ok();
    case.kill("KILL").ok();
    case.wait_for_end();
    case.kill("0").fails(1, "container not running");
    case.runtime(&["kill", "--all", &case.id, "0"]).ok();
}

fn what_ends_a_hook_is_named_as_go_does() {
    let mut case = Case::new(&[]);
    let args = ["sh", "-c", "kill -SEGV $$"];
    case.set("/hooks", json!({"createRuntime": [{"path": "/bin/sh", "args": args}]}));
    case.run().fails(1, "error running createRuntime hook #0: signal: segmentation fault");
}

fn memory_policies_are_refused_in_runcs_words() {
    for (policy, want) in [
        (json!({}), "invalid memory policy mode"),
        (json!({"mode": "INTERLEAVE"}), "invalid memory policy mode \"INTERLEAVE\""),
        (
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["x"]}),
            "invalid memory policy flag \"x\"",
        ),
        (json!({"mode": "MPOL_DEFAULT", "nodes": "0-7"}), "mode requires 0 nodes but got 8"),
        (json!({"mode": "MPOL_BIND", "nodes": "0-9876543210"}), "invalid memory policy node"),
    ] {
        let mut case = Case::new(&[]);
        case.set("/linux/memoryPolicy", policy);
        case.run().fails(1, want);
    }
}

fn a_deadline_on_some_processors_is_refused_in_runcs_words() {
    let mut case = Case::new(&[]);
    case.set("/linux/resources/cpu", json!({"cpus": "0"}));
    let times = json!({"policy": "SCHED_DEADLINE", "runtime": 42_000, "deadline": 1_000_000,
        "period": 1_000_000});
    case.set("/process/scheduler", times);
    case.run().fails(1, "process scheduler can't be used together with AllowedCPUs");
}
