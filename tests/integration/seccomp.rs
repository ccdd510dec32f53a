//! Filters for system calls, observed by who makes the calls, traces them or answers for them.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{Case, Output};
use crate::tests;

tests! {
    a_call_gets_the_error_of_its_rule_or_the_default needs [Root],
    conditions_on_arguments_decide needs [Root],
    a_call_that_nobody_knew_does_not_exist needs [Root],
    the_filter_is_in_force_without_setting_no_new_privs needs [Root],
    killing_and_trapping_end_the_program_with_sigsys needs [Root],
    logging_lets_the_call_pass needs [Root],
    logging_tells_the_log needs [Root, KernelLog],
    a_tracer_is_told_the_number_of_the_rule needs [Root],
    calls_of_32_bit_programs_have_rules_of_their_own needs [Root, Calls32],
    a_trace_without_a_tracer_is_no_such_call needs [Root],
    profiles_of_engines_are_in_force needs [Root],
    the_strict_profile_of_runtime_tools_passes needs [Root],
    few_calls_are_needed_after_the_filter needs [Root]
        unlike runc "needs many more",
    capabilities_are_dropped_behind_the_filter needs [Root],
    hooks_before_the_program_run_behind_the_filter needs [Root],
    flags_are_taken_and_unknown_ones_refused needs [Root],
    exec_is_behind_the_filter_of_the_container needs [Root],
    an_unknown_name_is_an_error_if_asked_for needs [Root]
        unlike runc "does not know the annotation",
    a_profile_that_kills_the_start_is_named needs [Root]
        unlike runc "says less",
    a_profile_that_is_too_large_is_refused needs [Root]
        unlike runc "says that the argument is invalid",
    explain_names_rules needs [Root]
        unlike runc "has no such command",
}

/// A container that tries calls under a profile which allows the rest.
pub fn allowing(words: &[&str], rules: Value) -> Case {
    filtered(words, json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))
}

fn filtered(words: &[&str], profile: Value) -> Case {
    let mut case = Case::new(words);
    case.set("/linux/seccomp", profile);
    case
}

pub fn errno(names: &[&str], number: u32) -> Value {
    json!({"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": number})
}

fn profile(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file);
    let text = fs::read_to_string(path).expect("read a profile");
    let tree: Value = serde_json::from_str(&text).expect("a profile");
    tree.pointer("/linux/seccomp").cloned().unwrap_or(tree)
}

pub fn lines(output: Output) -> Vec<String> {
    output.ok().lines().map(str::to_string).collect()
}

fn a_call_gets_the_error_of_its_rule_or_the_default() {
    let rules =
        json!([errno(&["mkdir", "mkdirat"], 99), {"names": ["umask"], "action": "SCMP_ACT_ERRNO"}]);
    let case = allowing(&["make-dir", "/tmp/x", "--", "syscall", "umask", "0"], rules);
    assert_eq!(lines(case.run()), ["EADDRNOTAVAIL", "EPERM"]);
}

fn conditions_on_arguments_decide() {
    let condition = |op: &str, value: u64| json!({"index": 0, "op": op, "value": value});
    let below = 0xffff_ffff_u64;
    for (op, value, right, wrong) in [
        ("SCMP_CMP_EQ", 5, vec![5], vec![4, 6, 5 + (1 << 32)]),
        ("SCMP_CMP_NE", 5, vec![4, 6, 5 + (1 << 32)], vec![5]),
        ("SCMP_CMP_GT", below, vec![below + 1, u64::MAX], vec![0, below]),
        ("SCMP_CMP_GE", below, vec![below, below + 1], vec![0, below - 1]),
        ("SCMP_CMP_LT", below + 1, vec![0, below], vec![below + 1, u64::MAX]),
        ("SCMP_CMP_LE", below, vec![0, below], vec![below + 1, u64::MAX]),
    ] {
        let rule = json!({"names": ["sched_get_priority_max"], "action": "SCMP_ACT_ERRNO",
            "errnoRet": 7, "args": [condition(op, value)]});
        let mut words = Vec::new();
        let values: Vec<_> = right.iter().chain(&wrong).map(u64::to_string).collect();
        for value in &values {
            words.extend(["syscall", "sched_get_priority_max", value, "--"]);
        }
        let got = lines(allowing(&words, json!([rule])).run());
        let hit: Vec<_> = got.iter().map(|line| line == "E2BIG").collect();
        let want: Vec<_> = right.iter().map(|_| true).chain(wrong.iter().map(|_| false)).collect();
        assert_eq!(hit, want, "{op} {value}: {got:?}");
    }
    let rule = json!({"names": ["sched_get_priority_max"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7,
        "args": [{"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 12, "valueTwo": 8}]});
    let words =
        ["syscall", "sched_get_priority_max", "9", "--", "syscall", "sched_get_priority_max", "13"];
    assert_eq!(lines(allowing(&words, json!([rule])).run()), ["E2BIG", "EINVAL"]);
}

fn a_call_that_nobody_knew_does_not_exist() {
    let words = ["syscall", "1000", "--", "syscall", "getppid"];
    let mut profile = profile("configs/docker28-default.json");
    let rules = profile["syscalls"].as_array_mut().expect("rules");
    for rule in rules.iter_mut() {
        rule["names"].as_array_mut().expect("names").retain(|name| name != "getppid");
    }
    assert_eq!(lines(filtered(&words, profile).run()), ["ENOSYS", "EPERM"]);
}

fn the_filter_is_in_force_without_setting_no_new_privs() {
    for (asked, want) in [(false, "0"), (true, "1")] {
        let mut case = allowing(&["report"], json!([errno(&["mkdir"], 1)]));
        case.set("/process/noNewPrivileges", json!(asked));
        let report: Value = serde_json::from_str(&case.run().ok()).expect("a report");
        assert_eq!(report["status"]["Seccomp"], "2");
        assert_eq!(report["status"]["NoNewPrivs"], want);
    }
}

fn killing_and_trapping_end_the_program_with_sigsys() {
    for action in ["KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP"] {
        let rule = json!({"names": ["umask"], "action": format!("SCMP_ACT_{action}")});
        let case = allowing(&["syscall", "umask", "0"], json!([rule]));
        let output = case.run();
        assert_eq!(output.code, 128 + 31, "{action}: {output:?}");
    }
}

fn logging() -> Case {
    let rule = json!({"names": ["umask"], "action": "SCMP_ACT_LOG"});
    allowing(&["umask"], json!([rule]))
}

fn logging_lets_the_call_pass() {
    assert_eq!(lines(logging().run()), ["0022"]);
}

fn logging_tells_the_log() {
    let case = logging();
    let mut log = fs::OpenOptions::new();
    let mut log = log.read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg").expect("open");
    log.seek(SeekFrom::End(0)).expect("go to the end of the log");
    let wanted = format!("syscall={} ", libc::SYS_umask);
    let told = |line: &str| {
        line.contains("type=1326") && line.contains("comm=\"probe\"") && line.contains(&wanted)
    };
    let deadline = Instant::now() + crate::harness::DEADLINE;
    // The kernel writes few lines at a time: somebody else may have had their share.
    while Instant::now() < deadline {
        case.run().ok();
        let mut record = vec![0; 1 << 13];
        while let Ok(length) = log.read(&mut record) {
            if told(&String::from_utf8_lossy(&record[..length])) {
                return;
            }
        }
    }
    panic!("the log says nothing");
}

fn a_tracer_is_told_the_number_of_the_rule() {
    let rule = json!({"names": ["umask"], "action": "SCMP_ACT_TRACE", "errnoRet": 1234});
    let case = allowing(&["traced", "umask"], json!([rule]));
    assert_eq!(lines(case.run()), ["asked with 1234", "ended with 0"]);
}

/// getppid(2) has another number there.
fn calls_of_32_bit_programs_have_rules_of_their_own() {
    let words = ["syscall32", "64", "--", "syscall", "getppid"];
    let profile = |architectures: Value, names: &[&str]| {
        filtered(
            &words,
            json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": architectures,
            "syscalls": [errno(names, 99)]}),
        )
    };
    let both = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
    assert_eq!(lines(profile(both.clone(), &["getppid"]).run()), ["-99", "EADDRNOTAVAIL"]);
    assert_eq!(lines(profile(both, &["umask"]).run()), ["0", "ok"]);
    // What is not listed is no way around the filter.
    let killed = profile(json!(["SCMP_ARCH_X86_64"]), &["umask"]).run();
    assert_eq!((killed.code, killed.stdout.as_str()), (128 + 31, ""), "{killed:?}");
}

fn a_trace_without_a_tracer_is_no_such_call() {
    let rule = json!({"names": ["umask"], "action": "SCMP_ACT_TRACE", "errnoRet": 5});
    let case = allowing(&["syscall", "umask", "0"], json!([rule]));
    assert_eq!(lines(case.run()), ["ENOSYS"]);
}

fn profiles_of_engines_are_in_force() {
    for name in
        ["docker28-default", "docker20-default", "k8s-ctrd21-container-default", "podman58-default"]
    {
        for no_new_privileges in [false, true] {
            let words = ["report", "--", "syscall", "kexec_load", "0", "0", "0", "0"];
            let mut case = filtered(&words, profile(&format!("configs/{name}.json")));
            case.set("/process/noNewPrivileges", json!(no_new_privileges));
            let text = case.run().ok();
            assert!(text.contains("\"Seccomp\": \"2\""), "{name}: {text}");
            assert!(text.ends_with("EPERM\n") || text.ends_with("ENOSYS\n"), "{name}: {text}");
        }
    }
}

fn the_strict_profile_of_runtime_tools_passes() {
    for no_new_privileges in [false, true] {
        for user in [0, 1000] {
            let mut case = filtered(&["report"], profile("seccomp/runtime-tools.json"));
            case.set("/process/noNewPrivileges", json!(no_new_privileges));
            case.set("/process/user", json!({"uid": user, "gid": user}));
            assert!(case.run().ok().contains("\"Seccomp\": \"2\""));
        }
    }
}

/// What the documentation promises: these calls, and those of the program itself.
fn few_calls_are_needed_after_the_filter() {
    // The probe exits at once, but its C library wants these before.
    let program = [
        "arch_prctl",
        "brk",
        "mmap",
        "munmap",
        "mprotect",
        "set_tid_address",
        "set_robust_list",
        "rseq",
        "prlimit64",
        "readlink",
        "readlinkat",
        "getrandom",
        "poll",
        "rt_sigaction",
        "rt_sigprocmask",
        "sigaltstack",
        "sched_getaffinity",
        "gettid",
        "futex",
        "exit_group",
        "uname",
        "openat",
        "fstat",
        "newfstatat",
    ];
    for (no_new_privileges, calls) in [
        (true, vec!["execve", "read", "write", "close"]),
        (false, vec!["execve", "read", "write", "close", "capset"]),
    ] {
        let names: Vec<_> = program.iter().copied().chain(calls).collect();
        let rule = json!({"names": names, "action": "SCMP_ACT_ALLOW"});
        let mut case = filtered(
            &["exit", "7"],
            json!({"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [rule]}),
        );
        case.set("/process/noNewPrivileges", json!(no_new_privileges));
        case.set("/process/user", json!({"uid": 1000, "gid": 1000}));
        let output = case.run();
        assert_eq!(output.code, 7, "{no_new_privileges}: {output:?}");
    }
}

fn capabilities_are_dropped_behind_the_filter() {
    let set = json!(["CAP_CHOWN", "CAP_KILL"]);
    for user in [0, 1000] {
        let mut case = allowing(&["report"], json!([errno(&["mkdir"], 1)]));
        let capabilities = json!({"bounding": set, "permitted": set, "effective": set});
        case.set("/process/capabilities", capabilities);
        case.set("/process/user", json!({"uid": user, "gid": user}));
        let filtered: Value = serde_json::from_str(&case.run().ok()).expect("a report");
        case.remove("/linux/seccomp");
        let plain: Value = serde_json::from_str(&case.run().ok()).expect("a report");
        for name in ["CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb"] {
            assert_eq!(filtered["status"][name], plain["status"][name], "{name} of {user}");
        }
    }
}

fn hooks_before_the_program_run_behind_the_filter() {
    let mut case = allowing(&["cat", "/tmp/hook"], json!([errno(&["umask"], 99)]));
    let args = json!(["probe", "write", "/tmp/hook", "was here"]);
    let hook = json!({"path": "/bin/probe", "args": args});
    case.set("/hooks", json!({"startContainer": [hook]}));
    assert!(case.run().ok().contains("was here"));
}

fn flags_are_taken_and_unknown_ones_refused() {
    let all = ["TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"];
    let all = all.map(|flag| format!("SECCOMP_FILTER_FLAG_{flag}"));
    // One thread has nothing to synchronise, and without a listener nobody waits.
    for (flags, bits) in [(Value::Null, 4), (json!([]), 0), (json!(all), 2 | 4)] {
        let mut case = allowing(&["echo", "x"], json!([errno(&["mkdir"], 1)]));
        case.set("/linux/seccomp/flags", flags);
        case.write_config();
        let output = case.runtime(&["--debug", "run", &case.id]);
        let told = output.stderr.contains(&format!("seccomp filter flags: {bits}"));
        assert!(told && output.code == 0, "{bits}: {output:?}");
    }
    let mut case = allowing(&["echo", "x"], json!([]));
    case.set("/linux/seccomp/flags", json!(["SECCOMP_FILTER_FLAG_FOO"]));
    case.create().fails(1, "SECCOMP_FILTER_FLAG_FOO");
}

fn exec_is_behind_the_filter_of_the_container() {
    for no_new_privileges in [false, true] {
        let mut case = allowing(&["wait"], json!([errno(&["mkdir", "mkdirat"], 111)]));
        case.set("/process/noNewPrivileges", json!(no_new_privileges));
        case.run_detached();
        for options in [&[][..], &["--user", "1000:1000"]] {
            let words = ["make-dir", "/tmp/x", "--", "report"];
            let text = case.exec_with(options, &words).ok();
            let (answer, report) = text.split_once('\n').expect("two answers");
            assert_eq!(answer, "ECONNREFUSED", "{options:?}");
            let report: Value = serde_json::from_str(report).expect("a report");
            assert_eq!(report["status"]["Seccomp"], "2", "{options:?}");
            assert_eq!(
                report["status"]["NoNewPrivs"],
                json!(u8::from(no_new_privileges).to_string())
            );
        }
    }
}

fn an_unknown_name_is_an_error_if_asked_for() {
    let mut case = allowing(&["echo", "x"], json!([errno(&["mkdir", "nosuchcall"], 1)]));
    case.run().ok();
    case.set("/annotations", json!({"run.oci.seccomp_fail_unknown_syscall": "1"}));
    case.create().fails(1, "linux.seccomp.syscalls[0].names[1]: \"nosuchcall\" is not known");
}

fn a_profile_that_kills_the_start_is_named() {
    let mut case = filtered(&["echo", "x"], json!({"defaultAction": "SCMP_ACT_KILL"}));
    case.set("/process/noNewPrivileges", json!(true));
    case.create().fails(1, "killed by SIGSYS: linux.seccomp forbids a call");
    case.end();
}

fn a_profile_that_is_too_large_is_refused() {
    let rule = |value: u32| {
        let condition = json!({"index": 0, "value": 2 * value, "op": "SCMP_CMP_EQ"});
        json!({"names": ["umask"], "action": "SCMP_ACT_LOG", "args": [condition]})
    };
    let case = allowing(&["echo", "x"], (0..5000).map(rule).collect());
    case.create().fails(1, "linux.seccomp: the profile needs more than the 4096 instructions");
    assert!(case.leftovers().is_empty());
}

fn explain_names_rules() {
    let case = filtered(&[], profile("configs/docker28-default.json"));
    case.write_config();
    let bundle = case.dir.display().to_string();
    let text = case.runtime(&["seccomp", "explain", &bundle, "clone3", "personality"]).ok();
    assert!(text.contains("errno 38 (ENOSYS)  [linux.seccomp.syscalls["), "{text}");
    assert!(text.contains("allow if arg0 == 0x20008"), "{text}");
    let json = case.runtime(&["seccomp", "--json", "explain", &bundle, "read"]).ok();
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json[0]["decisions"][0]["action"], "allow");
    case.runtime(&["seccomp", "explain", &bundle, "nosuchcall"]).fails(1, "nosuchcall");
}
