//! The last look before a program starts: whatever step is left out, it is found.
//!
//! The build with debug assertions leaves out the step that `ORLOP_SKIP` names.

use std::fs;

use serde_json::{Value, json};

use crate::harness::host::is_v2;
use crate::harness::{Case, Output};
use crate::mounts::{bind, cgroup_mount};
use crate::tests;

tests! {
    a_mount_that_was_left_out_is_found needs [Root] unlike runc "leaves nothing out",
    an_attribute_that_was_left_out_is_found needs [Root] unlike runc "leaves nothing out",
    recursive_attributes_that_were_left_out_are_found needs [Root]
        unlike runc "leaves nothing out",
    cgroups_that_were_left_writable_are_found needs [Root] unlike runc "leaves nothing out",
    a_path_that_was_not_closed_is_found needs [Root] unlike runc "leaves nothing out",
    another_file_in_place_of_the_null_device_is_found needs [Root] unlike runc "leaves nothing out",
    a_root_that_was_not_changed_is_found needs [Root] unlike runc "leaves nothing out",
    the_last_look_works_without_newer_calls needs [Root] unlike runc "has none",
}

fn case() -> Case {
    let mut case = Case::new(&["echo", "started"]);
    case.runtime = env!("CARGO_BIN_EXE_orlop").into();
    let source = case.dir.join("source");
    fs::create_dir(&source).expect("make a directory");
    case.set(
        "/mounts/-",
        json!({"destination": "/bound", "source": source, "options": ["rbind", "ro", "nosuid"]}),
    );
    case.set(
        "/mounts/-",
        json!({"destination": "/late", "type": "tmpfs", "source": "t", "options": ["ro"]}),
    );
    case.set("/root/readonly", json!(true));
    case
}

fn run_without(case: &Case, step: &str) -> Output {
    case.write_config();
    Output::of(case.command(&["run", &case.id]).env("ORLOP_SKIP", step))
}

#[track_caller]
fn is_found(case: &Case, step: &str, error: &str) {
    run_without(case, step).fails(1, error);
    assert_eq!(case.leftovers(), Vec::<String>::new(), "{step}");
}

fn list(case: &Case, pointer: &str) -> Vec<Value> {
    case.config.pointer(pointer).and_then(Value::as_array).expect("a list").clone()
}

fn a_mount_that_was_left_out_is_found() {
    let case = case();
    assert_eq!(run_without(&case, "nothing").ok(), "started\n");
    for (index, mount) in list(&case, "/mounts").iter().enumerate() {
        let error = match mount["destination"].as_str().expect("a destination") {
            // What is to be done in these comes too early for the last look.
            "/proc" => "",
            _ => "it is not attached",
        };
        is_found(&case, &format!("mounts[{index}] attach"), error);
    }
}

fn an_attribute_that_was_left_out_is_found() {
    let case = case();
    let mut found = 0;
    for (index, mount) in list(&case, "/mounts").iter().enumerate() {
        let Some(options) = mount["options"].as_array() else { continue };
        if ["ro", "nosuid", "nodev", "noexec"].iter().any(|word| options.contains(&json!(word))) {
            is_found(&case, &format!("mounts[{index}] attributes"), "is not in force");
            found += 1;
        }
    }
    assert_eq!(found, 7, "{:#}", case.config["mounts"]);
    is_found(&case, "root.readonly", "root.readonly: / is writable");
}

fn recursive_attributes_that_were_left_out_are_found() {
    for word in ["rro", "rnosuid", "rnodev", "rnoexec"] {
        let mut case = case();
        let source = case.dir.join("source");
        case.set("/mounts/6", bind(&source, "/bound", &[word]));
        assert_eq!(run_without(&case, "nothing").ok(), "started\n");
        is_found(&case, "mounts[6] recursive attributes", "is not in force");
    }
}

fn cgroups_that_were_left_writable_are_found() {
    let mut case = case();
    case.set("/mounts/8", cgroup_mount(&["ro"]));
    assert_eq!(run_without(&case, "nothing").ok(), "started\n");
    let error = if is_v2() { "is not in force" } else { "is writable" };
    is_found(&case, "mounts[8] attributes", error);
}

fn a_path_that_was_not_closed_is_found() {
    let case = case();
    for (pointer, name, error) in [
        ("/linux/maskedPaths", "linux.maskedPaths", "is not hidden"),
        ("/linux/readonlyPaths", "linux.readonlyPaths", "is writable"),
    ] {
        let mut found = 0;
        for (index, path) in list(&case, pointer).iter().enumerate() {
            let path = path.as_str().expect("a path");
            if fs::exists(path).expect("look for it") {
                is_found(&case, &format!("{name}[{index}]"), &format!("{name}: {path} {error}"));
                found += 1;
            }
        }
        assert!(found > 1, "the host has too few of {name}");
    }
}

fn another_file_in_place_of_the_null_device_is_found() {
    let mut case = case();
    let mounts = case.config["mounts"].as_array_mut().expect("mounts");
    mounts.retain(|mount| mount["destination"] == "/proc");
    // Nothing else is to look at the device before, for standard input either.
    case.remove("/linux/maskedPaths");
    fs::write(case.rootfs().join("dev/null"), "a file").expect("write");
    case.write_config();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "echo | \"$@\"", "sh"]).arg(&case.runtime);
    command.args(case.arguments(&["run", &case.id])).current_dir(&case.dir);
    Output::of(command.env("ORLOP_SKIP", "device /dev/null"))
        .fails(1, "default device: /dev/null: another file is there");
    assert_eq!(case.leftovers(), Vec::<String>::new());
}

fn a_root_that_was_not_changed_is_found() {
    is_found(&case(), "change of root", "root.path: / is not the container's root file system");
}

fn the_last_look_works_without_newer_calls() {
    let case = case();
    case.write_config();
    for (step, works) in [("nothing", true), ("mounts[2] attach", false)] {
        let mut command = case.command_without(&[LISTMOUNT], &["run", &case.id]);
        let output = Output::of(command.env("ORLOP_SKIP", step));
        match works {
            true => assert_eq!(output.ok(), "started\n"),
            false => drop(output.fails(1, "it is not attached")),
        }
    }
}

/// listmount(2), the same on every architecture.
const LISTMOUNT: libc::c_long = 458;
