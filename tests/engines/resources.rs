//! What a container may use and what it uses: options of `docker run` and `update`, `stats`,
//! `pause`, `unpause`, `top`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::docker::{Container, OURS, docker};
use crate::harness::host;
use crate::tests;

tests! {
    options_of_run_are_in_force needs [Docker],
    throttles_of_devices_are_in_force needs [Docker],
    devices_are_allowed_one_by_one needs [Docker],
    update_changes_what_is_in_force needs [Docker],
    an_update_that_cannot_be_changes_nothing needs [Docker],
    a_paused_container_stands_still needs [Docker],
    stats_tell_what_is_used needs [Docker],
    top_shows_the_processes needs [Docker],
}

/// Says that it runs, and waits.
const WAITING: &str = "echo up; while :; do sleep 0.1; done";

fn waiting(options: &[&str]) -> Container {
    let container = Container::new();
    container.start(options, WAITING);
    let mut logs = container.follow();
    assert_eq!(logs.line(), "up");
    logs.kill();
    container
}

/// The cgroup of the container with this controller, as the host sees it.
#[track_caller]
fn directory(container: &Container, controller: &str) -> PathBuf {
    let table = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).expect("read");
    let controller = if host::is_v2() { "" } else { controller };
    let line = table.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|name| name == controller).then_some(path)
    });
    host::cgroup(controller, line.expect("a cgroup"))
}

#[track_caller]
fn read(container: &Container, controller: &str, file: &str) -> String {
    let path = directory(container, controller).join(file);
    let text = fs::read_to_string(&path);
    text.unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_string()
}

/// Controller, file, value: of the version that this host has.
type Files = &'static [(&'static str, &'static str, &'static str)];

#[track_caller]
fn check(container: &Container, v1: Files, v2: Files) {
    for (controller, file, want) in if host::is_v2() { v2 } else { v1 } {
        assert_eq!(read(container, controller, file), *want, "{file}");
    }
}

fn options_of_run_are_in_force() {
    let container = waiting(&[
        "--memory=64m",
        "--memory-swap=96m",
        "--memory-reservation=32m",
        "--cpus=0.5",
        "--cpu-shares=512",
        "--cpuset-cpus=0",
        "--pids-limit=40",
    ]);
    check(
        &container,
        &[
            ("memory", "memory.limit_in_bytes", "67108864"),
            ("memory", "memory.memsw.limit_in_bytes", "100663296"),
            ("memory", "memory.soft_limit_in_bytes", "33554432"),
            ("cpu", "cpu.cfs_quota_us", "50000"),
            ("cpu", "cpu.shares", "512"),
            ("cpuset", "cpuset.cpus", "0"),
            ("pids", "pids.max", "40"),
        ],
        &[
            ("", "memory.max", "67108864"),
            ("", "memory.swap.max", "33554432"),
            ("", "memory.low", "33554432"),
            ("", "cpu.max", "50000 100000"),
            ("", "cpu.weight", "59"),
            ("", "cpuset.cpus", "0"),
            ("", "pids.max", "40"),
        ],
    );
}

/// A disk of this machine: its node and its number.
fn disk() -> (String, String) {
    let entries = fs::read_dir("/sys/block").expect("read /sys/block").flatten();
    let mut disks: Vec<_> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let known = ["vd", "sd", "nvme"].iter().any(|prefix| name.starts_with(prefix));
            let number = fs::read_to_string(entry.path().join("dev")).ok()?;
            let node = format!("/dev/{name}");
            (known && Path::new(&node).exists()).then(|| (node, number.trim().to_string()))
        })
        .collect();
    disks.sort();
    disks.into_iter().next().expect("a disk")
}

fn throttles_of_devices_are_in_force() {
    let (node, number) = disk();
    let (read_bps, write_iops) =
        (format!("--device-read-bps={node}:1mb"), format!("--device-write-iops={node}:100"));
    let container = waiting(&[&read_bps, &write_iops]);
    if host::is_v2() {
        let want = format!("{number} rbps=1048576 wbps=max riops=max wiops=100");
        assert_eq!(read(&container, "", "io.max"), want);
        return;
    }
    for (file, rate) in [("read_bps", "1048576"), ("write_iops", "100")] {
        let got = read(&container, "blkio", &format!("blkio.throttle.{file}_device"));
        assert_eq!(got, format!("{number} {rate}"), "{file}");
    }
}

fn devices_are_allowed_one_by_one() {
    // Nobody has a device of this number, which only those learn who may open it.
    let script = "mknod /tmp/x c 1 77; (: < /tmp/x) 2>&1; true";
    let seen = Container::new().sh(&[], script);
    assert!(seen.stdout.contains("Operation not permitted"), "{seen:#?}");
    let seen = Container::new().sh(&["--device-cgroup-rule=c 1:77 r"], script);
    assert!(seen.stdout.contains("No such device or address"), "{seen:#?}");
    let script = "test -c /dev/mine && : < /dev/mine && echo read; (: > /dev/mine) 2>&1; true";
    let seen = Container::new().sh(&["--device=/dev/null:/dev/mine:r"], script);
    // The usual devices are allowed in any case.
    assert!(seen.stdout.starts_with("read\n"), "{seen:#?}");
}

pub fn update_changes_what_is_in_force() {
    let container = waiting(&["--memory=64m", "--memory-swap=96m"]);
    let options = [
        "--memory=256m",
        "--memory-swap=512m",
        "--memory-reservation=48m",
        "--cpus=0.25",
        "--cpu-shares=2048",
        "--cpuset-cpus=0",
        "--pids-limit=50",
    ];
    container.docker(&[&["update"][..], &options].concat()).ok();
    check(
        &container,
        &[
            ("memory", "memory.limit_in_bytes", "268435456"),
            ("memory", "memory.memsw.limit_in_bytes", "536870912"),
            ("memory", "memory.soft_limit_in_bytes", "50331648"),
            ("cpu", "cpu.cfs_quota_us", "25000"),
            ("cpu", "cpu.shares", "2048"),
            ("cpuset", "cpuset.cpus", "0"),
            ("pids", "pids.max", "50"),
        ],
        &[
            ("", "memory.max", "268435456"),
            ("", "memory.swap.max", "268435456"),
            ("", "memory.low", "50331648"),
            ("", "cpu.max", "25000 100000"),
            ("", "cpu.weight", "174"),
            ("", "cpuset.cpus", "0"),
            ("", "pids.max", "50"),
        ],
    );
    container.docker(&["update", "--memory=64m", "--memory-swap=64m"]).ok();
    check(
        &container,
        &[
            ("memory", "memory.limit_in_bytes", "67108864"),
            ("memory", "memory.memsw.limit_in_bytes", "67108864"),
            ("pids", "pids.max", "50"),
        ],
        &[("", "memory.max", "67108864"), ("", "memory.swap.max", "0"), ("", "pids.max", "50")],
    );
    // The rules of devices are those of the start.
    let script = "mknod /tmp/x c 1 77; (: < /tmp/x) 2>&1; : < /dev/null && echo null";
    let words = ["exec", &container.name, "sh", "-c", script];
    let seen = docker(&words);
    assert!(seen.stdout.contains("Operation not permitted"), "{seen:#?}");
    assert!(seen.stdout.ends_with("null\n"), "{seen:#?}");
}

fn an_update_that_cannot_be_changes_nothing() {
    let container = waiting(&["--pids-limit=40"]);
    let seen = container.docker(&["update", "--pids-limit=50", "--cpuset-mems=99"]);
    assert_ne!(seen.code, 0, "{seen:#?}");
    assert_eq!(read(&container, "pids", "pids.max"), "40");
    container.docker(&["update", "--pids-limit=60"]).ok();
    assert_eq!(read(&container, "pids", "pids.max"), "60");
}

pub fn a_paused_container_stands_still() {
    let container = waiting(&[]);
    container.docker(&["pause"]).ok();
    assert_eq!(container.inspect(".State.Status"), "paused");
    let frozen = match host::is_v2() {
        true => read(&container, "", "cgroup.events").contains("frozen 1"),
        false => read(&container, "freezer", "freezer.state") == "FROZEN",
    };
    assert!(frozen);
    let seen = docker(&["exec", &container.name, "true"]);
    assert!(seen.stderr.contains("is paused"), "{seen:#?}");
    container.docker(&["unpause"]).ok();
    assert_eq!(container.inspect(".State.Status"), "running");
    assert_eq!(docker(&["exec", &container.name, "echo", "x"]).ok(), "x\n");
    container.docker(&["pause"]).ok();
    container.docker(&["kill"]).ok();
    assert_eq!(container.wait(), "137");
}

pub fn stats_tell_what_is_used() {
    let container = waiting(&["--memory=64m", "--pids-limit=30"]);
    let format = "{{.PIDs}} {{.MemUsage}} {{.CPUPerc}}";
    let seen = container.docker(&["stats", "--no-stream", "--format", format]).ok();
    let words: Vec<_> = seen.split_whitespace().collect();
    assert!(words[0].parse::<u32>().is_ok_and(|pids| (1..=30).contains(&pids)), "{seen}");
    assert_eq!(words[3], "64MiB", "{seen}");
    assert!(words[4].ends_with('%'), "{seen}");
}

fn top_shows_the_processes() {
    let container = waiting(&[]);
    let pid = container.pid().to_string();
    let seen = docker(&["top", &container.name]).ok();
    let mut lines = seen.lines();
    assert!(lines.next().is_some_and(|head| head.contains("PID")), "{seen}");
    assert!(lines.any(|line| line.split_whitespace().nth(1) == Some(&pid)), "{seen}");
    let seen = docker(&["top", &container.name, "-o", "pid,comm"]).ok();
    assert!(seen.lines().any(|line| line.split_whitespace().next() == Some(&pid)), "{seen}");
    assert_eq!(container.inspect(".HostConfig.Runtime"), OURS);
}
