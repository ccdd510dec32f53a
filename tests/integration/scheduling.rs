//! Processors, scheduling and memory policies, of init and of programs that join.

use std::fs;

use serde_json::{Value, json};

use crate::exec_documents::{document, exec_document};
use crate::harness::{Background, Case};
use crate::tests;

tests! {
    the_scheduler_is_set needs [Root],
    the_io_priority_is_set needs [Root],
    children_have_the_io_priority_too needs [Root],
    the_memory_policy_is_set needs [Root, Numa],
    processors_are_those_asked_for needs [Root, TwoProcessors],
}

fn shares(case: &Case) -> String {
    case.run().ok().trim_end().to_string()
}

fn the_scheduler_is_set() {
    for (scheduler, want) in [
        (json!({"policy": "SCHED_OTHER", "nice": 5}), "policy 0 priority 0 nice 5 io 0 "),
        (json!({"policy": "SCHED_BATCH", "nice": -3}), "policy 3 priority 0 nice -3 io 0 "),
        (json!({"policy": "SCHED_IDLE"}), "policy 5 priority 0 nice 0 io 0 "),
        (
            json!({"policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_RESET_ON_FORK"]}),
            "policy 3 priority 0 nice 0 io 0 ",
        ),
    ] {
        let mut case = Case::new(&["shares"]);
        case.set("/process/scheduler", scheduler.clone());
        // It is set with root's rights, whoever the program's user is.
        case.set("/process/user", json!({"uid": 1000, "gid": 1000}));
        assert!(shares(&case).starts_with(want), "{scheduler}: {}", shares(&case));
        // A process that joins gets it as well, unless it has one of its own.
        case.args(&["wait"]);
        case.run_detached();
        assert!(case.exec(&["shares"]).ok().starts_with(want), "{scheduler}");
    }
    for policy in ["SCHED_FIFO", "SCHED_RR"] {
        let mut case = Case::new(&["shares"]);
        case.set("/process/scheduler", json!({"policy": policy, "priority": 7}));
        // Where real-time processes have no share in cgroups, the kernel refuses them.
        let output = case.run();
        let number = if policy == "SCHED_FIFO" { 1 } else { 2 };
        match output.code {
            0 => assert!(output.stdout.starts_with(&format!("policy {number} priority 7 "))),
            _ => drop(output.fails(1, "operation not permitted")),
        }
    }
    let mut case = Case::new(&[]);
    case.set("/process/scheduler", json!({"policy": "SCHED_ISO"}));
    case.run().fails(1, "invalid argument");
}

fn children_have_the_io_priority_too() {
    let mut case = Case::new(&["spawn", "shares", "--", "wait"]);
    case.set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 6}));
    let mut run = case.run_in_background();
    let line = run.line();
    assert!(line.ends_with("io 2 6"), "{line}");
    case.end();
    run.wait();
}

fn the_io_priority_is_set() {
    for (class, level, want) in [
        ("IOPRIO_CLASS_RT", 0, "io 1 0"),
        ("IOPRIO_CLASS_BE", 6, "io 2 6"),
        ("IOPRIO_CLASS_IDLE", 0, "io 3 0"),
    ] {
        let mut case = Case::new(&["shares"]);
        case.set("/process/ioPriority", json!({"class": class, "priority": level}));
        assert!(shares(&case).ends_with(want), "{class}: {}", shares(&case));
        case.args(&["wait"]);
        case.run_detached();
        assert!(case.exec(&["shares"]).ok().trim_end().ends_with(want), "{class}");
    }
}

fn the_memory_policy_is_set() {
    for (policy, want) in [
        (json!({"mode": "MPOL_DEFAULT"}), " default "),
        (json!({"mode": "MPOL_LOCAL"}), " local "),
        (json!({"mode": "MPOL_BIND", "nodes": "0"}), " bind:0 "),
        (json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"}), " interleave:0 "),
        (json!({"mode": "MPOL_PREFERRED", "nodes": "0"}), " prefer:0 "),
        (
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}),
            " bind=static:0 ",
        ),
    ] {
        let mut case = Case::new(&["cat", "/proc/self/numa_maps"]);
        case.set("/linux/memoryPolicy", policy.clone());
        let text = case.run().ok();
        assert!(text.contains(want), "{policy}: {text}");
        case.args(&["wait"]);
        case.run_detached();
        assert!(case.exec(&["cat", "/proc/self/numa_maps"]).ok().contains(want), "{policy}");
    }
    let mut case = Case::new(&[]);
    case.set("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "999"}));
    case.run().fails(1, "invalid argument");
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
