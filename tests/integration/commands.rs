//! The command line: forms, output formats, help, mistakes, and the log.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Case, Output, reference, schema};
use crate::tests;

tests! {
    version_says_what_engines_parse needs [] unlike runc "has its own version",
    help_is_printed_for_every_command,
    mistakes_have_runcs_words_and_codes,
    options_take_every_form needs [Root],
    state_is_complete_and_valid needs [Root],
    list_shows_every_status_in_every_format needs [Root],
    list_of_nothing unlike runc "fails without a state directory",
    spec_writes_runcs_documents needs [Root] unlike runc "has its own host name",
    spec_does_not_overwrite,
    features_are_valid_and_complete,
    every_announced_feature_works needs [Root] unlike runc "announces more than it takes",
    the_error_is_one_record_of_the_log needs [Root],
    warnings_do_not_disturb_the_one_record needs [Root] unlike runc "writes them as well",
    debug_lines_are_for_debug_only needs [Root] unlike runc "has other lines",
    checkpoint_and_restore_answer_probes unlike runc "can do it",
    the_root_directory_must_not_be_the_root,
    the_state_directory_is_for_its_owner_only needs [Root],
}

const COMMANDS: [&str; 11] = [
    "checkpoint",
    "create",
    "delete",
    "features",
    "kill",
    "list",
    "restore",
    "run",
    "spec",
    "start",
    "state",
];

fn version_says_what_engines_parse() {
    let case = Case::new(&[]);
    for form in ["--version", "-v", "-version"] {
        let text = case.runtime(&[form]).ok();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], format!("orlop version {}", env!("CARGO_PKG_VERSION")));
        assert!(lines[1].starts_with("commit: "), "{text}");
        assert_eq!(lines[2], "spec: 1.3.0");
    }
}

fn help_is_printed_for_every_command() {
    let case = Case::new(&[]);
    for words in [&[][..], &["help"], &["-h"], &["--help"], &["h"]] {
        let text = case.runtime(words).ok();
        for command in COMMANDS {
            assert!(text.contains(&format!(" {command} ")), "{command} in {text}");
        }
    }
    for command in COMMANDS {
        for words in [&[command, "--help"][..], &[command, "-h"], &["help", command]] {
            let text = case.runtime(words).ok();
            assert!(text.contains(&format!(" {command} - ")), "{words:?}: {text}");
            assert!(text.contains("USAGE:"), "{words:?}: {text}");
        }
    }
}

fn mistakes_have_runcs_words_and_codes() {
    let case = Case::new(&[]);
    for (words, code, error) in [
        (&["nosuch"][..], 3, "No help topic for 'nosuch'"),
        (&["help", "nosuch"], 3, "No help topic for 'nosuch'"),
        (&["create"], 1, "\"create\" requires exactly 1 argument(s)"),
        (&["run", "a", "b"], 1, "\"run\" requires exactly 1 argument(s)"),
        (&["state"], 1, "\"state\" requires exactly 1 argument(s)"),
        (&["start"], 1, "\"start\" requires exactly 1 argument(s)"),
        (&["delete"], 1, "\"delete\" requires exactly 1 argument(s)"),
        (&["kill"], 1, "\"kill\" requires a minimum of 1 argument(s)"),
        (&["kill", "a", "TERM", "b"], 1, "\"kill\" requires a maximum of 2 argument(s)"),
        (&["list", "a"], 1, "\"list\" requires exactly 0 argument(s)"),
        (&["spec", "a"], 1, "\"spec\" requires exactly 0 argument(s)"),
        (&["features", "a"], 1, "\"features\" requires exactly 0 argument(s)"),
        (&["--nosuch", "list"], 1, "flag provided but not defined: -nosuch"),
        (&["create", "--nosuch", "a"], 1, "flag provided but not defined: -nosuch"),
        (&["create", "--bundle"], 1, "flag needs an argument: -bundle"),
        (&["--log-format", "xml", "list"], 1, "invalid log-format: xml"),
        (&["state", "nosuch"], 1, "container does not exist"),
        (&["start", "nosuch"], 1, "container does not exist"),
        (&["kill", "nosuch"], 1, "container does not exist"),
        (&["delete", "nosuch"], 1, "container does not exist"),
    ] {
        case.runtime(words).fails(code, error);
    }
    case.runtime(&["delete", "--force", "nosuch"]).ok();
}

fn options_take_every_form() {
    let case = Case::new(&["wait"]);
    case.write_config();
    let dir = case.dir.display().to_string();
    let with_equals = format!("--bundle={dir}");
    for words in [
        &["-bundle", dir.as_str(), "-detach"][..],
        &["--bundle", dir.as_str(), "--detach"],
        &[with_equals.as_str(), "--detach=true"],
        &["-b", dir.as_str(), "-d"],
        // As containerd writes it for `ctr run`.
        &["-b", dir.as_str(), "-d", "-no-subreaper", "--no-new-keyring"],
    ] {
        let words: Vec<_> = ["run"].iter().chain(words).copied().chain([&*case.id]).collect();
        Output::of(case.command(&words).current_dir("/")).ok();
        case.runtime(&["delete", "-f", &case.id]).ok();
    }
}

fn state_is_complete_and_valid() {
    let mut case = Case::new(&["wait"]);
    case.set("/annotations", json!({"org.example.key": "value", "empty": ""}));
    case.create().ok();
    for status in ["created", "running", "stopped"] {
        let state = case.state();
        schema::check("state", &state);
        assert_eq!(state["status"], json!(status));
        assert_eq!(state["id"], json!(case.id));
        assert_eq!(state["bundle"], json!(case.dir));
        assert_eq!(state["rootfs"], json!(case.rootfs()));
        assert_eq!(state["annotations"], case.config["annotations"]);
        assert_eq!(state["owner"], json!(""));
        let created = state["created"].as_str().expect("a time");
        assert!(created.ends_with('Z') && created.contains('T'), "{created}");
        let pid = state["pid"].as_i64().expect("a pid");
        assert_eq!(pid == 0, status == "stopped");
        match status {
            "created" => drop(case.start().ok()),
            _ => {
                case.kill("KILL");
                case.wait_for_end();
            }
        }
    }
}

fn list_shows_every_status_in_every_format() {
    let first = Case::new(&["wait"]);
    let mut others = [Case::new(&["wait"]), Case::new(&["wait"])];
    first.create().ok();
    for other in &mut others {
        // All in one state directory.
        other.write_config();
        let bundle = other.dir.display().to_string();
        first.runtime(&["create", "--bundle", &bundle, &other.id]).ok();
        first.runtime(&["start", &other.id]).ok();
    }
    let [running, stopped] = &others;
    first.runtime(&["kill", &stopped.id, "KILL"]).ok();
    let state: Value =
        serde_json::from_str(&first.runtime(&["state", &stopped.id]).ok()).expect("a state");
    if let Some(pid @ 1..) = state["pid"].as_i64() {
        crate::harness::wait_until_gone(i32::try_from(pid).expect("a pid"));
    }
    let mut ids = [first.id.as_str(), &running.id, &stopped.id];
    ids.sort_unstable();
    let text = first.runtime(&["list", "--quiet"]).ok();
    assert_eq!(text.lines().collect::<Vec<_>>(), ids);
    let list: Value =
        serde_json::from_str(&first.runtime(&["list", "--format", "json"]).ok()).expect("a list");
    let table = first.runtime(&["list"]).ok();
    let head: Vec<_> = table.lines().next().expect("a line").split_whitespace().collect();
    assert_eq!(head, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    for (case, status) in [(&first, "created"), (running, "running"), (stopped, "stopped")] {
        let entry = list.as_array().expect("a list").iter().find(|entry| entry["id"] == case.id);
        let entry = entry.expect("the container");
        assert_eq!(entry["status"], json!(status));
        assert_eq!(entry["owner"], json!("root"));
        let line = table.lines().find(|line| line.starts_with(&case.id)).expect("a line");
        let words: Vec<_> = line.split_whitespace().collect();
        let bundle = case.dir.display().to_string();
        assert_eq!(words[1..4], [&*entry["pid"].to_string(), status, &*bundle], "{line}");
        assert_eq!(words[5], "root");
    }
    for other in &others {
        first.runtime(&["delete", "--force", &other.id]).ok();
    }
}

fn list_of_nothing() {
    let case = Case::new(&[]);
    fs::create_dir(case.state_root()).expect("make a directory");
    assert_eq!(case.runtime(&["list", "-q"]).ok(), "");
    assert_eq!(case.runtime(&["list", "-f", "json"]).ok().trim(), "[]");
    assert_eq!(case.runtime(&["list"]).ok().lines().count(), 1);
    case.runtime(&["list", "-f", "xml"]).fails(1, "invalid format option");
}

fn spec_writes_runcs_documents() {
    let mut case = Case::new(&[]);
    for words in [&["spec"][..], &["spec", "--rootless"]] {
        let config = case.dir.join("config.json");
        let _ = fs::remove_file(&config);
        case.runtime(words).ok();
        let ours: Value =
            serde_json::from_slice(&fs::read(&config).expect("read")).expect("a document");
        schema::check("config", &ours);
        fs::remove_file(&config).expect("remove");
        let Some(runc) = reference::runc() else { continue };
        case.runtime = runc;
        case.runtime(words).ok();
        case.runtime = crate::harness::runtime();
        let mut theirs: Value =
            serde_json::from_slice(&fs::read(&config).expect("read")).expect("a document");
        theirs["hostname"] = json!("orlop");
        assert_eq!(ours, theirs);
    }
}

fn spec_does_not_overwrite() {
    let case = Case::new(&[]);
    let bundle = case.dir.join("other");
    fs::create_dir(&bundle).expect("make a directory");
    let words = ["spec", "--bundle", bundle.to_str().expect("a path")];
    case.runtime(&words).ok();
    let text = fs::read_to_string(bundle.join("config.json")).expect("read");
    assert!(text.starts_with("{\n\t\"ociVersion\""), "{text}");
    case.runtime(&words).fails(1, "File config.json exists. Remove it first");
    fs::remove_dir_all(&bundle).expect("remove");
    case.runtime(&words).fails(1, "no such file or directory");
}

fn features() -> Value {
    let text = Case::new(&[]).runtime(&["features"]).ok();
    serde_json::from_str(&text).expect("a document")
}

fn features_are_valid_and_complete() {
    let features = features();
    schema::check("features", &features);
    for kind in ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"] {
        let kinds = features["linux"]["namespaces"].as_array().expect("namespaces");
        assert!(kinds.contains(&json!(kind)), "{kind}");
    }
    assert_eq!(features["hooks"].as_array().expect("hooks").len(), 6);
    assert_eq!(features["linux"]["cgroup"]["v1"], json!(true));
    assert_eq!(features["linux"]["cgroup"]["v2"], json!(true));
}

fn words(value: &Value) -> Vec<String> {
    let list = value.as_array().expect("a list").iter();
    list.map(|word| word.as_str().expect("a word").to_string()).collect()
}

/// A mount for each option, and a bind mount where it says what becomes of a whole tree.
fn mount_with_every_option(case: &mut Case, options: &[String]) {
    let source = case.dir.join("source");
    fs::create_dir(&source).expect("make a directory");
    fs::create_dir(case.rootfs().join("filled")).expect("make a directory");
    // Mapping ids takes mappings: that has its own tests.
    for option in options.iter().filter(|option| !option.ends_with("idmap")) {
        let at = format!("/mnt/{option}");
        let mount = match option.as_str() {
            "bind" | "rbind" => {
                json!({"destination": at, "source": source, "options": [option]})
            }
            "remount" => json!({"destination": "/proc", "options": ["remount", "nosuid"]}),
            // mqueue(7) and the like take none of the words for all file systems.
            _ => json!({"destination": at, "type": "tmpfs", "source": "t", "options": [option]}),
        };
        case.set("/mounts/-", mount);
        if option.starts_with('r')
            && !["ro", "rw", "relatime", "remount"].contains(&option.as_str())
        {
            let at = format!("/bind/{option}");
            let mount = json!({"destination": at, "source": source, "options": ["rbind", option]});
            case.set("/mounts/-", mount);
        }
    }
}

/// One container that uses everything that is announced, and a look at each.
fn every_announced_feature_works() {
    let features = features();
    let mut case = Case::new(&["wait"]);
    let mut list = Vec::new();
    for kind in words(&features["linux"]["namespaces"]) {
        list.push(json!({"type": kind}));
    }
    // A user namespace has a test of its own options: most mounts here need the host's root.
    list.retain(|entry| entry["type"] != "user");
    case.set("/linux/namespaces", json!(list));
    let own = caps::read(None, caps::CapSet::Permitted).expect("our capabilities");
    let granted: Vec<_> = words(&features["linux"]["capabilities"])
        .into_iter()
        .filter(|name| own.contains(&name.parse().expect("a capability")))
        .collect();
    for set in ["bounding", "permitted", "effective", "inheritable", "ambient"] {
        case.set(&format!("/process/capabilities/{set}"), json!(granted));
    }
    case.set("/process/noNewPrivileges", json!(false));
    mount_with_every_option(&mut case, &words(&features["mountOptions"]));
    let log = case.dir.join("hooks.log");
    case.config["hooks"] = json!({});
    for kind in words(&features["hooks"]) {
        let line = format!("echo {kind} >> {}", log.display());
        let (path, args) = match kind.as_str() {
            "startContainer" => ("/bin/probe", json!(["probe", "append", "/hooked", kind])),
            _ => ("/bin/sh", json!(["sh", "-c", line])),
        };
        case.config["hooks"][&kind] = json!([{"path": path, "args": args}]);
    }
    case.run_with(&["--detach"]).ok();
    let status = fs::read_to_string(format!("/proc/{}/status", case.pid())).expect("read");
    let ambient = status.lines().find_map(|line| line.strip_prefix("CapAmb:\t"));
    let ambient = u64::from_str_radix(ambient.expect("a set"), 16).expect("a number");
    assert_eq!(ambient.count_ones() as usize, granted.len());
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", case.pid())).expect("read");
    for option in words(&features["mountOptions"]) {
        let there = mounts.contains(&format!(" /mnt/{option} "));
        let elsewhere = option == "remount" || option.ends_with("idmap");
        assert!(there || elsewhere, "{option} in {mounts}");
    }
    case.runtime(&["delete", "--force", &case.id]).ok();
    let hooked = fs::read_to_string(&log).expect("read");
    for kind in words(&features["hooks"]) {
        let ran = hooked.lines().any(|line| line == kind);
        assert!(ran || kind == "startContainer", "{kind} in {hooked}");
    }
    assert!(case.rootfs().join("hooked").exists());
}

fn the_error_is_one_record_of_the_log() {
    let mut case = Case::new(&[]);
    case.set("/process/args", json!(["/nosuch"]));
    case.write_config();
    let log = case.dir.join("log");
    let path = log.to_str().expect("a path");
    let id = case.id.clone();
    let error = case
        .runtime(&["--log", path, "--log-format", "json", "create", &id])
        .fails(1, "exec: \"/nosuch\"");
    assert_eq!(error.lines().count(), 1, "{error}");
    let text = fs::read_to_string(&log).expect("read");
    let errors: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a record"))
        .filter(|record: &Value| record["level"] == "error")
        .collect();
    assert_eq!(errors.len(), 1, "{text}");
    assert!(errors[0]["msg"].as_str().expect("a text").contains("exec: \"/nosuch\""), "{text}");
    assert!(errors[0]["time"].is_string());
    fs::remove_file(&log).expect("remove");
    case.runtime(&["--log", path, "create", &id]).fails(1, "exec: \"/nosuch\"");
    let text = fs::read_to_string(&log).expect("read");
    let errors: Vec<_> = text.lines().filter(|line| line.contains("level=error")).collect();
    assert_eq!(errors.len(), 1, "{text}");
    assert!(errors[0].starts_with("time=\"") && errors[0].contains("msg=\""), "{text}");
}

fn warnings_do_not_disturb_the_one_record() {
    let mut case = Case::new(&[]);
    case.set("/process/capabilities/bounding", json!(["CAP_NOSUCH"]));
    case.set("/process/capabilities/permitted", json!([]));
    case.set("/process/capabilities/effective", json!([]));
    let log = case.dir.join("log");
    let path = log.to_str().expect("a path").to_string();
    let id = case.id.clone();
    for (args, levels) in [("/nosuch", &["error"][..]), ("/bin/probe", &["warning"])] {
        case.set("/process/args", json!([args]));
        case.write_config();
        case.runtime(&["--log", &path, "--log-format", "json", "run", &id]);
        let text = fs::read_to_string(&log).expect("read");
        let got: Vec<_> = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("a record")["level"].clone())
            .collect();
        assert_eq!(json!(got), json!(levels), "{text}");
        fs::remove_file(&log).expect("remove");
    }
}

fn debug_lines_are_for_debug_only() {
    let case = Case::new(&[]);
    case.write_config();
    assert_eq!(case.runtime(&["run", &case.id]).stderr, "");
    let output = case.runtime(&["--debug", "run", &case.id]);
    assert_eq!(output.code, 0);
    assert!(output.stderr.contains(" level=debug "), "{output:?}");
}

fn checkpoint_and_restore_answer_probes() {
    let case = Case::new(&[]);
    // Podman probes for checkpoint support, Docker for the mount context (ENGINES 2).
    for words in [&["checkpoint", "--help"][..], &["restore", "--help"]] {
        case.runtime(words).ok();
    }
    case.runtime(&["restore", "--lsm-mount-context"])
        .fails(1, "flag needs an argument: -lsm-mount-context");
    for words in [
        &[
            "checkpoint",
            "--image-path",
            "/x",
            "--work-path",
            "/x",
            "--leave-running",
            "--tcp-established",
            "--file-locks",
            "--manage-cgroups-mode",
            "ignore",
            "a",
        ][..],
        &[
            "restore",
            "--image-path",
            "/x",
            "--bundle",
            "/x",
            "--detach",
            "--pid-file",
            "/x",
            "--no-subreaper",
            "--lsm-profile",
            "apparmor:x",
            "a",
        ],
    ] {
        case.runtime(words).fails(1, "not supported by this version");
    }
}

fn the_root_directory_must_not_be_the_root() {
    let case = Case::new(&[]);
    let error = "Option --root argument should not be set to /";
    case.runtime(&["--root", "/", "list"]).fails(1, error);
}

fn the_state_directory_is_for_its_owner_only() {
    let case = Case::new(&["wait"]);
    case.run_with(&["--detach"]).ok();
    let mode = |path: &std::path::Path| {
        let meta = fs::metadata(path).expect("stat");
        std::os::unix::fs::MetadataExt::mode(&meta) & 0o7777
    };
    let own = case.state_root().join(&case.id);
    assert_eq!(mode(&case.state_root()) & 0o077, 0);
    assert_eq!(mode(&own) & 0o066, 0);
    for entry in fs::read_dir(&own).expect("read") {
        let path = entry.expect("read").path();
        assert_eq!(mode(&path) & 0o022, 0, "{}", path.display());
    }
}
