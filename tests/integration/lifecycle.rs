//! The life of a container, command by command and status by status.

use std::fs;

use serde_json::json;

use crate::harness::{Case, Output, spawn};
use crate::tests;

tests! {
    run_prints_and_passes_the_exit_code_on needs [Root],
    run_reports_a_signal_as_a_shell_does needs [Root],
    run_passes_signals_on needs [Root],
    run_copies_standard_input needs [Root],
    run_keeps_the_container_if_asked_to needs [Root],
    run_detached_returns_while_the_program_runs needs [Root],
    run_detached_then_the_whole_life needs [Root],
    a_created_container_has_not_run needs [Root],
    changes_of_the_config_after_create_have_no_effect needs [Root],
    every_command_in_every_status needs [Root],
    kill_takes_names_and_numbers needs [Root],
    kill_reaches_a_created_container needs [Root],
    a_created_container_ends_by_signals_that_end_others needs [Root],
    kill_of_a_stopped_container_fails needs [Root],
    delete_force_ends_a_running_container needs [Root],
    an_id_can_be_used_again needs [Root],
    an_id_in_use_is_refused needs [Root],
    a_container_without_a_process_can_be_created_and_not_started needs [Root]
        unlike runc "refuses it at create",
    orphans_are_reaped needs [Root],
    pid_file_holds_bare_digits needs [Root],
    preserved_descriptors_reach_the_program needs [Root],
    a_preserved_descriptor_that_is_not_there_is_an_error needs [Root]
        unlike runc "looks at descriptors of its own",
    a_missing_interpreter_is_told_by_the_program needs [Root],
    system_calls_that_a_sandbox_lacks_have_another_way needs [Root]
        unlike runc "has other system calls",
}

fn run_prints_and_passes_the_exit_code_on() {
    for code in [0, 1, 42, 125, 126, 127, 255] {
        let case = Case::new(&["echo", "hello", "--", "exit", &code.to_string()]);
        let output = case.run();
        assert_eq!((output.code, output.stdout.as_str()), (code, "hello\n"), "{output:?}");
        assert_eq!(output.stderr, "");
    }
}

fn run_reports_a_signal_as_a_shell_does() {
    let mut case = Case::new(&["raise", "9"]);
    // Its first process would be immune to its own signals in a PID namespace.
    case.namespace("pid", None);
    assert_eq!(case.run().code, 137);
}

fn run_passes_signals_on() {
    for signal in [1, 2, 10, 12, 15] {
        let case = Case::new(&["wait-for", &signal.to_string()]);
        let mut run = case.run_in_background();
        assert_eq!(run.line(), "ready");
        let sent = nix::sys::signal::Signal::try_from(signal).expect("a signal");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(run.pid()), sent).expect("kill");
        assert_eq!(run.end().ok(), format!("{signal}\n"));
    }
}

fn run_copies_standard_input() {
    use std::io::Write;
    use std::process::Stdio;
    let case = Case::new(&["copy-input"]);
    case.write_config();
    let mut child = spawn(case.command(&["run", &case.id]).stdin(Stdio::piped()));
    let text = "line\n".repeat(50_000);
    let mut stdin = child.stdin.take().expect("a pipe");
    let sent = text.clone();
    let writer = std::thread::spawn(move || stdin.write_all(sent.as_bytes()));
    let output = child.wait_with_output().expect("wait");
    writer.join().expect("join").expect("write");
    assert_eq!(String::from_utf8(output.stdout).expect("text"), text);
}

fn run_keeps_the_container_if_asked_to() {
    let case = Case::new(&["exit", "7"]);
    assert_eq!(case.run_with(&["--keep"]).code, 7);
    assert_eq!(case.status(), "stopped");
    case.delete().ok();
}

fn run_detached_returns_while_the_program_runs() {
    let case = Case::new(&["wait"]);
    case.run_with(&["--detach"]).ok();
    assert_eq!(case.status(), "running");
    case.kill("KILL").ok();
    case.wait_for_end();
    assert_eq!(case.status(), "stopped");
}

fn run_detached_then_the_whole_life() {
    let case = Case::new(&["echo", "hello"]);
    let mut created = case.create_in_background();
    assert_eq!(created.wait(), 0);
    assert_eq!(case.status(), "created");
    case.start().ok();
    assert_eq!(created.line(), "hello");
    case.wait_for_end();
    assert_eq!(case.status(), "stopped");
    case.delete().ok();
    case.runtime(&["state", &case.id]).fails(1, "container does not exist");
}

fn a_created_container_has_not_run() {
    let case = Case::new(&["write", "/ran", "yes"]);
    case.create().ok();
    assert!(!case.rootfs().join("ran").exists());
    let state = case.state();
    assert_eq!(state["status"], json!("created"));
    let root = fs::read_link(format!("/proc/{}/root", state["pid"])).expect("the root");
    assert_eq!(root, std::path::Path::new("/"));
    case.start().ok();
    case.wait_for_end();
    assert!(case.rootfs().join("ran").exists());
}

fn changes_of_the_config_after_create_have_no_effect() {
    let mut case = Case::new(&["write", "/first", "yes"]);
    case.create().ok();
    case.args(&["write", "/second", "yes"]);
    case.write_config();
    case.start().ok();
    case.wait_for_end();
    assert!(case.rootfs().join("first").exists());
    assert!(!case.rootfs().join("second").exists());
}

fn every_command_in_every_status() {
    let start_running = "cannot start an already running container";
    let start_stopped = "cannot start a container that has stopped";
    let gone = "container does not exist";
    type Want<'a> = Option<&'a str>;
    let table: [(&str, Want<'_>, Want<'_>, Want<'_>); 4] = [
        ("none", Some(gone), Some(gone), Some(gone)),
        ("created", None, None, None),
        ("running", Some(start_running), None, Some("that is not stopped: running")),
        ("stopped", Some(start_stopped), Some("container not running"), None),
    ];
    for (status, start, kill, delete) in table {
        for (command, want) in [("start", start), ("kill", kill), ("delete", delete)] {
            let case = Case::new(&["wait"]);
            bring_to(&case, status);
            let output = case.runtime(&[command, &case.id]);
            match want {
                None => assert_eq!(output.code, 0, "{command} in {status}: {output:?}"),
                Some(text) => drop(output.fails(1, text)),
            }
            if status == "none" {
                case.runtime(&["delete", "--force", &case.id]).ok();
            }
        }
    }
}

fn bring_to(case: &Case, status: &str) {
    if status == "none" {
        return;
    }
    case.create().ok();
    if status != "created" {
        case.start().ok();
    }
    if status == "stopped" {
        case.kill("KILL").ok();
        case.wait_for_end();
    }
    assert_eq!(case.status(), status);
}

fn kill_takes_names_and_numbers() {
    for signal in ["10", "USR1", "SIGUSR1", "usr1", "SigUsr1"] {
        let case = Case::new(&["wait-for", "10"]);
        let mut run = case.run_in_background();
        assert_eq!(run.line(), "ready");
        case.kill(signal).ok();
        assert_eq!(run.end().ok(), "10\n", "{signal}");
    }
    let case = Case::new(&["wait-for", "15"]);
    let mut run = case.run_in_background();
    assert_eq!(run.line(), "ready");
    case.kill("FOO").fails(1, "unknown signal");
    case.runtime(&["kill", &case.id]).ok();
    assert_eq!(run.end().ok(), "15\n");
}

fn kill_reaches_a_created_container() {
    let case = Case::new(&["wait"]);
    case.create().ok();
    case.kill("KILL").ok();
    case.wait_for_end();
    assert_eq!(case.status(), "stopped");
    case.start().fails(1, "cannot start a container that has stopped");
}

/// The first process of a PID namespace has to want that.
fn a_created_container_ends_by_signals_that_end_others() {
    let case = Case::new(&["wait"]);
    for signal in ["TERM", "INT", "HUP", "QUIT"] {
        case.create().ok();
        // One that is of no concern first.
        case.kill("USR1").ok();
        assert_eq!(case.status(), "created");
        case.kill(signal).ok();
        case.wait_for_end();
        assert_eq!(case.status(), "stopped", "{signal}");
        case.delete().ok();
    }
}

fn kill_of_a_stopped_container_fails() {
    let case = Case::new(&[]);
    case.run_with(&["--keep"]).ok();
    case.kill("TERM").fails(1, "container not running");
    case.runtime(&["kill", "--all", &case.id, "9"]).ok();
}

fn delete_force_ends_a_running_container() {
    let case = Case::new(&["wait"]);
    case.run_with(&["--detach"]).ok();
    let pid = case.pid();
    case.runtime(&["delete", "--force", &case.id]).ok();
    assert!(!std::path::Path::new(&format!("/proc/{pid}/root/bin/probe")).exists());
    case.runtime(&["delete", "--force", &case.id]).ok();
}

fn an_id_can_be_used_again() {
    let case = Case::new(&["echo", "again"]);
    for _ in 0..2 {
        assert_eq!(case.run().ok(), "again\n");
    }
}

fn an_id_in_use_is_refused() {
    let case = Case::new(&["wait"]);
    case.create().ok();
    let before = case.state();
    case.create().fails(1, "container with given ID already exists");
    assert_eq!(case.state(), before);
    case.start().ok();
    assert_eq!(case.status(), "running");
}

fn a_container_without_a_process_can_be_created_and_not_started() {
    let mut case = Case::new(&[]);
    case.remove("/process");
    case.create().ok();
    assert_eq!(case.status(), "created");
    case.start().fails(1, "cannot start a container without a process");
    assert_eq!(case.status(), "created");
    case.delete().ok();
    case.run().fails(1, "process: required to run a container");
}

fn orphans_are_reaped() {
    let mut case = Case::new(&["spawn", "spawn", "exit", "0"]);
    case.namespace("pid", None);
    case.run().ok();
}

fn pid_file_holds_bare_digits() {
    let case = Case::new(&["wait"]);
    case.create_with(&["--pid-file", "the.pid"]).ok();
    let text = fs::read_to_string(case.dir.join("the.pid")).expect("the pid file");
    assert_eq!(text, case.pid().to_string());
    assert!(!case.dir.join(".the.pid").exists());
}

fn preserved_descriptors_reach_the_program() {
    let case = Case::new(&["cat", "/proc/self/fd/3", "/proc/self/fd/4", "--", "report"]);
    case.write_config();
    for (name, text) in [("three", "3\n"), ("four", "4\n"), ("five", "5\n")] {
        fs::write(case.dir.join(name), text).expect("write a file");
    }
    // The shell leaves descriptor 5 open as well, which nobody asked for.
    let script = format!(
        "exec {} --root {} run --preserve-fds 2 {} 3<three 4<four 5<five",
        crate::harness::runtime().display(),
        case.state_root().display(),
        case.id
    );
    let output = crate::harness::Output::of(
        std::process::Command::new("sh").args(["-c", &script]).current_dir(&case.dir),
    );
    let text = output.ok();
    let report = text.strip_prefix("3\n4\n").expect("the content of both files");
    let report: serde_json::Value = serde_json::from_str(report).expect("a report");
    let fds: Vec<_> = report["fds"]
        .as_array()
        .expect("fds")
        .iter()
        .map(|fd| fd.as_str().expect("text").split(' ').next().expect("a number").to_string())
        .collect();
    assert_eq!(fds, ["0", "1", "2", "3", "4"]);
}

fn a_preserved_descriptor_that_is_not_there_is_an_error() {
    let case = Case::new(&[]);
    case.run_with(&["--preserve-fds", "1"]).fails(1, "unable to stat preserved-fd");
}

fn a_missing_interpreter_is_told_by_the_program() {
    let mut case = Case::new(&[]);
    case.set("/process/args", json!(["/run.sh"]));
    let script = case.rootfs().join("run.sh");
    fs::write(&script, "#!/nonexistent\n").expect("write a script");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&script, mode).expect("chmod");
    let output = case.run();
    assert_eq!(output.code, 255, "{output:?}");
    assert!(output.stderr.contains("exec /run.sh: no such file or directory"), "{output:?}");
}

/// The profiles of container engines answer newer calls with ENOSYS.
fn system_calls_that_a_sandbox_lacks_have_another_way() {
    for call in [libc::SYS_clone3, libc::SYS_openat2, libc::SYS_close_range, libc::SYS_add_key] {
        let mut case = Case::new(&["echo", "hello"]);
        // The sandbox sets it, and so cannot be left by more.
        case.set("/process/noNewPrivileges", json!(true));
        case.write_config();
        let output = Output::of(&mut case.command_without(&[call], &["run", &case.id]));
        assert_eq!((output.code, output.stdout.as_str()), (0, "hello\n"), "{call}: {output:?}");
    }
}
