//! `pause`, `resume` and `ps`.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Case, host, wait_until_gone};
use crate::tests;

tests! {
    a_container_is_paused_and_resumed needs [Root],
    only_what_runs_is_paused_and_only_what_is_paused_resumed needs [Root],
    a_container_that_forks_all_the_time_is_paused needs [Root],
    a_created_container_is_paused needs [Root],
    a_paused_container_is_killed needs [Root],
    a_paused_container_is_deleted_by_force needs [Root],
    pids_are_a_bare_array needs [Root],
    the_table_has_the_processes_of_the_container_only needs [Root],
    ps_of_a_stopped_container_is_empty needs [Root] unlike runc "prints null",
    ps_tells_what_is_wrong_with_its_options needs [Root],
}

/// The kernel's own view.
fn is_frozen(case: &Case) -> bool {
    let directory = host::cgroup("freezer", &case.cgroup());
    let read = |file: &str| fs::read_to_string(directory.join(file)).expect("read");
    match host::is_v2() {
        true => read("cgroup.events").contains("frozen 1"),
        false => read("freezer.state").trim() == "FROZEN",
    }
}

fn a_container_is_paused_and_resumed() {
    let case = Case::running();
    for _ in 0..2 {
        assert_eq!(case.runtime(&["pause", &case.id]).ok(), "");
        assert_eq!((case.status().as_str(), is_frozen(&case)), ("paused", true));
        let want = "cannot exec in a paused container (use --ignore-paused to override)";
        case.exec(&["echo"]).fails(255, want);
        assert_eq!(case.runtime(&["resume", &case.id]).ok(), "");
        assert_eq!((case.status().as_str(), is_frozen(&case)), ("running", false));
        assert_eq!(case.exec(&["echo", "x"]).ok(), "x\n");
    }
}

fn only_what_runs_is_paused_and_only_what_is_paused_resumed() {
    let case = Case::running();
    case.runtime(&["resume", &case.id]).fails(1, "container not paused");
    case.runtime(&["pause", &case.id]).ok();
    case.runtime(&["pause", &case.id]).fails(1, "container not running");
    case.runtime(&["resume", &case.id]).ok();
    let pid = case.pid();
    case.kill("KILL").ok();
    wait_until_gone(pid);
    case.runtime(&["pause", &case.id]).fails(1, "container not running");
    case.runtime(&["resume", &case.id]).fails(1, "container not paused");
    for command in ["pause", "resume", "ps"] {
        case.runtime(&[command, "nosuch"]).fails(1, "container does not exist");
    }
}

/// It has processes half made at every moment, which is what keeps a cgroup of v1 from freezing.
fn a_container_that_forks_all_the_time_is_paused() {
    let case = Case::new(&["fork-for-ever"]);
    case.run_detached();
    for _ in 0..10 {
        case.runtime(&["pause", &case.id]).ok();
        assert!(is_frozen(&case));
        case.runtime(&["resume", &case.id]).ok();
    }
}

fn a_created_container_is_paused() {
    let case = Case::new(&["echo"]);
    case.create().ok();
    case.runtime(&["pause", &case.id]).ok();
    assert_eq!(case.status(), "paused");
    case.start().fails(1, "cannot start a container in the paused state");
    case.runtime(&["resume", &case.id]).ok();
    assert_eq!(case.status(), "created");
    case.start().ok();
    case.wait_for_end();
}

fn a_paused_container_is_killed() {
    let case = Case::running();
    let pid = case.pid();
    case.runtime(&["pause", &case.id]).ok();
    case.kill("KILL").ok();
    case.runtime(&["resume", &case.id]);
    wait_until_gone(pid);
    assert_eq!(case.status(), "stopped");
}

fn a_paused_container_is_deleted_by_force() {
    let case = Case::running();
    case.runtime(&["pause", &case.id]).ok();
    case.delete().fails(1, "that is not stopped: paused");
    case.end();
}

fn pids(case: &Case) -> Vec<i32> {
    let text = case.runtime(&["ps", "--format", "json", &case.id]).ok();
    assert!(text.ends_with('\n'), "{text:?}");
    serde_json::from_str(&text).expect("an array of numbers")
}

fn pids_are_a_bare_array() {
    let mut case = Case::new(&["spawn", "wait", "--", "wait"]);
    case.namespace("pid", Some(json!({"type": "pid"})));
    case.run_detached();
    assert!(pids(&case).contains(&case.pid()));
    let exec = case.exec_with(&["--detach", "--pid-file", "pid"], &["wait"]);
    exec.ok();
    let pid = fs::read_to_string(case.dir.join("pid")).expect("read the pid file");
    let pids = pids(&case);
    assert!(pids.contains(&pid.parse().expect("a number")), "{pids:?}");
}

fn the_table_has_the_processes_of_the_container_only() {
    let case = Case::running();
    let pid = case.pid().to_string();
    for (options, column) in [(&[][..], 1), (&["-ef"], 1), (&["-e", "-o", "comm,pid"], 1)] {
        let words: Vec<_> = ["ps", case.id.as_str()].iter().chain(options).copied().collect();
        let text = case.runtime(&words).ok();
        let rows: Vec<_> = text.lines().collect();
        assert!(rows[0].contains("PID"), "{text}");
        assert_eq!(rows.len(), 2, "{text}");
        assert_eq!(rows[1].split_whitespace().nth(column), Some(pid.as_str()), "{text}");
    }
}

fn ps_of_a_stopped_container_is_empty() {
    let case = Case::new(&["echo"]);
    case.create().ok();
    case.start().ok();
    case.wait_for_end();
    assert_eq!(pids(&case), Vec::<i32>::new());
    assert_eq!(case.runtime(&["ps", &case.id]).ok().lines().count(), 1);
}

fn ps_tells_what_is_wrong_with_its_options() {
    let case = Case::running();
    case.runtime(&["ps", "--format", "yaml", &case.id]).fails(1, "invalid format option");
    case.runtime(&["ps", &case.id, "-o", "comm"]).fails(1, "couldn't find PID field in ps output");
    case.runtime(&["ps", &case.id, "--nosuch"]).fails(1, "exit status");
    let _: Value =
        serde_json::from_str(&case.runtime(&["ps", "-f", "json", &case.id]).ok()).expect("JSON");
}
