//! Podman's containers from start to end.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

use crate::harness::{Background, Output, host, spawn, wait_until_gone};
use crate::podman::{Container, command, podman};
use crate::sandbox::DIRECTORY;
use crate::tests;

tests! {
    detached_containers_leave_logs needs [Docker, Podman],
    a_person_attaches needs [Docker, Podman],
    stop_and_kill needs [Docker, Podman],
    restart_makes_a_new_process needs [Docker, Podman],
    restart_policies needs [Docker, Podman],
    containers_outlive_the_client needs [Docker, Podman],
    pause_and_update needs [Docker, Podman],
    top_and_stats needs [Docker, Podman],
    copies needs [Docker, Podman],
    health_checks needs [Docker, Podman],
    want_of_memory_is_told needs [Docker, Podman],
    a_hundred_containers_at_once needs [Docker, Podman],
}

fn detached_containers_leave_logs() {
    let container = Container::new();
    container.start(&[], "echo out; echo err >&2; exit 9");
    assert_eq!(container.wait(), "9");
    let logs = container.podman(&["logs"]);
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(container.inspect(".State.Status"), "exited");
}

/// The status of `attach` itself is the container's only if that has ended already.
fn a_person_attaches() {
    let attached = |container: Container| {
        container.start(&["--interactive"], "read line; echo got $line; exit 4");
        let mut attach = command(&["attach", &container.name]);
        let mut attach = spawn(attach.stdin(Stdio::piped()));
        let mut stdin = attach.stdin.take().expect("a pipe");
        stdin.write_all(b"a line\n").expect("write a line");
        wait_until_gone(i32::try_from(attach.id()).expect("a pid"));
        let output = attach.wait_with_output().expect("wait for podman");
        let text = String::from_utf8_lossy(&output.stdout).trim().to_string();
        (container.wait(), text)
    };
    let seen = attached(Container::new());
    assert_eq!(seen, ("4".to_string(), "got a line".to_string()));
    assert!(Container::reference().is_none_or(|runc| attached(runc) == seen), "{seen:?}");
}

/// Starts a program that listens to signals, and waits until it does.
fn polite() -> (Container, Background) {
    let container = Container::new();
    container.start(&[], "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.1; done");
    let mut logs = container.follow();
    assert_eq!(logs.line(), "up");
    (container, logs)
}

pub fn stop_and_kill() {
    let (container, logs) = polite();
    let pid = container.inspect(".State.Pid").parse().expect("a pid");
    container.podman(&["stop"]).ok();
    wait_until_gone(pid);
    assert_eq!(container.inspect(".State.ExitCode"), "3");
    logs.kill();
    let (container, logs) = polite();
    container.podman(&["kill"]).ok();
    assert_eq!(container.wait(), "137");
    logs.kill();
    let container = Container::new();
    container.start(&[], "trap '' TERM; while :; do sleep 1; done");
    container.podman(&["stop", "--time", "1"]).ok();
    assert_eq!(container.inspect(".State.ExitCode"), "137");
}

pub fn restart_makes_a_new_process() {
    let (container, logs) = polite();
    let pid = container.inspect(".State.Pid");
    container.podman(&["restart"]).ok();
    assert_ne!(container.inspect(".State.Pid"), pid);
    assert_eq!(container.inspect(".State.Status"), "running");
    logs.kill();
}

/// A container that fails is started twice more, by what conmon calls at its end.
fn restart_policies() {
    let fifo = format!("{DIRECTORY}/podman-restarts");
    mkfifo(fifo.as_str(), Mode::S_IRWXU).expect("make a pipe");
    // Held open, that there is no end between two containers.
    let held = OpenOptions::new().read(true).write(true).open(&fifo).expect("open a pipe");
    let container = Container::new();
    let options = ["--restart", "on-failure:2", "--volume", &format!("{fifo}:/told")];
    container.start(&options, "echo started > /told; exit 9");
    let told = Output::of(Command::new("head").args(["-n", "3", &fifo])).ok();
    assert_eq!(told, "started\nstarted\nstarted\n");
    drop(held);
    assert_eq!(container.wait(), "9");
    assert_eq!(container.inspect(".RestartCount"), "2");
}

/// Podman has no daemon: its client may be killed.
fn containers_outlive_the_client() {
    let container = Container::new();
    let script = "trap 'exit 5' TERM; echo up; while :; do sleep 0.1; done";
    let mut run = container.command("run", &[], &["sh", "-c", script]);
    let mut run = Background::start(&mut run);
    assert_eq!(run.line(), "up");
    kill(Pid::from_raw(run.pid()), Signal::SIGKILL).expect("kill podman");
    run.wait();
    assert_eq!(container.inspect(".State.Status"), "running");
    assert_eq!(container.exec(&[], &["echo", "in"]).ok(), "in\n");
    container.podman(&["stop"]).ok();
    assert_eq!(container.inspect(".State.ExitCode"), "5");
}

pub fn pause_and_update() {
    let container = Container::new();
    container.start(&[], "sleep 1000");
    container.podman(&["pause"]).ok();
    assert_eq!(container.inspect(".State.Status"), "paused");
    container.podman(&["unpause"]).ok();
    assert_eq!(container.inspect(".State.Status"), "running");
    podman(&["update", "--memory", "100m", &container.name]).ok();
    let directory = "/sys/fs/cgroup";
    let limit = format!("cat {directory}/memory/memory.limit_in_bytes {directory}/memory.max");
    let seen = container.exec(&[], &["sh", "-c", &format!("{limit} 2>/dev/null")]);
    assert_eq!(seen.stdout, "104857600\n", "{seen:#?}");
}

pub fn top_and_stats() {
    let container = Container::new();
    container.start(&[], "echo up; sleep 1000 & wait");
    let mut logs = container.follow();
    assert_eq!(logs.line(), "up");
    logs.kill();
    let seen = podman(&["top", &container.name, "pid", "args"]).ok();
    assert!(seen.lines().any(|line| line.starts_with("1 ")), "{seen}");
    let format = "{{.Name}} {{.PIDs}}";
    let seen = podman(&["stats", "--no-stream", "--format", format, &container.name]).ok();
    assert!(seen.starts_with(&format!("{} ", container.name)), "{seen}");
}

fn copies() {
    let container = Container::new();
    container.start(&[], "sleep 1000");
    let (from, back) = (format!("{DIRECTORY}/image/etc/group"), format!("{DIRECTORY}/copied"));
    let inside = format!("{}:/tmp/group", container.name);
    podman(&["cp", &from, &inside]).ok();
    let seen = container.exec(&[], &["cat", "/tmp/group"]).ok();
    podman(&["cp", &inside, &back]).ok();
    let [first, last] = [from, back].map(|path| std::fs::read_to_string(path).expect("read"));
    assert!(seen == first && seen == last, "{seen}");
}

fn health_checks() {
    let container = Container::new();
    let check = ["--health-cmd", "test -e /well", "--health-interval", "disable"];
    container.start(&check, "sleep 1000");
    container.podman(&["healthcheck", "run"]).fails(1, "");
    container.exec(&[], &["touch", "/well"]).ok();
    container.podman(&["healthcheck", "run"]).ok();
}

/// conmon watches the cgroup; on a hybrid host it sees nothing there.
fn want_of_memory_is_told() {
    let told = |container: Container| {
        let limits = ["--memory", "16m", "--memory-swap", "16m"];
        let seen = container.run(&limits, &["sh", "-c", "exec tail -n 1 /dev/zero"]);
        assert_eq!(seen.code, 137, "{seen:#?}");
        container.inspect(".State.OOMKilled")
    };
    let seen = told(Container::new());
    assert!(!host::is_v2() || seen == "true", "{seen}");
    assert!(Container::reference().is_none_or(|runc| told(runc) == seen), "{seen}");
}

fn a_hundred_containers_at_once() {
    let containers: Vec<_> = (0..100).map(|_| Container::new()).collect();
    let script = "echo up; sleep 1000";
    let starting: Vec<_> = containers
        .iter()
        .map(|container| {
            let mut start = container.command("run", &["--detach"], &["sh", "-c", script]);
            Background::start(&mut start)
        })
        .collect();
    for start in starting {
        start.end().ok();
    }
    let running = Output::of(&mut command(&["ps", "--format", "{{.Names}}"])).ok();
    for container in &containers {
        assert!(running.lines().any(|name| name == container.name), "{}", container.name);
    }
}
