//! In the place of other runtimes: their names, and their extensions.

use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::terminal::Receiver;
use crate::harness::{Case, Output, runtime};
use crate::tests;

tests! {
    a_link_named_runc_goes_by_that_name needs [Root] unlike runc "has that name",
    exec_does_not_make_its_working_directory needs [Root],
    a_pidfd_is_sent_to_the_receiver_of_an_annotation needs [Root] unlike runc "has an option only",
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
