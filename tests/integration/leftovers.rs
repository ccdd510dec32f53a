//! Nothing is ever half made: after many cycles, and after a runtime that was killed anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use serde_json::json;

use crate::harness::{Background, Case, host, spawn, wait_until_gone};
use crate::tests;

tests! {
    three_hundred_cycles_leave_the_host_as_it_was needs [Root],
    a_runtime_killed_during_a_hook_leaves_nothing_that_delete_cannot_remove needs [Root]
        unlike runc "leaves its init behind",
    a_runtime_killed_at_any_system_call_leaves_nothing_that_delete_cannot_remove
        needs [Root, Strace] unlike runc "has other system calls",
    a_runtime_killed_in_the_foreground_leaves_a_container_to_delete needs [Root],
    an_init_killed_before_start_is_stopped_and_can_be_deleted needs [Root],
    delete_of_a_half_made_directory needs [Root] unlike runc "has other files",
}

/// Everything on this machine that a container could leave.
#[derive(Debug, PartialEq, Eq)]
struct Snapshot {
    mounts: BTreeSet<String>,
    cgroups: BTreeSet<String>,
    processes: BTreeSet<String>,
}

impl Snapshot {
    fn of(part: &str) -> Self {
        let mentions = |text: &String| text.contains(part);
        let cgroups = host::hierarchies().into_iter().flat_map(|hierarchy| {
            let entries =
                fs::read_dir(hierarchy.join("orlop-test")).into_iter().flatten().flatten();
            entries.map(|entry| entry.path().display().to_string()).collect::<Vec<_>>()
        });
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            Some(format!("{}: {}", entry.path().display(), String::from_utf8_lossy(&line)))
        });
        Self {
            mounts: host::mount_table().into_iter().filter(mentions).collect(),
            cgroups: cgroups.filter(mentions).collect(),
            processes: processes.filter(mentions).collect(),
        }
    }
}

fn three_hundred_cycles_leave_the_host_as_it_was() {
    let case = Case::new(&[]);
    let before = Snapshot::of(&case.id);
    for _ in 0..300 {
        case.create().ok();
        case.start().ok();
        case.wait_for_end();
        case.delete().ok();
    }
    assert_eq!(Snapshot::of(&case.id), before);
    assert_eq!(fs::read_dir(case.state_root()).expect("read").count(), 0);
}

/// Waits for the end of what a killed runtime left, and deletes the rest. Only what it had
/// finished, a container that waits to be started, does not end by itself.
#[track_caller]
fn delete_by_force(case: &Case, why: &str) {
    let state = case.runtime(&["state", &case.id]);
    if !state.stdout.contains("\"created\"") {
        for pid in host::processes_in_cgroup(&case.cgroup()) {
            wait_until_gone(pid);
        }
    }
    let output = case.runtime(&["delete", "--force", &case.id]);
    assert_eq!(output.code, 0, "{why}: {output:?}");
    assert_eq!(case.leftovers(), Vec::<String>::new(), "{why}");
}

fn a_runtime_killed_during_a_hook_leaves_nothing_that_delete_cannot_remove() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let mut case = Case::new(&[]);
        let fifo = case.dir.join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("fifo");
        // It says who it is and goes on for ever.
        let line = format!("echo $$ > {}; exec sleep 1000", fifo.display());
        case.set("/hooks", json!({kind: [{"path": "/bin/sh", "args": ["sh", "-c", line]}]}));
        let create = case.create_in_background();
        let hook = fs::read_to_string(&fifo).expect("read").trim().parse().expect("a pid");
        create.kill();
        // The hook is nobody's now; what it belonged to is gone.
        delete_by_force(&case, kind);
        let hook = nix::unistd::Pid::from_raw(hook);
        nix::sys::signal::kill(hook, nix::sys::signal::Signal::SIGKILL).expect("kill");
    }
}

/// Runs `create` under strace, which writes to `output`.
fn traced_create(case: &Case, options: &[&str], output: &Path) -> ExitStatus {
    let mut command = Command::new("strace");
    command.args(["-qq", "-o"]).arg(output).args(options).arg(&case.runtime);
    command.args(case.arguments(&["create", &case.id]));
    command.current_dir(&case.dir).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    spawn(&mut command).wait().expect("wait for strace")
}

/// The system calls of a `create` in their order, each with its number among those of its name:
/// the way strace counts them.
fn system_calls(case: &Case) -> Vec<(String, usize)> {
    let path = case.dir.join("trace");
    let status = traced_create(case, &[], &path);
    assert!(status.success(), "{status}");
    delete_by_force(case, "not killed at all");
    let mut counts = BTreeMap::new();
    let text = fs::read_to_string(&path).expect("read the trace");
    let names = text.lines().filter_map(|line| line.split_once('(')).map(|(name, _)| name);
    let number = |name: &str| {
        let count = counts.entry(name.to_string()).or_insert(0);
        *count += 1;
        (name.to_string(), *count)
    };
    names
        .filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        .map(number)
        .collect()
}

/// strace kills the runtime as it enters one system call after the other. `TORTURE=1` leaves
/// none out.
fn a_runtime_killed_at_any_system_call_leaves_nothing_that_delete_cannot_remove() {
    let case = Case::new(&["wait"]);
    case.write_config();
    let step = if std::env::var_os("TORTURE").is_some() { 1 } else { 7 };
    let calls = system_calls(&case);
    assert!(calls.len() > 100, "there are more system calls than {calls:?}");
    for (name, number) in calls.iter().step_by(step) {
        let inject = format!("inject={name}:signal=KILL:when={number}");
        let status = traced_create(&case, &["-e", &inject], Path::new("/dev/null"));
        // The last ones need not come again: how often a lock is looked at depends on others.
        let killed = status.signal() == Some(libc::SIGKILL);
        assert!(killed || status.success(), "{name} {number}: {status}");
        delete_by_force(&case, &format!("killed at {name} {number}"));
    }
}

fn a_runtime_killed_in_the_foreground_leaves_a_container_to_delete() {
    let case = Case::new(&["echo", "up", "--", "wait"]);
    let mut run: Background = case.run_in_background();
    assert_eq!(run.line(), "up");
    let pid = case.pid();
    run.kill();
    assert_eq!(case.status(), "running");
    case.runtime(&["delete", "--force", &case.id]).ok();
    wait_until_gone(pid);
    assert_eq!(case.leftovers(), Vec::<String>::new());
}

fn an_init_killed_before_start_is_stopped_and_can_be_deleted() {
    let case = Case::new(&["wait"]);
    case.create().ok();
    let pid = case.pid();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)
        .expect("kill");
    wait_until_gone(pid);
    assert_eq!(case.status(), "stopped");
    case.start().fails(1, "cannot start a container that has stopped");
    case.delete().ok();
    assert_eq!(case.leftovers(), Vec::<String>::new());
}

/// As a machine that lost its power leaves them.
fn delete_of_a_half_made_directory() {
    let case = Case::new(&["wait"]);
    for files in
        [&[][..], &[("state.json", "")], &[("state.json", "{\"id\":")], &[("config.json", "{}")]]
    {
        let directory = case.state_root().join(&case.id);
        fs::create_dir_all(&directory).expect("make a directory");
        for (name, text) in files {
            fs::write(directory.join(name), text).expect("write");
        }
        let output = case.runtime(&["state", &case.id]);
        assert_eq!(output.code, 1, "{files:?}: {output:?}");
        case.runtime(&["list"]).ok();
        case.runtime(&["delete", "--force", &case.id]).ok();
        assert!(!directory.exists(), "{files:?}");
    }
}
