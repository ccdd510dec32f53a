//! `update`: limits that change while a container runs, all of them or none.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::{Case, host, spawn, wait_until_gone};
use crate::tests;

tests! {
    every_option_reaches_its_file needs [Root],
    a_document_reaches_its_files needs [Root],
    a_document_comes_from_standard_input needs [Root],
    names_of_members_are_taken_in_any_case needs [Root],
    memory_and_swap_go_up_and_down_together needs [Root],
    quota_period_and_burst_go_up_and_down_together needs [Root],
    what_fails_changes_nothing needs [Root] unlike runc "leaves what came before the failure",
    values_that_make_no_sense_are_refused needs [Root] unlike runc "has other words",
    memory_in_use_is_not_taken_away_if_asked_to_check needs [Root]
        unlike runc "does not look on v1",
    device_rules_are_left_alone needs [Root],
    an_idle_container_with_shares_is_idle_no_longer needs [Root]
        unlike runc "leaves it to the kernel",
    a_container_that_is_stopped_or_not_there_is_refused needs [Root],
    a_paused_container_is_updated needs [Root],
    a_lower_limit_of_processes_holds needs [Root] unlike runc "has more threads itself",
    a_container_under_load_is_updated needs [Root],
    kernel_memory_is_passed_over_with_a_warning needs [Root],
    cache_schemas_need_resctrl needs [Root],
}

const MIB: u64 = 1 << 20;

fn file(case: &Case, controller: &str, file: &str) -> PathBuf {
    host::cgroup(controller, &case.cgroup()).join(file)
}

#[track_caller]
fn read(case: &Case, controller: &str, name: &str) -> String {
    let path = file(case, controller, name);
    let text = fs::read_to_string(&path);
    text.unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_string()
}

/// The files that this machine has, in the version it has: controller, file, value.
type Files = &'static [(&'static str, &'static str, &'static str)];

#[track_caller]
fn check(case: &Case, v1: Files, v2: Files) {
    for (controller, name, want) in if host::is_v2() { v2 } else { v1 } {
        assert_eq!(read(case, controller, name), *want, "{name}");
    }
}

#[track_caller]
fn update(case: &Case, options: &[&str]) -> String {
    let words: Vec<_> =
        ["update"].iter().chain(options).copied().chain([case.id.as_str()]).collect();
    let output = case.runtime(&words);
    assert_eq!(output.stdout, "");
    let stderr = output.stderr.clone();
    output.ok();
    stderr
}

#[track_caller]
fn document(case: &Case, resources: &Value) {
    let path = case.dir.join("resources.json");
    fs::write(&path, resources.to_string()).expect("write a document");
    update(case, &["--resources", path.to_str().expect("a path")]);
}

fn every_option_reaches_its_file() {
    let case = Case::running();
    let table: &[(&[&str], Files, Files)] = &[
        (
            &["--memory", "64M", "--memory-reservation", "32m"],
            &[
                ("memory", "memory.limit_in_bytes", "67108864"),
                ("memory", "memory.soft_limit_in_bytes", "33554432"),
            ],
            &[("", "memory.max", "67108864"), ("", "memory.low", "33554432")],
        ),
        (
            &["--memory", "48m", "--memory-swap", "80m"],
            &[
                ("memory", "memory.limit_in_bytes", "50331648"),
                ("memory", "memory.memsw.limit_in_bytes", "83886080"),
            ],
            &[("", "memory.max", "50331648"), ("", "memory.swap.max", "33554432")],
        ),
        (
            &["--memory", "-1"],
            &[("memory", "memory.limit_in_bytes", "9223372036854771712")],
            &[("", "memory.max", "max"), ("", "memory.swap.max", "max")],
        ),
        (&["--cpu-share", "512"], &[("cpu", "cpu.shares", "512")], &[("", "cpu.weight", "59")]),
        (
            &["--cpu-quota", "50000", "--cpu-period", "200000"],
            &[("cpu", "cpu.cfs_quota_us", "50000"), ("cpu", "cpu.cfs_period_us", "200000")],
            &[("", "cpu.max", "50000 200000")],
        ),
        (
            &["--cpu-quota", "60000"],
            &[("cpu", "cpu.cfs_quota_us", "60000"), ("cpu", "cpu.cfs_period_us", "200000")],
            &[("", "cpu.max", "60000 200000")],
        ),
        (
            &["--cpu-burst=10000"],
            &[("cpu", "cpu.cfs_burst_us", "10000")],
            &[("", "cpu.max.burst", "10000")],
        ),
        (&["--cpu-burst", "0"], &[("cpu", "cpu.cfs_burst_us", "0")], &[("", "cpu.max.burst", "0")]),
        (
            &["--cpu-quota", "-1"],
            &[("cpu", "cpu.cfs_quota_us", "-1")],
            &[("", "cpu.max", "max 200000")],
        ),
        (&["--cpu-idle", "1"], &[("cpu", "cpu.idle", "1")], &[("", "cpu.idle", "1")]),
        (&["--cpu-idle", "0"], &[("cpu", "cpu.idle", "0")], &[("", "cpu.idle", "0")]),
        (
            &["--cpuset-cpus", "0", "--cpuset-mems", "0"],
            &[("cpuset", "cpuset.cpus", "0"), ("cpuset", "cpuset.mems", "0")],
            &[("", "cpuset.cpus", "0"), ("", "cpuset.mems", "0")],
        ),
        (&["--pids-limit", "33"], &[("pids", "pids.max", "33")], &[("", "pids.max", "33")]),
        (&["--pids-limit", "0"], &[("pids", "pids.max", "1")], &[("", "pids.max", "1")]),
        (&["--pids-limit", "-1"], &[("pids", "pids.max", "max")], &[("", "pids.max", "max")]),
    ];
    for (options, v1, v2) in table {
        update(&case, options);
        check(&case, v1, v2);
    }
}

fn a_document_reaches_its_files() {
    let case = Case::running();
    document(
        &case,
        &json!({
            "memory": {"limit": 64 * MIB}, "cpu": {"shares": 1024}, "pids": {"limit": 44},
            "blockIO": {}, "unknown": {"a": 1}
        }),
    );
    check(
        &case,
        &[
            ("memory", "memory.limit_in_bytes", "67108864"),
            ("cpu", "cpu.shares", "1024"),
            ("pids", "pids.max", "44"),
        ],
        &[("", "memory.max", "67108864"), ("", "cpu.weight", "100"), ("", "pids.max", "44")],
    );
    // What is not mentioned stays.
    document(&case, &json!({"pids": {}, "cpu": {"shares": 2048}}));
    check(
        &case,
        &[("pids", "pids.max", "44"), ("cpu", "cpu.shares", "2048")],
        &[("", "pids.max", "44"), ("", "cpu.weight", "174")],
    );
}

/// Hands a document to `update` by a pipe.
fn by_pipe(case: &Case, option: &[&str], text: &str) -> i32 {
    let words: Vec<_> =
        ["update"].iter().chain(option).copied().chain([case.id.as_str()]).collect();
    let mut command = case.command(&words);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = spawn(&mut command);
    let mut pipe = child.stdin.take().expect("a pipe");
    // One that finds a mistake in its options may not read.
    let _ = pipe.write_all(text.as_bytes());
    drop(pipe);
    wait_until_gone(i32::try_from(child.id()).expect("a pid"));
    child.wait().expect("wait").code().unwrap_or(-1)
}

fn a_document_comes_from_standard_input() {
    let case = Case::running();
    for (number, option) in
        [&["--resources", "-"][..], &["--resources=-"], &["-r", "-"]].iter().enumerate()
    {
        let limit = 40 + number;
        assert_eq!(by_pipe(&case, option, &json!({"pids": {"limit": limit}}).to_string()), 0);
        assert_eq!(read(&case, "pids", "pids.max"), limit.to_string());
    }
    for text in ["", "{", "[]", "{\"pids\": 1}"] {
        assert_eq!(by_pipe(&case, &["-r", "-"], text), 1, "{text:?}");
    }
    assert_eq!(read(&case, "pids", "pids.max"), "42");
}

fn names_of_members_are_taken_in_any_case() {
    let case = Case::running();
    document(&case, &json!({"CPU": {"Cpus": "0", "Shares": 512}, "Pids": {"Limit": 45}}));
    check(
        &case,
        &[("cpuset", "cpuset.cpus", "0"), ("cpu", "cpu.shares", "512"), ("pids", "pids.max", "45")],
        &[("", "cpuset.cpus", "0"), ("", "cpu.weight", "59"), ("", "pids.max", "45")],
    );
}

fn memory_and_swap_go_up_and_down_together() {
    let mut case = Case::new(&["wait"]);
    let limits = |limit: u64| json!({"memory": {"limit": limit * MIB, "swap": 2 * limit * MIB}});
    case.set("/linux/resources", limits(100));
    case.run_detached();
    for limit in [300, 100, 500, 50, 100] {
        document(&case, &limits(limit));
        let (one, both) = (limit * MIB, 2 * limit * MIB);
        if host::is_v2() {
            assert_eq!(read(&case, "", "memory.max"), one.to_string());
            assert_eq!(read(&case, "", "memory.swap.max"), (both - one).to_string());
        } else {
            assert_eq!(read(&case, "memory", "memory.limit_in_bytes"), one.to_string());
            assert_eq!(read(&case, "memory", "memory.memsw.limit_in_bytes"), both.to_string());
        }
    }
}

fn quota_period_and_burst_go_up_and_down_together() {
    let case = Case::running();
    for (quota, period, burst) in [
        (50_000, 100_000, 10_000),
        (500_000, 1_000_000, 400_000),
        (5_000, 10_000, 1_000),
        (50_000, 10_000, 50_000),
    ] {
        document(&case, &json!({"cpu": {"quota": quota, "period": period, "burst": burst}}));
        if host::is_v2() {
            assert_eq!(read(&case, "", "cpu.max"), format!("{quota} {period}"));
            assert_eq!(read(&case, "", "cpu.max.burst"), burst.to_string());
        } else {
            for (name, want) in [("quota", quota), ("period", period), ("burst", burst)] {
                assert_eq!(read(&case, "cpu", &format!("cpu.cfs_{name}_us")), want.to_string());
            }
        }
    }
}

fn what_fails_changes_nothing() {
    let case = Case::running();
    update(&case, &["--memory", "64m", "--cpu-share", "512", "--pids-limit", "50"]);
    let files: Files = if host::is_v2() {
        &[("", "memory.max", ""), ("", "cpu.weight", ""), ("", "pids.max", "")]
    } else {
        &[
            ("memory", "memory.limit_in_bytes", ""),
            ("cpu", "cpu.shares", ""),
            ("pids", "pids.max", ""),
        ]
    };
    let contents = || files.iter().map(|(c, f, _)| read(&case, c, f)).collect::<Vec<_>>();
    let before = contents();
    let all = ["--memory", "96m", "--cpu-share", "2048", "--pids-limit", "60"];
    for bad in [["--cpuset-cpus", "9999"], ["--cpu-period", "5"], ["--cpuset-mems", "x"]] {
        let words: Vec<_> =
            ["update"].iter().chain(&all).chain(&bad).copied().chain([case.id.as_str()]).collect();
        case.runtime(&words).fails(1, "linux.resources.cpu");
        assert_eq!(contents(), before, "{bad:?}");
    }
}

fn values_that_make_no_sense_are_refused() {
    let case = Case::running();
    for (options, want) in [
        (&["--memory", "x"][..], "invalid value for memory: invalid size: \"x\""),
        (&["--memory", "-5"], "invalid value for memory: "),
        (&["--cpu-quota", "x"], "invalid value for cpu-quota: "),
        (&["--cpu-period", "-1"], "invalid value for cpu-period: "),
        (&["--cpu-share", "1x"], "invalid value for cpu-share: "),
        (&["--cpu-idle", "2"], "linux.resources.cpu.idle: 2"),
        (&["--pids-limit", "many"], "invalid value for pids-limit: "),
        (&["--blkio-weight", "5"], "linux.resources.blockIO.weight: 5"),
        (&["--memory", "64m", "--memory-swap", "32m"], "should be >= memory limit"),
        (&["--nosuch", "1"], "flag provided but not defined: -nosuch"),
        (&["--resources", "/nosuch"], "/nosuch: "),
    ] {
        let words: Vec<_> =
            ["update"].iter().chain(options).copied().chain([case.id.as_str()]).collect();
        case.runtime(&words).fails(1, want);
    }
}

fn memory_in_use_is_not_taken_away_if_asked_to_check() {
    let mut case = Case::new(&["hold", "32"]);
    case.set("/linux/resources", json!({"memory": {"limit": 128 * MIB}}));
    let mut running = case.run_in_background();
    running.line();
    for limits in [json!({"limit": 16 * MIB}), json!({"limit": 16 * MIB, "swap": 17 * MIB})] {
        let mut resources = json!({"memory": limits});
        resources["memory"]["checkBeforeUpdate"] = json!(true);
        let path = case.dir.join("resources.json");
        fs::write(&path, resources.to_string()).expect("write a document");
        let path = path.to_str().expect("a path");
        let output = case.runtime(&["update", "-r", path, &case.id]);
        output.fails(1, "rejecting memory");
        check(
            &case,
            &[("memory", "memory.limit_in_bytes", "134217728")],
            &[("", "memory.max", "134217728")],
        );
    }
    assert_eq!(case.status(), "running");
    case.kill("KILL").ok();
    running.wait();
}

fn device_rules_are_left_alone() {
    let mut case = Case::new(&["wait"]);
    let caps = json!(["CAP_MKNOD"]);
    case.set(
        "/process/capabilities",
        json!({"bounding": caps, "permitted": caps, "effective": caps}),
    );
    case.run_detached();
    // null is allowed, and mem is not.
    let words = [
        "mknod", "/run/a", "c", "1", "3", "--", "open", "/run/a", "rw", "--", "mknod", "/run/b",
        "c", "1", "1", "--", "open", "/run/b", "r",
    ];
    let want = "ok\nok\nok\nEPERM\n";
    assert_eq!(case.exec(&words).ok(), want);
    for rules in [json!([]), json!([{"allow": true}]), json!([{"allow": false}])] {
        document(&case, &json!({"devices": rules, "pids": {"limit": 50}}));
        document(&case, &json!({"pids": {"limit": 51}}));
        case.exec(&["write", "/run/x", ""]).ok();
        let words = ["open", "/run/a", "rw", "--", "open", "/run/b", "r"];
        assert_eq!(case.exec(&words).ok(), "ok\nEPERM\n", "{rules}");
    }
}

fn an_idle_container_with_shares_is_idle_no_longer() {
    let case = Case::running();
    update(&case, &["--cpu-idle", "1"]);
    update(&case, &["--cpu-share", "2048"]);
    check(
        &case,
        &[("cpu", "cpu.idle", "0"), ("cpu", "cpu.shares", "2048")],
        &[("", "cpu.idle", "0"), ("", "cpu.weight", "174")],
    );
    let warning = update(&case, &["--cpu-share", "512", "--cpu-idle", "1"]);
    assert!(warning.contains("unable to apply both"), "{warning}");
    check(&case, &[("cpu", "cpu.idle", "1")], &[("", "cpu.idle", "1")]);
    update(&case, &["--cpu-share", "512", "--cpu-idle", "0"]);
    check(
        &case,
        &[("cpu", "cpu.idle", "0"), ("cpu", "cpu.shares", "512")],
        &[("", "cpu.idle", "0"), ("", "cpu.weight", "59")],
    );
}

fn a_container_that_is_stopped_or_not_there_is_refused() {
    let case = Case::running();
    case.runtime(&["update", "--pids-limit", "5", "nosuch"]).fails(1, "container does not exist");
    let pid = case.pid();
    case.kill("KILL").ok();
    wait_until_gone(pid);
    case.runtime(&["update", "--pids-limit", "5", &case.id]).fails(1, "container not running");
}

fn a_paused_container_is_updated() {
    let case = Case::running();
    case.runtime(&["pause", &case.id]).ok();
    update(&case, &["--pids-limit", "35", "--memory", "64m", "--cpuset-cpus", "0"]);
    assert_eq!(case.status(), "paused");
    case.runtime(&["resume", &case.id]).ok();
    assert_eq!(read(&case, "pids", "pids.max"), "35");
}

fn a_lower_limit_of_processes_holds() {
    let case = Case::running();
    update(&case, &["--pids-limit", "6"]);
    let text = case.exec(&["fork", "20"]).ok();
    assert!(text.starts_with("EAGAIN\n"), "{text}");
}

fn a_container_under_load_is_updated() {
    let case = Case::new(&["fork-for-ever"]);
    case.run_detached();
    for number in 0..20_u32 {
        let (limit, shares) = ((64 + number).to_string() + "m", (512 + number).to_string());
        let options = ["--memory", &limit, "--cpu-share", &shares, "--pids-limit", "100"];
        update(&case, &options);
    }
    let limit = (83 * MIB).to_string();
    let (controller, name) =
        if host::is_v2() { ("", "memory.max") } else { ("memory", "memory.limit_in_bytes") };
    assert_eq!(read(&case, controller, name), limit);
    assert_eq!(case.status(), "running");
}

fn kernel_memory_is_passed_over_with_a_warning() {
    let case = Case::running();
    let warning = "Kernel memory settings are ignored and will be removed";
    for option in ["--kernel-memory", "--kernel-memory-tcp"] {
        let text = update(&case, &[option, "16m"]);
        assert!(text.contains(warning), "{text}");
    }
    let mut case = Case::new(&["echo", "x"]);
    case.set("/linux/resources", json!({"memory": {"kernel": 16 * MIB}}));
    let output = case.run();
    assert!(output.stderr.contains(warning), "{output:?}");
    assert_eq!(output.ok(), "x\n");
}

fn cache_schemas_need_resctrl() {
    let case = Case::running();
    for (option, want) in [
        ("--l3-cache-schema", "Intel RDT/CAT: l3 cache schema is not enabled"),
        ("--mem-bw-schema", "Intel RDT/MBA: memory bandwidth schema is not enabled"),
    ] {
        case.runtime(&["update", option, "x", &case.id]).fails(1, want);
    }
    let mut case = Case::new(&[]);
    case.set("/linux/intelRdt", json!({}));
    case.create().fails(1, "linux.intelRdt: Intel RDT not available");
    assert_eq!(case.leftovers(), Vec::<String>::new());
}
