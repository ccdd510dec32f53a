//! Labels of security modules: AppArmor, observed from inside, and SELinux, which no machine of the
//! tests has: only that its labels are refused where it is off.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Case, Output};
use crate::tests;

tests! {
    a_profile_confines_the_program needs [Root, AppArmor],
    a_profile_confines_programs_that_join needs [Root, AppArmor],
    a_profile_that_is_not_loaded_is_named needs [Root, AppArmor]
        unlike runc "has another text",
    a_profile_without_apparmor_is_refused needs [Root, NoAppArmor]
        unlike runc "names no field",
    a_label_without_selinux_is_refused needs [Root]
        unlike runc "names no field",
}

/// Loads a profile that allows everything but writing `/tmp/secret`.
fn load(name: &str, case: &Case) {
    let text = format!(
        "profile {name} flags=(attach_disconnected,mediate_deleted) {{\n\
         file,\ncapability,\nnetwork,\nsignal,\nmount,\numount,\nptrace,\nunix,\n\
         deny /tmp/secret w,\n}}\n"
    );
    let path = case.dir.join(name);
    fs::write(&path, text).expect("write the profile");
    let mut parser = std::process::Command::new("apparmor_parser");
    Output::of(parser.arg("--replace").arg("--skip-cache").arg(&path)).ok();
}

const LOOK: [&str; 6] = ["cat", "/proc/self/attr/current", "--", "write", "/tmp/secret", "x"];

fn confined(name: &str) -> String {
    format!("{name} (enforce)\nEACCES\n")
}

fn a_profile_confines_the_program() {
    let mut case = Case::new(&LOOK);
    load("orlop-test-run", &case);
    assert_eq!(case.run().ok().lines().last(), Some("ok"));
    case.set("/process/apparmorProfile", json!("orlop-test-run"));
    for no_new_privileges in [true, false] {
        case.set("/process/noNewPrivileges", json!(no_new_privileges));
        assert_eq!(case.run().ok(), confined("orlop-test-run"));
    }
    crate::namespaces::give_to(&case, 100_000, 100_000);
    case.namespace("user", Some(json!({"type": "user"})));
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    case.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    assert_eq!(case.run().ok(), confined("orlop-test-run"));
}

fn a_profile_confines_programs_that_join() {
    let mut case = Case::new(&["wait"]);
    load("orlop-test-own", &case);
    load("orlop-test-other", &case);
    case.set("/process/apparmorProfile", json!("orlop-test-own"));
    case.run_detached();
    assert_eq!(case.exec(&LOOK).ok(), confined("orlop-test-own"));
    let other = ["--apparmor", "orlop-test-other"];
    assert_eq!(case.exec_with(&other, &LOOK).ok(), confined("orlop-test-other"));
}

fn a_profile_that_is_not_loaded_is_named() {
    let mut case = Case::new(&["wait"]);
    case.set("/process/apparmorProfile", json!("orlop-test-nobody"));
    let want = "process.apparmorProfile: apply apparmor profile \"orlop-test-nobody\": ";
    case.create().fails(1, want);
    case.remove("/process/apparmorProfile");
    case.run_detached();
    case.exec_with(&["--apparmor", "orlop-test-nobody"], &["report"]).fails(255, want);
}

fn a_profile_without_apparmor_is_refused() {
    let want = "process.apparmorProfile: apparmor: config provided but apparmor not supported";
    refused("/process/apparmorProfile", "--apparmor", want);
}

fn a_label_without_selinux_is_refused() {
    let off = "selinux label is specified in config, but selinux is disabled or not supported";
    refused("/process/selinuxLabel", "--process-label", &format!("process.selinuxLabel: {off}"));
    let mut case = Case::new(&["wait"]);
    case.set("/linux/mountLabel", json!("system_u:object_r:container_file_t:s0:c1,c2"));
    case.create().fails(1, &format!("linux.mountLabel: {off}"));
}

fn refused(pointer: &str, option: &str, want: &str) {
    let mut case = Case::new(&["wait"]);
    case.set(pointer, json!("a:b:c:s0"));
    case.create().fails(1, want);
    case.set(pointer, Value::Null);
    case.run_detached();
    case.exec_with(&[option, "a:b:c:s0"], &["report"]).fails(255, want);
}
