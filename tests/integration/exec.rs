//! `exec`: one more program in a container that runs.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::harness::terminal::{Receiver, Screen, User, end};
use crate::harness::{Background, Case, DEADLINE, Output, host, wait_until_gone};
use crate::tests;

tests! {
    the_program_is_in_all_namespaces_of_the_container needs [Root],
    the_program_is_in_all_cgroups_of_the_container needs [Root],
    joined_namespaces_are_joined_again needs [Root],
    a_container_without_namespaces_is_entered_by_its_root needs [Root]
        unlike runc "runs the program of the host",
    the_program_gets_what_the_container_got needs [Root],
    options_change_what_the_program_gets needs [Root],
    users_are_numbers needs [Root]
        unlike runc "takes numbers modulo two to the 32nd",
    a_document_describes_the_program needs [Root],
    a_document_can_come_through_a_pipe needs [Root],
    what_a_document_leaves_open_comes_from_the_container needs [Root]
        unlike runc "leaves resource limits as they are",
    a_document_with_a_mistake_is_refused needs [Root]
        unlike runc "has other words",
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
    a_paused_container_is_refused needs [Root],
    a_paused_container_is_waited_for needs [Root],
    waiting_for_a_paused_container_can_be_interrupted needs [Root]
        unlike runc "leaves a process behind",
    a_sub_cgroup_can_be_chosen needs [Root, CgroupV1],
    the_cgroup_of_init_is_taken_when_the_containers_has_no_room needs [Root, CgroupV2],
    a_sub_cgroup_cannot_be_outside needs [Root],
    an_init_that_changed_its_root_is_no_matter needs [Root],
    an_init_that_does_not_reap_is_no_matter needs [Root],
    the_end_of_the_container_ends_the_program needs [Root],
    the_program_has_a_terminal_if_asked_to needs [Root],
    the_terminal_goes_to_the_console_socket needs [Root],
    options_that_contradict_each_other_are_refused needs [Root],
    signals_are_passed_on needs [Root],
    nothing_of_the_runtime_can_be_seen_by_the_container needs [Root],
    the_inheritable_set_is_empty_unless_asked_for needs [Root],
    a_working_directory_cannot_be_an_open_descriptor needs [Root],
    the_runtimes_program_cannot_be_executed_inside needs [Root],
    processors_are_those_asked_for needs [Root, TwoProcessors],
    a_runtime_that_is_killed_leaves_no_process needs [Root],
    system_calls_that_a_sandbox_lacks_have_another_way needs [Root, Strace]
        unlike runc "has other system calls",
}

fn report(case: &Case, options: &[&str]) -> Value {
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
fn waiting(case: &Case, options: &[&str]) -> i32 {
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

fn the_program_is_in_all_cgroups_of_the_container() {
    let case = Case::running();
    let cgroups = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("read");
    assert_eq!(cgroups(waiting(&case, &[])), cgroups(case.pid()));
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

fn document(change: impl Fn(&mut Value)) -> Value {
    let mut document = json!({
        "user": {"uid": 1000, "gid": 1001, "additionalGids": [1002]},
        "args": ["/bin/probe", "report"],
        "env": ["PATH=/bin", "B=c"],
        "cwd": "/var",
        "capabilities": {"bounding": ["CAP_KILL"]}
    });
    change(&mut document);
    document
}

fn exec_document(case: &Case, document: &Value) -> Output {
    let path = case.dir.join("process.json");
    fs::write(path, document.to_string()).expect("write");
    case.runtime(&["exec", "--process", "process.json", &case.id])
}

fn a_document_describes_the_program() {
    let case = Case::running();
    let output = exec_document(&case, &document(|_| {})).ok();
    let report: Value = serde_json::from_str(&output).expect("a report");
    assert_eq!(report["env"], json!({"PATH": "/bin", "B": "c", "HOME": "/home/me"}));
    assert_eq!(report["cwd"], json!("/var"));
    let status = &report["status"];
    assert_eq!(status["Uid"], json!("1000 1000 1000 1000"));
    assert_eq!(status["Gid"], json!("1001 1001 1001 1001"));
    assert_eq!(status["Groups"], json!("1002"));
    assert_eq!(status["CapBnd"], json!("0000000000000020"));
    assert_eq!(status["NoNewPrivs"], json!("0"));
}

fn a_document_can_come_through_a_pipe() {
    use std::io::Write;
    let case = Case::running();
    let words = ["exec", "--process", "/dev/stdin", case.id.as_str()];
    let mut command = case.command(&words);
    command.stdin(std::process::Stdio::piped());
    let mut child = crate::harness::spawn(&mut command);
    let document = document(|document| document["args"] = json!(["/bin/probe", "echo", "hello"]));
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(document.to_string().as_bytes()).expect("write");
    drop(stdin);
    let output = child.wait_with_output().expect("wait");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello\n", "{output:?}");
}

fn what_a_document_leaves_open_comes_from_the_container() {
    let mut case = Case::new(&["wait"]);
    case.set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]));
    case.set("/process/oomScoreAdj", json!(77));
    case.run_detached();
    let short = |document: &mut Value| {
        document.as_object_mut().expect("an object").remove("capabilities");
        document["user"] = json!({"uid": 0, "gid": 0});
    };
    let output = exec_document(&case, &document(short)).ok();
    let report: Value = serde_json::from_str(&output).expect("a report");
    assert_eq!(report["status"]["CapBnd"], json!("0000000020000420"));
    assert_eq!(report["oom_score_adj"], json!("77"));
    let limits = report["limits"].to_string();
    let files = limits.split("Max open files").nth(1).expect("a limit");
    assert!(files.trim_start().starts_with("100 "), "{limits}");
}

fn a_document_with_a_mistake_is_refused() {
    let case = Case::running();
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 5] = [
        (|document| *document = json!([]), "not an object"),
        (|document| document["cwd"] = json!("x"), "process.cwd: "),
        (|document| document["args"] = json!([]), "process.args: required"),
        (|document| document["user"] = json!({"uid": 0}), "process.user.gid: required"),
        (|document| document["user"]["uid"] = json!(u32::MAX), "process.user.uid: "),
    ];
    for (change, want) in cases {
        exec_document(&case, &document(change)).fails(255, want);
    }
    case.runtime(&["exec", &case.id]).fails(255, "exec args cannot be empty");
    case.runtime(&["exec"]).fails(1, "requires a minimum of 1 argument");
    case.runtime(&["exec", "--process", "nosuch", &case.id]).fails(255, "no such file");
    fs::write(case.dir.join("text"), "{").expect("write");
    case.runtime(&["exec", "--process", "text", &case.id]).fails(255, "not JSON");
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

fn pause(case: &Case) {
    case.runtime(&["pause", &case.id]).ok();
}

fn resume(case: &Case) {
    case.runtime(&["resume", &case.id]).ok();
}

fn a_paused_container_is_refused() {
    let case = Case::running();
    pause(&case);
    let want = "cannot exec in a paused container (use --ignore-paused to override)";
    case.exec(&["echo"]).fails(255, want);
    resume(&case);
    assert_eq!(case.exec(&["echo", "x"]).ok(), "x\n");
}

fn processes(case: &Case) -> Vec<i32> {
    let file = host::cgroup("freezer", &case.cgroup()).join("cgroup.procs");
    let text = fs::read_to_string(file).expect("read");
    text.lines().map(|line| line.parse().expect("a pid")).collect()
}

/// Starts an exec in a frozen container and waits until its process is in there.
fn exec_in_frozen(case: &Case) -> Background {
    pause(case);
    let words = case.exec_arguments(&["--ignore-paused"], &["echo", "hello"]);
    let exec = Background::start(&mut case.command(&words));
    let begin = Instant::now();
    while processes(case).len() < 2 {
        assert!(begin.elapsed() < DEADLINE, "nobody comes");
        std::thread::yield_now();
    }
    exec
}

fn a_paused_container_is_waited_for() {
    let case = Case::running();
    let exec = exec_in_frozen(&case);
    resume(&case);
    assert_eq!(exec.end().ok(), "hello\n");
}

fn waiting_for_a_paused_container_can_be_interrupted() {
    let case = Case::running();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let exec = exec_in_frozen(&case);
        kill(Pid::from_raw(exec.pid()), signal).expect("kill");
        exec.end().fails(255, &format!("interrupted by signal {}", signal as i32));
        assert_eq!(processes(&case), [case.pid()]);
        resume(&case);
    }
    assert_eq!(case.exec(&["echo", "x"]).ok(), "x\n");
}

fn a_sub_cgroup_can_be_chosen() {
    let case = Case::running();
    let below = |controller: &str| host::cgroup(controller, &case.cgroup()).join("below");
    fs::create_dir(below("pids")).expect("make a cgroup");
    fs::create_dir(below("freezer")).expect("make a cgroup");
    let cgroups = |options: &[&str]| case.exec_with(options, &["cat", "/proc/self/cgroup"]).ok();
    let text = cgroups(&["--cgroup", "pids:below", "--cgroup", "freezer:/below"]);
    let paths: Vec<_> = text.lines().filter(|line| line.ends_with("/below")).collect();
    assert_eq!(paths.len(), 2, "{text}");
    let text = cgroups(&["--cgroup", "pids,freezer:below"]);
    assert_eq!(text.matches("/below\n").count(), 2, "{text}");
    case.exec_with(&["--cgroup", "nosuch:x"], &["echo"]).fails(255, "unknown controller nosuch");
    let output = case.exec_with(&["--cgroup", "pids:nosuch"], &["echo"]);
    output.fails(255, "no such file or directory");
    for controller in ["pids", "freezer"] {
        fs::remove_dir(below(controller)).expect("remove a cgroup");
    }
}

fn the_cgroup_of_init_is_taken_when_the_containers_has_no_room() {
    let case = Case::running();
    let cgroup = host::cgroup("", &case.cgroup());
    fs::create_dir(cgroup.join("init")).expect("make a cgroup");
    fs::write(cgroup.join("init/cgroup.procs"), case.pid().to_string()).expect("move init");
    fs::write(cgroup.join("cgroup.subtree_control"), "+pids").expect("enable a controller");
    let text = case.exec(&["cat", "/proc/self/cgroup"]).ok();
    assert_eq!(text, format!("0::{}/init\n", case.cgroup()));
    let output = case.exec_with(&["--cgroup", "nosuch"], &["echo"]);
    output.fails(255, "no such file or directory");
}

fn a_sub_cgroup_cannot_be_outside() {
    let case = Case::running();
    let controller = if host::is_v2() { "" } else { "pids:" };
    for path in ["..", "../../orlop-test", "/..", "x/../.."] {
        let argument = format!("{controller}{path}");
        let output = case.exec_with(&["--cgroup", &argument], &["echo"]);
        output.fails(255, "bad sub cgroup path");
    }
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

fn a_runtime_that_is_killed_leaves_no_process() {
    let case = Case::running();
    let exec = exec_in_frozen(&case);
    let new: Vec<_> = processes(&case).into_iter().filter(|pid| *pid != case.pid()).collect();
    exec.kill();
    resume(&case);
    new.into_iter().for_each(wait_until_gone);
    assert_eq!(processes(&case), [case.pid()]);
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

/// The caller is bound to one processor; that is not the program's concern.
fn processors_are_those_asked_for() {
    let all = fs::read_to_string("/proc/self/status").expect("read");
    let all = all.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let all = all.expect("a list").trim();
    for (affinity, want) in [
        (Value::Null, all),
        (json!({"initial": "1"}), "1"),
        (json!({"final": "1"}), "1"),
        (json!({"initial": "0", "final": "1"}), "1"),
        (json!({"initial": "0", "final": "0-1"}), "0-1"),
        (json!({"initial": "", "final": ""}), all),
    ] {
        let mut case = Case::new(&["wait"]);
        case.set("/process/execCPUAffinity", affinity.clone());
        case.write_config();
        bound_to_one(&mut case.command(&["create", &case.id]));
        let list = |pid: &str| {
            let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("read");
            let list = text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
            list.expect("a list").trim().to_string()
        };
        assert_eq!(list(&case.pid().to_string()), all, "init");
        let options = ["--detach", "--pid-file", "exec.pid"];
        bound_to_one(&mut case.command(&case.exec_arguments(&options, &["wait"])));
        let pid = fs::read_to_string(case.dir.join("exec.pid")).expect("read the pid file");
        assert_eq!(list(&pid), want, "{affinity}");
        let text = exec_document(
            &case,
            &document(|document| {
                document["execCPUAffinity"] = json!({"final": "0"});
            }),
        );
        let report: Value = serde_json::from_str(&text.ok()).expect("a report");
        assert_eq!(report["status"]["Cpus_allowed_list"], json!("0"));
    }
}

/// Runs a command whose caller may use the first processor only.
#[expect(unsafe_code, reason = "pre_exec is how a child gets its processors")]
fn bound_to_one(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    let bind = || orlop::sys::process::set_affinity(&[1]).map_err(std::io::Error::from);
    // SAFETY: a system call is safe between fork and exec (signal-safety(7)).
    unsafe { command.pre_exec(bind) };
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    assert_eq!(Background::wait_for(command), 0);
}
