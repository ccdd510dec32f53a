//! The `process` object, observed by the program itself.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Case, Output};
use crate::tests;

tests! {
    args_env_and_cwd_arrive_unchanged needs [Root],
    nothing_of_the_runtimes_environment_reaches_the_program needs [Root],
    home_is_looked_up_in_the_container needs [Root],
    a_strange_passwd_neither_hangs_nor_exhausts needs [Root]
        unlike runc "waits for a fifo",
    the_last_of_several_values_wins needs [Root],
    a_missing_cwd_is_made needs [Root],
    a_cwd_only_for_the_user_can_be_entered needs [Root],
    ids_and_groups_are_exactly_those_configured needs [Root],
    umask_is_set_or_has_its_default needs [Root],
    limits_are_set needs [Root],
    a_limit_above_the_runtimes_own_is_named needs [Root],
    oom_score_is_set_or_left_alone needs [Root],
    oom_score_can_be_lowered needs [Root, SysResource],
    a_hard_limit_can_be_raised needs [Root, SysResource],
    signals_have_their_defaults needs [Root]
        unlike runc "leaves ignored signals ignored",
    the_program_is_found_in_the_containers_path needs [Root],
    a_program_that_cannot_be_executed_is_told_at_create needs [Root],
    standard_streams_belong_to_the_user needs [Root],
    the_null_device_is_the_containers_own needs [Root]
        unlike runc "copies standard input through a pipe",
    the_program_leads_a_session needs [Root],
    a_session_keyring_of_its_own needs [Root],
    only_standard_streams_are_open needs [Root]
        unlike runc "copies standard input through a pipe",
    the_personality_is_set needs [Root],
    limits_that_are_not_listed_are_the_callers needs [Root],
}

pub fn report(case: &Case) -> Value {
    serde_json::from_str(&case.run().ok()).expect("a report")
}

pub fn reporting() -> Case {
    Case::new(&["report"])
}

fn args_env_and_cwd_arrive_unchanged() {
    let mut case = reporting();
    case.set("/process/args", json!(["probe", "report", "--", "echo", "", "a b", "ä\n"]));
    case.set("/process/env", json!(["PATH=/bin", "A=b=c", "B=", "C=two\nlines", "HOME=/x"]));
    case.set("/process/cwd", json!("/tmp"));
    let text = case.run().ok();
    let (report, rest) = text.split_at(text.rfind('}').expect("a report") + 1);
    let report: Value = serde_json::from_str(report).expect("a report");
    assert_eq!(rest, "\n a b ä\n\n");
    assert_eq!(report["args"], json!(["probe", "report", "--", "echo", "", "a b", "ä\n"]));
    let env = json!({"PATH": "/bin", "A": "b=c", "B": "", "C": "two\nlines", "HOME": "/x"});
    assert_eq!(report["env"], env);
    assert_eq!(report["cwd"], json!("/tmp"));
}

fn nothing_of_the_runtimes_environment_reaches_the_program() {
    let case = reporting();
    case.write_config();
    let mut command = case.command(&["run", &case.id]);
    let output = Output::of(command.env("SECRET", "x").env("LD_PRELOAD", "/nonexistent"));
    let report: Value = serde_json::from_str(&output.ok()).expect("a report");
    assert_eq!(report["env"], json!({"PATH": "/bin", "A": "b", "HOME": "/root"}));
}

fn home_is_looked_up_in_the_container() {
    for (uid, home) in [(0, "/root"), (1000, "/home/me"), (7, "/")] {
        let mut case = reporting();
        case.set("/process/user", json!({"uid": uid, "gid": uid}));
        assert_eq!(report(&case)["env"]["HOME"], json!(home));
        case.set("/process/env", json!(["HOME="]));
        assert_eq!(report(&case)["env"]["HOME"], json!(home));
    }
    let case = reporting();
    fs::remove_file(case.rootfs().join("etc/passwd")).expect("remove");
    assert_eq!(report(&case)["env"]["HOME"], json!("/"));
}

fn a_strange_passwd_neither_hangs_nor_exhausts() {
    let passwd = |case: &Case| case.rootfs().join("etc/passwd");
    type Make = fn(&std::path::Path);
    let strange: [(&str, Make); 4] = [
        ("huge", |path| {
            let file = fs::File::create(path).expect("make");
            file.set_len(4 << 30).expect("a sparse file");
        }),
        ("fifo", |path| {
            let mode = nix::sys::stat::Mode::from_bits_truncate(0o644);
            nix::unistd::mkfifo(path, mode).expect("mkfifo");
        }),
        ("directory", |path| fs::create_dir(path).expect("mkdir")),
        ("link to zeroes", |path| std::os::unix::fs::symlink("/dev/zero", path).expect("link")),
    ];
    for (what, make) in strange {
        let case = reporting();
        fs::remove_file(passwd(&case)).expect("remove");
        make(&passwd(&case));
        assert_eq!(report(&case)["env"]["HOME"], json!("/"), "{what}");
    }
}

fn the_last_of_several_values_wins() {
    let mut case = reporting();
    case.set("/process/env", json!(["A=1", "HOME=/x", "A=2", "A=3"]));
    assert_eq!(report(&case)["env"], json!({"A": "3", "HOME": "/x"}));
}

fn a_missing_cwd_is_made() {
    let mut case = reporting();
    case.set("/process/cwd", json!("/new/dir"));
    case.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    assert_eq!(report(&case)["cwd"], json!("/new/dir"));
    let meta = fs::metadata(case.rootfs().join("new/dir")).expect("stat");
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&meta) & 0o777, 0o755);
    fs::write(case.rootfs().join("file"), "").expect("write");
    case.set("/process/cwd", json!("/file"));
    case.run().fails(1, "not a directory");
}

fn a_cwd_only_for_the_user_can_be_entered() {
    let mut case = reporting();
    // Without CAP_DAC_OVERRIDE root has no right to it, and the user has.
    let dir = case.rootfs().join("home/me");
    fs::create_dir(&dir).expect("mkdir");
    std::os::unix::fs::chown(&dir, Some(1000), Some(1000)).expect("chown");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(&dir, mode).expect("chmod");
    case.set("/process/cwd", json!("/home/me"));
    case.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    assert_eq!(report(&case)["cwd"], json!("/home/me"));
}

fn ids_and_groups_are_exactly_those_configured() {
    for (user, uid, gid, groups) in [
        (json!({"uid": 0, "gid": 0}), "0 0 0 0", "0 0 0 0", ""),
        (json!({"uid": 1000, "gid": 5}), "1000 1000 1000 1000", "5 5 5 5", ""),
        (
            json!({"uid": 1000, "gid": 5, "additionalGids": [7, 9, 4_000_000]}),
            "1000 1000 1000 1000",
            "5 5 5 5",
            "7 9 4000000",
        ),
    ] {
        let mut case = reporting();
        case.set("/process/user", user);
        let status = report(&case)["status"].clone();
        assert_eq!((&status["Uid"], &status["Gid"]), (&json!(uid), &json!(gid)));
        assert_eq!(status["Groups"], json!(groups));
    }
}

fn umask_is_set_or_has_its_default() {
    for (umask, want) in [(None, "0022"), (Some(63), "0077"), (Some(0), "0000")] {
        let mut case = Case::new(&["umask"]);
        if let Some(umask) = umask {
            case.set("/process/user/umask", json!(umask));
        }
        case.write_config();
        let script = format!(
            "umask 0007; exec {} --root {} run {}",
            crate::harness::runtime().display(),
            case.state_root().display(),
            case.id
        );
        let mut command = std::process::Command::new("sh");
        let output = Output::of(command.args(["-c", &script]).current_dir(&case.dir));
        assert_eq!(output.ok().trim(), want);
    }
}

fn limits_are_set() {
    const NAMES: [(&str, &str, u64); 16] = [
        ("RLIMIT_AS", "Max address space", 1 << 40),
        ("RLIMIT_CORE", "Max core file size", 0),
        ("RLIMIT_CPU", "Max cpu time", 3600),
        ("RLIMIT_DATA", "Max data size", 1 << 40),
        ("RLIMIT_FSIZE", "Max file size", 1 << 40),
        ("RLIMIT_LOCKS", "Max file locks", 77),
        ("RLIMIT_MEMLOCK", "Max locked memory", 4096),
        ("RLIMIT_MSGQUEUE", "Max msgqueue size", 4096),
        ("RLIMIT_NICE", "Max nice priority", 0),
        ("RLIMIT_NOFILE", "Max open files", 100),
        ("RLIMIT_NPROC", "Max processes", 500),
        ("RLIMIT_RSS", "Max resident set", 1 << 40),
        ("RLIMIT_RTPRIO", "Max realtime priority", 0),
        ("RLIMIT_RTTIME", "Max realtime timeout", 1_000_000),
        ("RLIMIT_SIGPENDING", "Max pending signals", 50),
        ("RLIMIT_STACK", "Max stack size", 1 << 20),
    ];
    let mut case = reporting();
    let limits: Vec<_> =
        NAMES.iter().map(|(name, _, v)| json!({"type": name, "soft": v, "hard": v})).collect();
    case.set("/process/rlimits", json!(limits));
    let report = report(&case);
    let lines: Vec<_> =
        report["limits"].as_array().expect("limits").iter().filter_map(Value::as_str).collect();
    for (_, name, value) in NAMES {
        let line = lines.iter().find(|line| line.starts_with(name)).expect("a limit");
        let words: Vec<_> = line[name.len()..].split_whitespace().collect();
        assert_eq!(words[..2], [value.to_string(), value.to_string()], "{line}");
    }
}

fn a_limit_above_the_runtimes_own_is_named() {
    let (_, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
        .expect("our limit");
    let mut case = Case::new(&[]);
    let limit = json!({"type": "RLIMIT_NOFILE", "soft": 5, "hard": hard + 1});
    case.set("/process/rlimits", json!([limit]));
    let output = case.create();
    if caps::has_cap(None, caps::CapSet::Effective, caps::Capability::CAP_SYS_RESOURCE)
        .expect("our capabilities")
    {
        output.ok();
    } else {
        let error = output.fails(1, "operation not permitted");
        let ours = std::env::var_os("RUNTIME").is_none();
        assert!(!ours || error.contains("process.rlimits[0]: set RLIMIT_NOFILE"), "{error}");
    }
}

fn oom_score_is_set_or_left_alone() {
    let own = fs::read_to_string("/proc/self/oom_score_adj").expect("our score");
    let mut case = reporting();
    assert_eq!(report(&case)["oom_score_adj"], json!(own.trim()));
    case.set("/process/oomScoreAdj", json!(500));
    assert_eq!(report(&case)["oom_score_adj"], json!("500"));
}

fn oom_score_can_be_lowered() {
    for user in [false, true] {
        let mut case = reporting_in(user);
        case.set("/process/oomScoreAdj", json!(-500));
        assert_eq!(report(&case)["oom_score_adj"], json!("-500"));
    }
}

/// In a user namespace the process itself could not.
fn a_hard_limit_can_be_raised() {
    let resource = nix::sys::resource::Resource::RLIMIT_SIGPENDING;
    let (_, hard) = nix::sys::resource::getrlimit(resource).expect("our limit");
    let limit = json!({"type": "RLIMIT_SIGPENDING", "soft": 5, "hard": hard + 1});
    for user in [false, true] {
        let mut case = reporting_in(user);
        case.set("/process/rlimits", json!([limit]));
        let report = report(&case);
        let lines = report["limits"].as_array().expect("lines").iter().filter_map(Value::as_str);
        let line = lines.clone().find(|line| line.starts_with("Max pending signals"));
        let words: Vec<_> = line.expect("a line").split_whitespace().skip(3).collect();
        assert_eq!(words[..2], ["5".to_string(), (hard + 1).to_string()]);
    }
}

fn reporting_in(user_namespace: bool) -> Case {
    let mut case = reporting();
    if user_namespace {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
        case.namespace("user", Some(json!({"type": "user"})));
        case.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
        crate::namespaces::give_to(&case, 100_000, 100_000);
    }
    case
}

fn signals_have_their_defaults() {
    let case = reporting();
    case.write_config();
    // conmon leaves SIGPIPE ignored, nohup SIGHUP.
    let script = format!(
        "trap '' PIPE HUP USR1; exec {} --root {} run {}",
        crate::harness::runtime().display(),
        case.state_root().display(),
        case.id
    );
    let mut command = std::process::Command::new("sh");
    let output = Output::of(command.args(["-c", &script]).current_dir(&case.dir));
    let report: Value = serde_json::from_str(&output.ok()).expect("a report");
    // The probe itself is a Rust program, which ignores SIGPIPE (13).
    let ignored = report["status"]["SigIgn"].as_str().expect("signals");
    let ignored = u64::from_str_radix(ignored, 16).expect("a number") & !(1 << 12);
    assert_eq!(ignored, 0);
    assert_eq!(report["status"]["SigBlk"], json!("0000000000000000"));
}

fn the_program_is_found_in_the_containers_path() {
    let mut case = Case::new(&[]);
    case.set("/process/args", json!(["probe", "echo", "found"]));
    assert_eq!(case.run().ok(), "found\n");
    case.set("/process/cwd", json!("/bin"));
    case.set("/process/args", json!(["./probe", "echo", "found"]));
    assert_eq!(case.run().ok(), "found\n");
    case.set("/process/env", json!(["PATH=/nonexistent"]));
    case.set("/process/args", json!(["probe", "echo", "found"]));
    case.run().fails(1, "exec: \"probe\": executable file not found in $PATH");
}

fn a_program_that_cannot_be_executed_is_told_at_create() {
    let mut case = Case::new(&[]);
    fs::write(case.rootfs().join("bin/data"), "x").expect("write");
    for (program, want) in [
        ("nosuch", "exec: \"nosuch\": executable file not found in $PATH"),
        ("/nosuch", "exec: \"/nosuch\": stat /nosuch: no such file or directory"),
        ("/bin/data", "exec: \"/bin/data\": permission denied"),
        ("/bin", "exec: \"/bin\": is a directory"),
        ("/bin/probe/x", "not a directory"),
    ] {
        case.set("/process/args", json!([program]));
        let output = case.create();
        let stderr = output.stderr.replace("\\\"", "\"");
        assert_eq!(output.code, 1, "{output:?}");
        assert!(stderr.contains(want), "wanted {want}: {stderr}");
    }
    case.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(case.rootfs().join("bin/probe"), mode).expect("chmod");
    case.set("/process/args", json!(["/bin/probe"]));
    let stderr = case.create().fails(1, "permission denied");
    assert!(stderr.contains("exec:"), "{stderr}");
}

fn standard_streams_belong_to_the_user() {
    let mut case = Case::new(&["write", "/dev/stdout", "again\n"]);
    case.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let text = case.run().ok();
    assert_eq!(text, "again\nok\n");
}

fn the_null_device_is_the_containers_own() {
    let case =
        Case::new(&["stat", "/dev/null", "/proc/self/fd/0", "--", "read-link", "/proc/self/fd/0"]);
    let text = case.run().ok();
    assert!(text.contains("/dev/null c 1:3 0666 0:0"), "{text}");
    assert!(text.ends_with("/dev/null\n"), "{text}");
}

fn the_program_leads_a_session() {
    let case = Case::new(&["cat", "/proc/self/stat"]);
    let text = case.run().ok();
    let fields: Vec<_> = text.rsplit(')').next().expect("fields").split_whitespace().collect();
    // Process group and session: proc_pid_stat(5).
    assert_eq!(fields[2..4], ["1", "1"], "{text}");
}

fn a_session_keyring_of_its_own() {
    let mut case = Case::new(&["cat", "/proc/keys"]);
    case.set("/linux/maskedPaths", json!([]));
    let ring = format!("_ses.{}", case.id);
    let text = case.run().ok();
    assert!(text.contains(&ring), "{text}");
    // The kernel takes its time to forget the first one.
    let mut case = Case::new(&["cat", "/proc/keys"]);
    case.set("/linux/maskedPaths", json!([]));
    let text = case.run_with(&["--no-new-keyring"]).ok();
    assert!(!text.contains(&format!("_ses.{}", case.id)), "{text}");
}

/// Runs the container by a shell with words before and after the command.
fn run_by_shell(case: &Case, before: &str, after: &str) -> Output {
    case.write_config();
    let script = format!(
        "{before} exec {} --root {} run {} {after}",
        crate::harness::runtime().display(),
        case.state_root().display(),
        case.id
    );
    let mut command = std::process::Command::new("sh");
    Output::of(command.args(["-c", &script]).current_dir(&case.dir))
}

fn only_standard_streams_are_open() {
    let case = reporting();
    // As containerd's shim does, leave descriptors open without close-on-exec.
    let output = run_by_shell(&case, "", "3</etc/passwd 4</ 9</dev/null");
    let report: Value = serde_json::from_str(&output.ok()).expect("a report");
    assert_eq!(report["fds"], json!(["0 /dev/null", "1 pipe", "2 pipe"]));
}

fn the_personality_is_set() {
    for (domain, want) in [("LINUX", "00000000\n"), ("LINUX32", "00000008\n")] {
        let mut case = Case::new(&["cat", "/proc/self/personality"]);
        case.set("/linux/personality", json!({"domain": domain}));
        assert_eq!(case.run().ok(), want);
        case.args(&["wait"]);
        case.run_detached();
        assert_eq!(case.exec(&["cat", "/proc/self/personality"]).ok(), want);
    }
}

fn limits_that_are_not_listed_are_the_callers() {
    let mut case = reporting();
    case.set("/process/rlimits", json!([{"type": "RLIMIT_SIGPENDING", "soft": 50, "hard": 60}]));
    let output = run_by_shell(&case, "ulimit -n 277 &&", "");
    let report: Value = serde_json::from_str(&output.ok()).expect("a report");
    let lines: Vec<String> =
        serde_json::from_value(report["limits"].clone()).expect("lines of text");
    for (name, want) in [("Max open files", ["277", "277"]), ("Max pending signals", ["50", "60"])]
    {
        let line = lines.iter().find_map(|line| line.strip_prefix(name)).expect("a limit");
        let words: Vec<_> = line.split_whitespace().take(2).collect();
        assert_eq!(words, want, "{name}");
    }
}
