//! `exec`: one more program in a container that runs.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::exec_documents::document;
use crate::harness::terminal::{Receiver, Screen, User, end};
use crate::harness::{Background, Case, DEADLINE, Output, host};
use crate::tests;

tests! {
    the_program_is_in_all_namespaces_of_the_container needs [Root],
    joined_namespaces_are_joined_again needs [Root],
    a_container_without_namespaces_is_entered_by_its_root needs [Root]
        unlike runc "runs the program of the host",
    the_program_gets_what_the_container_got needs [Root],
    options_change_what_the_program_gets needs [Root],
    users_are_numbers needs [Root]
        unlike runc "takes numbers modulo two to the 32nd",
    the_bundle_is_not_needed_any_more needs [Root]
        unlike runc "reads it again",
    the_exit_status_is_that_of_the_program needs [Root],
    a_program_that_cannot_be_found_is_told needs [Root],
    a_missing_interpreter_is_told needs [Root],
    a_detached_program_lives_on needs [Root],
    a_failure_leaves_no_pid_file needs [Root],
    a_pidfd_is_sent needs [Root],
    descriptors_are_preserved_and_no_others needs [Root],
    limits_can_be_lowered_for_any_user needs [Root],
    a_container_that_is_not_there_or_stopped_is_refused needs [Root],
    a_created_container_can_be_entered needs [Root],
    the_end_of_the_container_ends_the_program needs [Root],
    the_program_has_a_terminal_if_asked_to needs [Root],
    the_terminal_goes_to_the_console_socket needs [Root],
    options_that_contradict_each_other_are_refused needs [Root],
    signals_are_passed_on needs [Root],
}

pub fn report(case: &Case, options: &[&str]) -> Value {
    serde_json::from_str(&case.exec_with(options, &["report"]).ok()).expect("a report")
}

/// The namespaces of a process on the host.
fn namespaces(pid: i32) -> BTreeMap<String, String> {
    let entries = fs::read_dir(format!("/proc/{pid}/ns")).expect("read the namespaces");
    let link = |entry: fs::DirEntry| {
        let target = fs::read_link(entry.path()).expect("read a link").display().to_string();
        (entry.file_name().to_string_lossy().into_owned(), target)
    };
    entries.map(|entry| link(entry.expect("an entry"))).collect()
}

/// A program that was executed with `--detach` and waits; its pid on the host.
#[track_caller]
pub fn waiting(case: &Case, options: &[&str]) -> i32 {
    let file = case.dir.join("exec.pid");
    let options: Vec<_> =
        ["--detach", "--pid-file", "exec.pid"].iter().chain(options).copied().collect();
    let mut command = case.command(&case.exec_arguments(&options, &["wait"]));
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    assert_eq!(Background::wait_for(&mut command), 0, "exec --detach fails");
    fs::read_to_string(file).expect("read the pid file").parse().expect("bare digits")
}

fn the_program_is_in_all_namespaces_of_the_container() {
    let mut case = Case::new(&["wait"]);
    case.namespace("cgroup", Some(json!({"type": "cgroup"})));
    case.namespace("time", Some(json!({"type": "time"})));
    case.set("/linux/timeOffsets", json!({"boottime": {"secs": 1000}}));
    case.run_detached();
    assert_eq!(namespaces(waiting(&case, &[])), namespaces(case.pid()));
    let offsets = "/proc/self/timens_offsets";
    let text = case.exec(&["cat", offsets]).ok();
    assert!(text.contains("boottime"), "{text}");
    let mut case = Case::new(&["wait"]);
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    case.namespace("user", Some(json!({"type": "user"})));
    case.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    case.run_detached();
    let pid = waiting(&case, &["--user", "7:8"]);
    assert_eq!(namespaces(pid), namespaces(case.pid()));
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("read");
    assert!(status.contains("Uid:\t100007\t100007\t100007\t100007\n"), "{status}");
    assert!(status.contains("Gid:\t100008\t100008\t100008\t100008\n"), "{status}");
}

fn joined_namespaces_are_joined_again() {
    let donor = Case::running();
    for kind in ["pid", "network", "ipc", "uts"] {
        let file = if kind == "network" { "net" } else { kind };
        let path = format!("/proc/{}/ns/{file}", donor.pid());
        let mut case = Case::new(&["wait"]);
        case.remove("/hostname");
        case.namespace(kind, Some(json!({"type": kind, "path": path})));
        case.run_detached();
        assert_eq!(namespaces(waiting(&case, &[])), namespaces(case.pid()), "{kind}");
        case.end();
    }
    // Its namespaces belong to two user namespaces.
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let path = format!("/proc/{}/ns/ipc", donor.pid());
    let mut case = Case::new(&["wait"]);
    case.namespace("user", Some(json!({"type": "user"})));
    case.namespace("ipc", Some(json!({"type": "ipc", "path": path})));
    case.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    let mounts = case.config["mounts"].as_array_mut().expect("mounts");
    mounts.retain(|mount| mount["destination"] != "/dev/mqueue");
    case.run_detached();
    assert_eq!(namespaces(waiting(&case, &[])), namespaces(case.pid()));
}

fn a_container_without_namespaces_is_entered_by_its_root() {
    let mut case = Case::new(&["wait"]);
    case.set("/linux/namespaces", json!([]));
    for pointer in ["/hostname", "/linux/maskedPaths", "/linux/readonlyPaths"] {
        case.remove(pointer);
    }
    case.set("/mounts", json!([]));
    fs::write(case.rootfs().join("mark"), "inside").expect("write");
    case.run_detached();
    assert_eq!(case.exec(&["cat", "/mark"]).ok(), "inside");
    assert_eq!(namespaces(waiting(&case, &[])), namespaces(case.pid()));
}

fn the_program_gets_what_the_container_got() {
    let mut case = Case::new(&["report", "--", "wait"]);
    case.set("/process/oomScoreAdj", json!(123));
    case.set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]));
    case.set("/process/env", json!(["PATH=/bin", "A=1", "A=2"]));
    case.set("/process/cwd", json!("/tmp"));
    let sets = json!(["CAP_KILL", "CAP_CHOWN"]);
    case.set(
        "/process/capabilities",
        json!({"bounding": sets, "effective": sets, "permitted": sets}),
    );
    let receiver = case.dir.join("output");
    case.write_config();
    let mut command = case.command(&["run", "--detach", &case.id]);
    command.stdout(fs::File::create(&receiver).expect("make a file"));
    assert_eq!(Background::wait_for(&mut command), 0);
    let mut exec = report(&case, &[]);
    let mut init = Value::Null;
    let begin = Instant::now();
    while init.is_null() {
        let text = fs::read_to_string(&receiver).expect("read");
        init = serde_json::from_str(&text).unwrap_or_default();
        assert!(begin.elapsed() < DEADLINE, "no report: {text}");
        std::thread::yield_now();
    }
    for report in [&mut exec, &mut init] {
        let members = report.as_object_mut().expect("an object");
        for different in ["args", "pid", "fds"] {
            members.remove(different);
        }
        report["status"].as_object_mut().expect("an object").remove("NStgid");
        // What its caller ignores is not the program's.
        report["status"].as_object_mut().expect("an object").remove("SigIgn");
    }
    assert_eq!(exec, init);
    assert_eq!(exec["oom_score_adj"], json!("123"));
}

fn options_change_what_the_program_gets() {
    let case = Case::running();
    let options = [
        "--cwd",
        "/tmp",
        "--env",
        "A=c",
        "--env",
        "NEW=x y",
        "-u",
        "1000:5",
        "-g",
        "7",
        "-g",
        "8",
        "--cap",
        "CAP_CHOWN",
        "--no-new-privs",
    ];
    let report = report(&case, &options);
    assert_eq!(report["cwd"], json!("/tmp"));
    let env = json!({"PATH": "/bin", "A": "c", "NEW": "x y", "HOME": "/home/me"});
    assert_eq!(report["env"], env);
    let status = &report["status"];
    assert_eq!(status["Uid"], json!("1000 1000 1000 1000"));
    assert_eq!(status["Gid"], json!("5 5 5 5"));
    assert_eq!(status["Groups"], json!("7 8"));
    assert_eq!(status["NoNewPrivs"], json!("1"));
    // Three of the container and one more; none is effective for an ordinary user.
    assert_eq!(status["CapBnd"], json!("0000000020000421"));
    assert_eq!(status["CapAmb"], json!("0000000000000000"));
    let mut case = Case::new(&["wait"]);
    case.set("/process/noNewPrivileges", json!(false));
    case.run_detached();
    let got = |options: &[&str]| self::report(&case, options)["status"]["NoNewPrivs"].clone();
    assert_eq!([got(&[]), got(&["--no-new-privs"])], [json!("0"), json!("1")]);
}

/// CVE-2026-30892: a number alone is a user, and never root by mistake.
fn users_are_numbers() {
    let case = Case::running();
    for (user, uid) in [("1", "1"), ("01", "1"), ("1:1", "1"), ("4294967294", "4294967294")] {
        let status = report(&case, &["--user", user])["status"]["Uid"].clone();
        assert_eq!(status, json!([uid; 4].join(" ")), "{user}");
    }
    for user in ["", "-1", "+1", "1x", "x", "4294967295", "4294967296", "1:", ":1", "1:-1", "1:x"] {
        case.exec_with(&["--user", user], &["report"]).fails(255, "exec failed: bad ");
    }
    for gid in ["", "-1", "x", "4294967295"] {
        case.exec_with(&["--additional-gids", gid], &["report"]).fails(255, "exec failed: bad ");
    }
}

fn the_bundle_is_not_needed_any_more() {
    let case = Case::running();
    fs::remove_file(case.dir.join("config.json")).expect("remove");
    assert_eq!(case.exec(&["echo", "hello"]).ok(), "hello\n");
}

fn the_exit_status_is_that_of_the_program() {
    let case = Case::running();
    for code in [0, 1, 42, 125, 126, 127, 255] {
        let output = case.exec(&["echo", "hello", "--", "exit", &code.to_string()]);
        assert_eq!((output.code, output.stdout.as_str()), (code, "hello\n"), "{output:?}");
        assert_eq!(output.stderr, "");
    }
    for (signal, code) in [("9", 137), ("15", 143)] {
        assert_eq!(case.exec(&["raise", signal]).code, code);
    }
}

fn a_program_that_cannot_be_found_is_told() {
    let case = Case::running();
    fs::write(case.rootfs().join("bin/text"), "x").expect("write");
    for (program, want) in [
        ("nosuch", "exec: \"nosuch\": executable file not found in $PATH"),
        ("/nosuch", "exec: \"/nosuch\": stat /nosuch: no such file or directory"),
        ("/bin/text", "exec: \"/bin/text\": permission denied"),
        ("/etc", "exec: \"/etc\": is a directory"),
    ] {
        let output = case.runtime(&["exec", &case.id, program]);
        output.fails(255, &format!("exec failed: unable to start container process: {want}"));
    }
    let output = case.exec_with(&["--cwd", "/bin/text"], &["report"]);
    output.fails(255, "not a directory");
}

fn a_missing_interpreter_is_told() {
    let case = Case::running();
    let path = case.rootfs().join("run.sh");
    fs::write(&path, "#!/nosuch\n").expect("write");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
    let output = case.runtime(&["exec", &case.id, "/run.sh"]);
    output.fails(255, "exec /run.sh: no such file or directory");
}

fn a_detached_program_lives_on() {
    let case = Case::running();
    let pid = waiting(&case, &[]);
    let exe = fs::read_link(format!("/proc/{pid}/exe")).expect("it runs");
    assert_eq!(exe, Path::new("/bin/probe"));
    assert!(host::processes_in_cgroup(&case.cgroup()).contains(&pid));
    assert_eq!(case.status(), "running");
}

fn a_failure_leaves_no_pid_file() {
    let case = Case::running();
    let script = case.rootfs().join("run.sh");
    fs::write(&script, "#!/nosuch\n").expect("write");
    for words in [
        &["exec", "--pid-file", "pid", "ID", "nosuch"][..],
        &["exec", "--detach", "--pid-file", "pid", "ID", "/nosuch"],
        &["exec", "--detach", "--pid-file", "pid", "--cwd", "/etc/passwd", "ID", "/bin/probe"],
        &["exec", "--detach", "--pid-file", "pid", "--cgroup", "nosuch", "ID", "/bin/probe"],
    ] {
        let id = case.id.as_str();
        let words: Vec<_> =
            words.iter().map(|word| if *word == "ID" { id } else { word }).collect();
        let output = case.runtime(&words);
        assert_eq!(output.code, 255, "{output:?}");
        assert!(!case.dir.join("pid").exists(), "{words:?}");
        assert!(!case.dir.join(".pid").exists(), "{words:?}");
    }
}

fn a_pidfd_is_sent() {
    let case = Case::running();
    let receiver = Receiver::new(&case.id);
    let pid = waiting(&case, &["--pidfd-socket", receiver.argument()]);
    let (pidfd, word) = receiver.receive();
    assert_eq!(word, "setns");
    assert_eq!(process_of(&pidfd), pid);
    let case = Case::new(&["wait"]);
    let receiver = Receiver::new(&case.id);
    case.create_with(&["--pidfd-socket", receiver.argument()]).ok();
    let (pidfd, word) = receiver.receive();
    assert_eq!(word, "standard");
    assert_eq!(process_of(&pidfd), case.pid());
}

fn process_of(pidfd: &OwnedFd) -> i32 {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let text = fs::read_to_string(path).expect("read");
    let line = text.lines().find_map(|line| line.strip_prefix("Pid:"));
    line.expect("a pidfd").trim().parse().expect("a number")
}

fn descriptors_are_preserved_and_no_others() {
    let case = Case::running();
    let file = |name: &str| {
        let path = case.dir.join(name);
        fs::write(&path, name).expect("write");
        fs::File::open(path).expect("open")
    };
    let files = [file("three"), file("four"), file("five")];
    let words = case.exec_arguments(&["--preserve-fds", "2"], &["report"]);
    let mut command = case.command(&words);
    inherit(&mut command, &files);
    let report: Value = serde_json::from_str(&Output::of(&mut command).ok()).expect("a report");
    let open: Vec<_> = report["fds"].as_array().expect("descriptors").iter().collect();
    assert_eq!(open.len(), 5, "{open:?}");
    assert!(open[3].as_str().expect("text").ends_with("/three"), "{open:?}");
    assert!(open[4].as_str().expect("text").ends_with("/four"), "{open:?}");
}

/// Leaves the files open from number 3 on.
#[expect(unsafe_code, reason = "pre_exec is how a child gets descriptors")]
fn inherit(command: &mut std::process::Command, files: &[fs::File]) {
    use std::os::unix::process::CommandExt;
    let numbers: Vec<_> = files.iter().map(AsRawFd::as_raw_fd).collect();
    let place = move || {
        // Above all of them first, so that none is overwritten.
        for (index, number) in (0..).zip(&numbers) {
            // SAFETY: dup2(2) takes numbers only.
            unsafe { libc::dup2(*number, 100 + index) };
        }
        for (index, _) in (0..).zip(&numbers) {
            // SAFETY: as above.
            unsafe { libc::dup2(100 + index, 3 + index) };
        }
        Ok(())
    };
    // SAFETY: dup2(2) is safe to call between fork and exec (signal-safety(7)).
    unsafe { command.pre_exec(place) };
}

/// The runtime may not set limits of another user's process without a privilege.
fn limits_can_be_lowered_for_any_user() {
    let mut case = Case::new(&["report"]);
    case.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    case.set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 90, "hard": 90}]));
    let has_limit = |text: &str| {
        let report: Value = serde_json::from_str(text).expect("a report");
        let limits = report["limits"].to_string();
        let files = limits.split("Max open files").nth(1).expect("a limit");
        assert!(files.trim_start().starts_with("90 "), "{limits}");
    };
    has_limit(&case.run().ok());
    case.args(&["wait"]);
    case.run_detached();
    has_limit(&case.exec_with(&["--user", "7"], &["report"]).ok());
}

fn a_container_that_is_not_there_or_stopped_is_refused() {
    let case = Case::new(&["wait"]);
    case.exec(&["echo"]).fails(255, "container does not exist");
    case.run_detached();
    case.kill("KILL").ok();
    case.wait_for_end();
    case.exec(&["echo"]).fails(255, "exec failed: cannot exec in a stopped container");
}

fn a_created_container_can_be_entered() {
    let case = Case::new(&["wait"]);
    case.create().ok();
    assert_eq!(case.exec(&["echo", "hello"]).ok(), "hello\n");
    assert_eq!(case.status(), "created");
}

fn the_end_of_the_container_ends_the_program() {
    let case = Case::running();
    let words = case.exec_arguments(&[], &["echo", "ready", "--", "wait"]);
    let mut exec = Background::start(&mut case.command(&words));
    assert_eq!(exec.line(), "ready");
    case.kill("KILL").ok();
    assert_eq!(exec.wait(), 137);
}

fn the_program_has_a_terminal_if_asked_to() {
    // That of the container's own process says nothing.
    let mut case = Case::new(&["wait"]);
    case.run_detached();
    let user = User::new(24, 80);
    let words = case.exec_arguments(
        &["--tty", "--user", "1000:1000"],
        &["terminal", "--", "size", "--", "read-line", "--", "exit", "3"],
    );
    let child = user.start(&mut case.command(&words));
    let User { mut screen, terminal } = user;
    screen.wait_for("size");
    screen.type_in("\n");
    drop(terminal);
    screen.rest();
    assert_eq!(end(child), 3);
    assert_eq!(
        screen.text.replace("\r\n", "\n"),
        "stdin /dev/pts/0\nstdout /dev/pts/0\nstderr /dev/pts/0\nleader true\ncontrolling ok\n\
        /dev/console ENOENT\n/dev/pts/0 c 136:0 0620 1000:5\nsize 24 80\n\nread \"\\n\"\n"
    );
    case.end();
    case.set("/process/terminal", json!(true));
    let receiver = Receiver::new(&case.id);
    case.run_with(&["--detach", "--console-socket", receiver.argument()]).ok();
    let text = case.exec(&["terminal"]).ok();
    assert!(!text.contains("stdin /dev/pts") && text.contains("\nstdout pipe\n"), "{text}");
}

fn the_terminal_goes_to_the_console_socket() {
    let case = Case::running();
    let receiver = Receiver::new(&case.id);
    let document = document(|document| {
        document["terminal"] = json!(true);
        document["consoleSize"] = json!({"height": 11, "width": 22});
        document["args"] = json!(["/bin/probe", "terminal", "--", "size"]);
    });
    fs::write(case.dir.join("process.json"), document.to_string()).expect("write");
    let socket = receiver.argument();
    let words = ["exec", "-d", "--process", "process.json", "--console-socket", socket, &case.id];
    case.runtime(&words).ok();
    let mut screen = Screen::new(receiver.receive().0);
    screen.rest();
    assert!(screen.text.starts_with("stdin /dev/pts/0\r\n"), "{}", screen.text);
    assert!(screen.text.ends_with("size 11 22\r\n"), "{}", screen.text);
}

fn options_that_contradict_each_other_are_refused() {
    let case = Case::running();
    let receiver = Receiver::new(&case.id);
    let (without, unused) = ("cannot allocate tty if", "cannot use console socket if");
    let socket = ["--console-socket", receiver.argument()];
    let with = |options: &[&'static str]| -> Vec<String> {
        options.iter().chain(&socket).map(ToString::to_string).collect()
    };
    for (options, want) in [
        (vec!["--tty".to_string(), "--detach".to_string()], without),
        (with(&[]), unused),
        (with(&["--tty"]), unused),
        (with(&["--detach"]), unused),
    ] {
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        case.exec_with(&options, &["echo"]).fails(255, want);
    }
    assert!(!receiver.was_used());
}

fn signals_are_passed_on() {
    let case = Case::running();
    for number in [1, 2, 10, 15] {
        let word = number.to_string();
        let words = case.exec_arguments(&[], &["wait-for", &word]);
        let mut exec = Background::start(&mut case.command(&words));
        assert_eq!(exec.line(), "ready");
        let signal = Signal::try_from(number).expect("a signal");
        kill(Pid::from_raw(exec.pid()), signal).expect("kill");
        assert_eq!(exec.end().ok(), format!("{number}\n"));
    }
    assert_eq!(case.status(), "running");
}
