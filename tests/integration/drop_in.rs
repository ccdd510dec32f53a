//! In the place of other runtimes: their names, and their extensions.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::terminal::Receiver;
use crate::harness::{Case, Output, runtime};
use crate::tests;

tests! {
    a_link_named_runc_goes_by_that_name needs [Root] unlike runc "has that name",
    exec_does_not_make_its_working_directory needs [Root],
    a_pidfd_is_sent_to_the_receiver_of_an_annotation needs [Root] unlike runc "has an option only",
    what_hooks_write_goes_to_the_files_of_annotations needs [Root]
        unlike runc "does not know these annotations",
    the_groups_of_the_caller_are_kept_if_an_annotation_says_so needs [Root]
        unlike runc "does not know this annotation",
}

/// Runs a link of this name to the runtime.
fn by_name(case: &Case, name: &str, words: &[&str]) -> Output {
    let link = case.dir.join(name);
    if !link.exists() {
        symlink(runtime(), &link).expect("make a link");
    }
    let mut command = Command::new(&link);
    command.arg("--root").arg(case.state_root()).args(words).current_dir(&case.dir);
    Output::of(command.stdin(Stdio::null()))
}

fn a_link_named_runc_goes_by_that_name() {
    let mut case = Case::new(&["print"]);
    case.set("/process/args", json!(["nosuch"]));
    case.write_config();
    for (name, shown) in [("runc", "runc"), ("orlop", "orlop"), ("crun", "orlop")] {
        let version = by_name(&case, name, &["--version"]).ok();
        assert!(version.starts_with(&format!("{shown} version ")), "{name}: {version}");
        let help = by_name(&case, name, &["create", "--help"]).ok();
        assert!(help.contains(&format!("   {shown} create - ")), "{name}: {help}");
        let text = format!("{shown} create failed: unable to start container process: ");
        by_name(&case, name, &["create", &case.id]).fails(1, &text);
        by_name(&case, name, &["run", &case.id]).fails(1, &format!("{shown} run failed: "));
        let text = format!("{shown}: \"state\" requires exactly 1 argument(s)");
        by_name(&case, name, &["state"]).fails(1, &text);
    }
}

fn a_pidfd_is_sent_to_the_receiver_of_an_annotation() {
    let mut case = Case::new(&["wait"]);
    let receiver = Receiver::new(&case.id);
    case.set("/annotations", json!({"run.oci.pidfd_receiver": receiver.argument()}));
    case.create().ok();
    let (pidfd, _) = receiver.receive();
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()));
    let info = info.expect("read");
    assert!(info.contains(&format!("\nPid:\t{}\n", case.pid())), "{info}");
}

/// As under runc: `docker exec --workdir` of a directory that is not there is an error.
fn exec_does_not_make_its_working_directory() {
    let case = Case::running();
    let text = "chdir to cwd (\"/nosuch\") set in config.json failed: no such file or directory";
    case.exec_with(&["--cwd", "/nosuch"], &["true"]).fails(255, text);
    assert!(!case.rootfs().join("nosuch").exists());
}

fn what_hooks_write_goes_to_the_files_of_annotations() {
    let mut case = Case::new(&[]);
    let hook = |kind: &str| {
        let text = format!("echo out {kind}; echo err {kind} >&2");
        json!([{"path": "/bin/sh", "args": ["sh", "-c", text]}])
    };
    let mut hooks = serde_json::Map::new();
    for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        hooks.insert(kind.to_string(), hook(kind));
    }
    case.set("/hooks", hooks.into());
    let (out, err) = (case.dir.join("hooks.out"), case.dir.join("hooks.err"));
    fs::write(&out, "before\n").expect("write");
    case.set("/annotations", json!({"run.oci.hooks.stdout": out, "run.oci.hooks.stderr": err}));
    case.run().ok();
    let read = |path: &Path| fs::read_to_string(path).expect("read the output of hooks");
    assert_eq!(
        read(&out),
        "before\nout prestart\nout createRuntime\nout createContainer\nout poststart\n\
         out poststop\n"
    );
    assert_eq!(read(&err).lines().count(), 5);
    // The error of one that fails shows it as well.
    case.set("/hooks/createRuntime/0/args/2", json!("echo told >&2; exit 3"));
    case.run().fails(1, "told");
    assert!(read(&err).contains("told\n"));
    case.set("/annotations", json!({"run.oci.hooks.stdout": "hooks.out"}));
    let relative = "annotations.\"run.oci.hooks.stdout\": \"hooks.out\" is not an absolute path";
    case.run().fails(1, relative);
    case.set("/annotations", json!({"run.oci.hooks.stdout": case.dir.join("no/such")}));
    case.run().fails(1, "annotations.\"run.oci.hooks.stdout\": open ");
    assert_eq!(case.leftovers(), Vec::<String>::new());
}

/// Podman's `--group-add keep-groups`.
fn the_groups_of_the_caller_are_kept_if_an_annotation_says_so() {
    let mut case = Case::new(&["report"]);
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    for (user_namespace, keep, want) in
        [(false, false, ""), (false, true, "5 7"), (true, false, ""), (true, true, "65534 65534")]
    {
        let annotations =
            if keep { json!({"run.oci.keep_original_groups": "1"}) } else { json!({}) };
        case.set("/annotations", annotations).args(&["report"]);
        if user_namespace {
            case.namespace("user", Some(json!({"type": "user"})));
            case.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map.clone());
        }
        case.write_config();
        assert_eq!(groups(&case, &["run", &case.id]), want, "{user_namespace} {keep}");
        case.args(&["wait"]);
        case.run_detached();
        let words = case.exec_arguments(&[], &["report"]);
        assert_eq!(groups(&case, &words), want, "exec {user_namespace} {keep}");
        case.end();
    }
}

/// The groups that a program reports whose runtime was called by a member of groups 5 and 7.
fn groups(case: &Case, words: &[&str]) -> String {
    let mut command = Command::new("setpriv");
    command.args(["--groups", "5,7"]).arg(runtime()).arg("--root").arg(case.state_root());
    let output = Output::of(command.args(words).current_dir(&case.dir).stdin(Stdio::null()));
    let report: serde_json::Value = serde_json::from_str(&output.ok()).expect("a report");
    report["status"]["Groups"].as_str().expect("groups").trim().to_string()
}
