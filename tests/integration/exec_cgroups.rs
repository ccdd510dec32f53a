//! `exec` and the cgroup of the container: its place there, and what a frozen one means.

use std::fs;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::exec::waiting;
use crate::harness::{Background, Case, DEADLINE, host, wait_until_gone};
use crate::tests;

tests! {
    the_program_is_in_all_cgroups_of_the_container needs [Root],
    a_paused_container_is_refused needs [Root],
    a_paused_container_is_waited_for needs [Root],
    waiting_for_a_paused_container_can_be_interrupted needs [Root]
        unlike runc "leaves a process behind",
    a_sub_cgroup_can_be_chosen needs [Root, CgroupV1],
    the_cgroup_of_init_is_taken_when_the_containers_has_no_room needs [Root, CgroupV2],
    a_sub_cgroup_cannot_be_outside needs [Root],
    a_runtime_that_is_killed_leaves_no_process needs [Root],
}

fn the_program_is_in_all_cgroups_of_the_container() {
    let case = Case::running();
    let cgroups = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("read");
    assert_eq!(cgroups(waiting(&case, &[])), cgroups(case.pid()));
}

fn pause(case: &Case) {
    case.runtime(&["pause", &case.id]).ok();
}

fn resume(case: &Case) {
    case.runtime(&["resume", &case.id]).ok();
}

fn a_paused_container_is_refused() {
    let case = Case::running();
    pause(&case);
    let want = "cannot exec in a paused container (use --ignore-paused to override)";
    case.exec(&["echo"]).fails(255, want);
    resume(&case);
    assert_eq!(case.exec(&["echo", "x"]).ok(), "x\n");
}

fn processes(case: &Case) -> Vec<i32> {
    let file = host::cgroup("freezer", &case.cgroup()).join("cgroup.procs");
    let text = fs::read_to_string(file).expect("read");
    text.lines().map(|line| line.parse().expect("a pid")).collect()
}

/// Starts an exec in a frozen container and waits until its process is in there.
fn exec_in_frozen(case: &Case) -> Background {
    pause(case);
    let words = case.exec_arguments(&["--ignore-paused"], &["echo", "hello"]);
    let exec = Background::start(&mut case.command(&words));
    let begin = Instant::now();
    while processes(case).len() < 2 {
        assert!(begin.elapsed() < DEADLINE, "nobody comes");
        std::thread::yield_now();
    }
    exec
}

fn a_paused_container_is_waited_for() {
    let case = Case::running();
    let exec = exec_in_frozen(&case);
    resume(&case);
    assert_eq!(exec.end().ok(), "hello\n");
}

fn waiting_for_a_paused_container_can_be_interrupted() {
    let case = Case::running();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let exec = exec_in_frozen(&case);
        kill(Pid::from_raw(exec.pid()), signal).expect("kill");
        exec.end().fails(255, &format!("interrupted by signal {}", signal as i32));
        assert_eq!(processes(&case), [case.pid()]);
        resume(&case);
    }
    assert_eq!(case.exec(&["echo", "x"]).ok(), "x\n");
}

fn a_sub_cgroup_can_be_chosen() {
    let case = Case::running();
    let below = |controller: &str| host::cgroup(controller, &case.cgroup()).join("below");
    fs::create_dir(below("pids")).expect("make a cgroup");
    fs::create_dir(below("freezer")).expect("make a cgroup");
    let cgroups = |options: &[&str]| case.exec_with(options, &["cat", "/proc/self/cgroup"]).ok();
    let text = cgroups(&["--cgroup", "pids:below", "--cgroup", "freezer:/below"]);
    let paths: Vec<_> = text.lines().filter(|line| line.ends_with("/below")).collect();
    assert_eq!(paths.len(), 2, "{text}");
    let text = cgroups(&["--cgroup", "pids,freezer:below"]);
    assert_eq!(text.matches("/below\n").count(), 2, "{text}");
    case.exec_with(&["--cgroup", "nosuch:x"], &["echo"]).fails(255, "unknown controller nosuch");
    let output = case.exec_with(&["--cgroup", "pids:nosuch"], &["echo"]);
    output.fails(255, "no such file or directory");
    for controller in ["pids", "freezer"] {
        fs::remove_dir(below(controller)).expect("remove a cgroup");
    }
}

fn the_cgroup_of_init_is_taken_when_the_containers_has_no_room() {
    let case = Case::running();
    let cgroup = host::cgroup("", &case.cgroup());
    fs::create_dir(cgroup.join("init")).expect("make a cgroup");
    fs::write(cgroup.join("init/cgroup.procs"), case.pid().to_string()).expect("move init");
    fs::write(cgroup.join("cgroup.subtree_control"), "+pids").expect("enable a controller");
    let text = case.exec(&["cat", "/proc/self/cgroup"]).ok();
    assert_eq!(text, format!("0::{}/init\n", case.cgroup()));
    let output = case.exec_with(&["--cgroup", "nosuch"], &["echo"]);
    output.fails(255, "no such file or directory");
}

fn a_sub_cgroup_cannot_be_outside() {
    let case = Case::running();
    let controller = if host::is_v2() { "" } else { "pids:" };
    for path in ["..", "../../orlop-test", "/..", "x/../.."] {
        let argument = format!("{controller}{path}");
        let output = case.exec_with(&["--cgroup", &argument], &["echo"]);
        output.fails(255, "bad sub cgroup path");
    }
}

fn a_runtime_that_is_killed_leaves_no_process() {
    let case = Case::running();
    let exec = exec_in_frozen(&case);
    let new: Vec<_> = processes(&case).into_iter().filter(|pid| *pid != case.pid()).collect();
    exec.kill();
    resume(&case);
    new.into_iter().for_each(wait_until_gone);
    assert_eq!(processes(&case), [case.pid()]);
}
