//! What a container can make of an `exec`, and of the runtime behind it.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::exec::report;
use crate::exec_documents::{document, exec_document};
use crate::harness::{Case, Output};
use crate::tests;

tests! {
    an_init_that_changed_its_root_is_no_matter needs [Root],
    an_init_that_does_not_reap_is_no_matter needs [Root],
    nothing_of_the_runtime_can_be_seen_by_the_container needs [Root],
    the_inheritable_set_is_empty_unless_asked_for needs [Root],
    a_working_directory_cannot_be_an_open_descriptor needs [Root],
    the_runtimes_program_cannot_be_executed_inside needs [Root],
    system_calls_that_a_sandbox_lacks_have_another_way needs [Root, Strace]
        unlike runc "has other system calls",
}

fn an_init_that_changed_its_root_is_no_matter() {
    let mut case = Case::new(&["change-root", "/tmp", "--", "echo", "ready", "--", "wait"]);
    let sets = json!(["CAP_SYS_CHROOT"]);
    case.set(
        "/process/capabilities",
        json!({"bounding": sets, "effective": sets, "permitted": sets}),
    );
    let mut run = case.run_in_background();
    assert_eq!(run.line(), "ok");
    assert_eq!(run.line(), "ready");
    assert_eq!(
        case.exec(&["stat", "/bin/also-probe"]).ok(),
        "/bin/also-probe link probe 0777 0:0\n"
    );
    case.kill("KILL").ok();
    run.end();
}

fn an_init_that_does_not_reap_is_no_matter() {
    let case = Case::running();
    for _ in 0..5 {
        case.exec(&["spawn", "exit", "0"]).ok();
        assert_eq!(case.exec(&["echo", "x"]).ok(), "x\n");
    }
}

/// CVE-2016-9962 and CVE-2024-21626.
fn nothing_of_the_runtime_can_be_seen_by_the_container() {
    let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    for user_namespace in [false, true] {
        let mut case = Case::new(&["peep", "2"]);
        if user_namespace {
            case.namespace("user", Some(json!({"type": "user"})));
            case.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map.clone());
            // Of no use against a process of another user namespace.
            may_trace(&mut case);
        }
        nothing_can_be_seen(&case, 100);
    }
}

/// Gives the container's root the right to look into processes.
pub fn may_trace(case: &mut Case) {
    let sets = json!(["CAP_SYS_PTRACE"]);
    let sets = json!({"bounding": sets, "effective": sets, "permitted": sets});
    case.set("/process/capabilities", sets);
}

/// Somebody inside tries without end to look into the processes of `exec` while they are not yet
/// the program. `TORTURE=1` makes it a thousand of them.
#[track_caller]
pub fn nothing_can_be_seen(case: &Case, rounds: u32) {
    let rounds = if std::env::var_os("TORTURE").is_some() { 1000 } else { rounds };
    let mut run = case.run_in_background();
    assert_eq!(run.line(), "ready");
    for _ in 0..rounds {
        let mut command = case.command(&case.exec_arguments(&[], &["exit", "0"]));
        assert_eq!(Output::of(command.env("SECRET", "x").current_dir("/")).ok(), "");
    }
    fs::write(case.rootfs().join("stop"), "").expect("write");
    let text = run.end().ok();
    let (seen, last) = text.rsplit_once("tries ").expect("the last line");
    assert_eq!(seen, "");
    println!("tries {}", last.trim_end());
}

/// CVE-2022-29162.
fn the_inheritable_set_is_empty_unless_asked_for() {
    let case = Case::running();
    for options in [&[][..], &["--cap", "CAP_CHOWN"]] {
        let status = report(&case, options)["status"].clone();
        assert_eq!(status["CapInh"], json!("0000000000000000"));
        assert_eq!(status["CapAmb"], json!("0000000000000000"));
    }
    let asked = |document: &mut Value| {
        let sets = json!(["CAP_KILL"]);
        document["capabilities"] = json!({"bounding": sets, "inheritable": sets});
    };
    let report: Value =
        serde_json::from_str(&exec_document(&case, &document(asked)).ok()).expect("a report");
    assert_eq!(report["status"]["CapInh"], json!("0000000000000020"));
}

/// CVE-2024-21626.
fn a_working_directory_cannot_be_an_open_descriptor() {
    let case = Case::running();
    for number in 3..20 {
        for path in [format!("/proc/self/fd/{number}"), format!("/proc/self/fd/{number}/../..")] {
            let output = case.exec_with(&["--cwd", &path], &["stat", "."]);
            assert_ne!(output.code, 0, "{path}: {output:?}");
        }
        let link = case.rootfs().join(format!("way{number}"));
        symlink(format!("/proc/self/fd/{number}"), link).expect("make a link");
        let output = case.exec_with(&["--cwd", &format!("/way{number}")], &["stat", "."]);
        assert_ne!(output.code, 0, "{number}: {output:?}");
    }
}

/// CVE-2019-5736.
fn the_runtimes_program_cannot_be_executed_inside() {
    let case = Case::running();
    let before = fs::read(crate::harness::runtime()).expect("read the runtime");
    symlink("/proc/self/exe", case.rootfs().join("bin/itself")).expect("make a link");
    for program in ["/bin/itself", "/proc/self/exe"] {
        let output = case.runtime(&["exec", &case.id, program, "--version"]);
        // It may run, as any program of the image: it is of no use.
        assert!([0, 1, 3, 255].contains(&output.code), "{output:?}");
    }
    assert!(before == fs::read(crate::harness::runtime()).expect("read the runtime"));
}

fn system_calls_that_a_sandbox_lacks_have_another_way() {
    let mut case = Case::new(&["wait"]);
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    for user_namespace in [false, true] {
        if user_namespace {
            case.namespace("user", Some(json!({"type": "user"})));
            case.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map.clone());
        }
        case.run_detached();
        // Before Linux 5.8 setns(2) takes no pidfd; each process calls it with one first.
        for inject in [
            "setns:error=EINVAL:when=1",
            "clone3:error=ENOSYS",
            "openat2:error=ENOSYS",
            "close_range:error=ENOSYS",
            "add_key:error=ENOSYS",
        ] {
            let mut command = std::process::Command::new("strace");
            let inject = format!("inject={inject}");
            command.args(["-f", "-qq", "-o", "/dev/null", "-e", &inject]).arg(&case.runtime);
            command.arg("--root").arg(case.state_root());
            command.args(case.exec_arguments(&[], &["echo", "hello"])).current_dir(&case.dir);
            let output = Output::of(&mut command);
            assert_eq!((output.code, output.stdout.as_str()), (0, "hello\n"), "{output:?}");
        }
        case.end();
    }
}
