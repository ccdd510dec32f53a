//! Containers in the background, from their start to their end.

use crate::docker::{Container, IMAGE, OURS, docker};
use crate::harness::{Background, Output, wait_until_gone};
use crate::tests;

tests! {
    detached_containers_leave_logs needs [Docker],
    wait_tells_the_status needs [Docker],
    stop_lets_a_program_end needs [Docker],
    stop_kills_a_program_that_does_not_listen needs [Docker],
    kill_sends_any_signal needs [Docker],
    restart_makes_a_new_process needs [Docker],
    a_restart_policy_restarts needs [Docker],
    removal_by_force_ends_all_processes needs [Docker],
    inspect_tells_facts needs [Docker],
    create_and_start needs [Docker],
    events_tell_of_the_end needs [Docker],
    the_daemon_knows_the_runtime needs [Docker] unlike runc "has another name",
    a_hundred_containers_at_once needs [Docker],
}

/// Runs until a signal comes.
const POLITE: &str =
    "trap 'echo bye; exit 3' TERM; trap 'echo usr1' USR1; echo up; while :; do sleep 0.1; done";

/// Starts it and waits until it listens.
fn polite() -> (Container, Background) {
    let container = Container::new();
    container.start(&[], POLITE);
    let mut logs = container.follow();
    assert_eq!(logs.line(), "up");
    (container, logs)
}

fn detached_containers_leave_logs() {
    let container = Container::new();
    container.start(&[], "echo out; echo err >&2");
    assert_eq!(container.wait(), "0");
    let logs = container.docker(&["logs"]);
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(container.outcome(), "exited 0 false");
}

fn wait_tells_the_status() {
    let container = Container::new();
    container.start(&[], "exit 9");
    assert_eq!(container.wait(), "9");
}

pub fn stop_lets_a_program_end() {
    let (container, logs) = polite();
    let pid = container.pid();
    container.docker(&["stop"]).ok();
    wait_until_gone(pid);
    assert_eq!(container.outcome(), "exited 3 false");
    assert_eq!(logs.end().ok(), "bye\n");
}

fn stop_kills_a_program_that_does_not_listen() {
    let container = Container::new();
    container.start(&[], "trap '' TERM; while :; do sleep 1; done");
    container.docker(&["stop", "--time", "1"]).ok();
    assert_eq!(container.outcome(), "exited 137 false");
}

fn kill_sends_any_signal() {
    let (container, mut logs) = polite();
    for name in ["USR1", "SIGUSR1", "10"] {
        container.docker(&["kill", "--signal", name]).ok();
        assert_eq!(logs.line(), "usr1");
    }
    container.docker(&["kill"]).ok();
    assert_eq!(container.wait(), "137");
    container.docker(&["kill"]).fails(1, "is not running");
}

pub fn restart_makes_a_new_process() {
    let (container, logs) = polite();
    let (pid, address) = (container.pid(), container.inspect(".NetworkSettings.IPAddress"));
    container.docker(&["restart"]).ok();
    assert_ne!(container.pid(), pid);
    assert!(!address.is_empty());
    assert_eq!(container.inspect(".State.Status"), "running");
    logs.kill();
    let mut logs = container.follow();
    assert_eq!(["up", "bye", "up"].map(|_| logs.line()), ["up", "bye", "up"]);
    container.docker(&["stop"]).ok();
    container.docker(&["start"]).ok();
    assert_eq!(container.inspect(".State.Status"), "running");
}

fn a_restart_policy_restarts() {
    let container = Container::new();
    container.start(&["--restart", "on-failure:2"], "exit 4");
    let mut events = container.events("die");
    assert_eq!([0; 3].map(|_| events.line()), ["die 4"; 3]);
    events.kill();
    assert_eq!(container.wait(), "4");
    assert_eq!(container.inspect(".RestartCount"), "2");
}

fn removal_by_force_ends_all_processes() {
    let container = Container::new();
    container.start(&[], "sleep 1000 & sleep 1000 & echo up; wait");
    let mut logs = container.follow();
    assert_eq!(logs.line(), "up");
    let id = container.inspect(".Id");
    let processes = crate::harness::host::processes_in_cgroup(&id);
    assert_eq!(processes.len(), 3, "{processes:?}");
    container.docker(&["rm"]).fails(1, "cannot remove");
    container.docker(&["rm", "--force"]).ok();
    processes.into_iter().for_each(wait_until_gone);
    container.docker(&["inspect"]).fails(1, "No such object");
    logs.kill();
}

fn inspect_tells_facts() {
    let (container, logs) = polite();
    let status = std::fs::read_to_string(format!("/proc/{}/status", container.pid()));
    let status = status.expect("the status of the first process");
    assert!(status.contains("\nNSpid:\t") && status.contains("\t1\n"), "{status}");
    assert_eq!(container.inspect(".HostConfig.Runtime"), OURS);
    assert_eq!(container.inspect(".State.Running"), "true");
    assert_eq!(container.inspect(".State.Error"), "");
    container.docker(&["kill"]).ok();
    assert_eq!(container.inspect(".State.Pid"), "0");
    logs.kill();
}

fn create_and_start() {
    let container = Container::new();
    container.create(&[], "echo hello; exit 6");
    assert_eq!(container.inspect(".State.Status"), "created");
    let seen = container.docker(&["start", "--attach"]);
    assert_eq!((seen.code, seen.stdout.as_str()), (6, "hello\n"), "{seen:#?}");
    let again = container.docker(&["start", "--attach"]);
    assert_eq!((again.code, again.stdout.as_str()), (6, "hello\n"), "{again:#?}");
}

fn events_tell_of_the_end() {
    let container = Container::new();
    container.sh(&[], "exit 5").fails(5, "");
    for (event, wanted) in [("create", "create"), ("start", "start"), ("die", "die 5")] {
        let mut events = container.events(event);
        assert_eq!(events.line(), wanted);
        events.kill();
    }
}

fn the_daemon_knows_the_runtime() {
    let info = docker(&["info", "--format", "{{.DefaultRuntime}} {{.RuncCommit.ID}}"]).ok();
    assert!(info.starts_with("orlop "), "{info}");
    let version = docker(&["version"]).ok();
    assert!(
        version.contains(&format!("orlop:\n  Version:          {}", env!("CARGO_PKG_VERSION"))),
        "{version}"
    );
}

fn a_hundred_containers_at_once() {
    let containers: Vec<_> = (0..100).map(|_| Container::new()).collect();
    let options = ["--detach", "--rm"];
    let starting: Vec<_> = containers
        .iter()
        .map(|container| {
            let script = format!("echo {}; sleep 1000", container.name);
            Background::start(&mut container.command(&options, &["sh", "-c", &script]))
        })
        .collect();
    for start in starting {
        start.end().ok();
    }
    let running =
        docker(&["ps", "--filter", &format!("ancestor={IMAGE}"), "--format", "{{.Names}}"]).ok();
    let running: Vec<_> = running.lines().collect();
    for container in &containers {
        assert!(running.contains(&container.name.as_str()), "{} does not run", container.name);
        assert_eq!(container.follow().line(), container.name);
    }
    let names: Vec<_> = containers.iter().map(|container| container.name.as_str()).collect();
    let removed: Output = docker(&[&["rm", "--force"], &names[..]].concat());
    assert_eq!(removed.ok().lines().count(), 100);
}
