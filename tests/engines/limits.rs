//! Limits, as the container reads them in its cgroup, and what happens at them.

use crate::docker::{Container, compared_sh};
use crate::harness::host;
use crate::tests;

tests! {
    limits_are_in_the_cgroup needs [Docker],
    a_fork_beyond_the_limit_fails needs [Docker],
    want_of_memory_ends_the_container needs [Docker],
    want_of_memory_is_told needs [Docker],
    the_cgroup_is_read_only needs [Docker],
}

pub fn limits_are_in_the_cgroup() {
    let options = [
        "--memory",
        "32m",
        "--memory-swap",
        "64m",
        "--memory-reservation",
        "16m",
        "--cpus",
        "0.5",
        "--cpuset-cpus",
        "0",
        "--pids-limit",
        "20",
    ];
    let (files, wanted) = if host::is_v2() {
        let files = "memory.max memory.swap.max memory.low cpu.max cpuset.cpus pids.max";
        (files, "33554432\n33554432\n16777216\n50000 100000\n0\n20\n")
    } else {
        let files = "memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes \
            memory/memory.soft_limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us \
            cpuset/cpuset.cpus pids/pids.max";
        (files, "33554432\n67108864\n16777216\n50000\n100000\n0\n20\n")
    };
    let script = format!("cd /sys/fs/cgroup; cat {files}");
    assert_eq!(compared_sh(&options, &script).ok(), wanted);
    let (file, wanted) =
        if host::is_v2() { ("cpu.weight", None) } else { ("cpu/cpu.shares", Some("300\n")) };
    let shares = compared_sh(&["--cpu-shares", "300"], &format!("cat /sys/fs/cgroup/{file}")).ok();
    assert!(wanted.is_none_or(|wanted| shares == wanted), "{shares}");
}

fn a_fork_beyond_the_limit_fails() {
    let script = "for i in 1 2 3 4 5 6; do sleep 0.1 & done; wait";
    let seen = compared_sh(&["--pids-limit", "4"], script);
    assert!(seen.code != 0 && seen.stderr.contains("can't fork"), "{seen:#?}");
    compared_sh(&["--pids-limit", "-1"], script).ok();
}

/// Needs more than these options allow, without swap.
const GREEDY: &str = "dd if=/dev/zero of=/dev/null bs=200M";
const LITTLE: [&str; 4] = ["--memory", "20m", "--memory-swap", "20m"];

fn want_of_memory_ends_the_container() {
    let container = Container::new();
    let seen = container.sh(&LITTLE, &format!("exec {GREEDY}"));
    assert_eq!(seen.code, 137, "{seen:#?}");
    assert!(container.outcome().starts_with("exited 137 "), "{}", container.outcome());
}

/// The container goes on, and the program decides what the death of its child means.
pub fn want_of_memory_is_told() {
    let container = Container::new();
    let mut events = container.events("oom");
    let rest = "trap 'exit 4' TERM; while :; do sleep 0.1; done";
    container.start(&LITTLE, &format!("{GREEDY}; echo $?; {rest}"));
    assert_eq!(container.follow().line(), "137");
    assert_eq!(events.line(), "oom");
    events.kill();
    container.docker(&["stop"]).ok();
    assert_eq!(container.outcome(), "exited 4 true");
}

fn the_cgroup_is_read_only() {
    let file = if host::is_v2() { "pids.max" } else { "pids/pids.max" };
    let seen = compared_sh(&[], &format!("(echo 5 > /sys/fs/cgroup/{file}) 2>&1"));
    assert!(seen.code != 0 && seen.stdout.contains("Read-only file system"), "{seen:#?}");
}
