//! `docker run` in the foreground: streams, exit statuses, and what the program is.

use std::io::Write;

use crate::docker::{Container, compared, compared_sh, docker};
use crate::tests;

tests! {
    streams_stay_apart needs [Docker],
    standard_input_comes_from_a_pipe needs [Docker],
    without_interactive_there_is_no_input needs [Docker],
    exit_statuses_arrive needs [Docker],
    signals_become_statuses needs [Docker],
    the_client_passes_signals_on needs [Docker],
    entrypoint_and_arguments needs [Docker],
    long_output_arrives_whole needs [Docker],
    a_terminal_is_the_programs needs [Docker],
    exec_runs_beside_the_program needs [Docker],
}

pub fn streams_stay_apart() {
    let seen = compared_sh(&["--rm"], "echo out; echo err >&2");
    assert_eq!((seen.stdout.as_str(), seen.stderr.as_str()), ("out\n", "err\n"));
}

fn standard_input_comes_from_a_pipe() {
    let container = Container::new();
    let (reader, mut writer) = std::io::pipe().expect("make a pipe");
    writer.write_all(b"one\ntwo\n").expect("write to a pipe");
    drop(writer);
    let mut command = container.command(&["--rm", "--interactive"], &["sort", "-r"]);
    let run = crate::harness::Background::start(command.stdin(reader));
    assert_eq!(run.end().ok(), "two\none\n");
}

fn without_interactive_there_is_no_input() {
    assert_eq!(compared(&["--rm"], &["wc", "-c"]).ok(), "0\n");
}

pub fn exit_statuses_arrive() {
    for code in [0, 1, 42, 125, 126, 127, 255] {
        let seen = compared_sh(&[], &format!("exit {code}"));
        assert_eq!(seen.code, code, "{seen:#?}");
    }
}

fn signals_become_statuses() {
    for (signal, code) in [("TERM", 143), ("KILL", 137), ("SEGV", 139)] {
        // The kernel protects the first process of a PID namespace from itself, so it is not
        // the one that ends.
        let seen = compared_sh(&["--init"], &format!("kill -{signal} $$"));
        assert_eq!(seen.code, code, "{signal}: {seen:#?}");
    }
}

fn the_client_passes_signals_on() {
    let container = Container::new();
    let script = "trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.1; done";
    let mut run =
        crate::harness::Background::start(&mut container.command(&[], &["sh", "-c", script]));
    assert_eq!(run.line(), "ready");
    let client = nix::unistd::Pid::from_raw(run.pid());
    nix::sys::signal::kill(client, nix::sys::signal::Signal::SIGTERM).expect("signal the client");
    let seen = run.end();
    assert_eq!((seen.code, seen.stdout.as_str()), (5, "caught\n"), "{seen:#?}");
}

fn entrypoint_and_arguments() {
    let seen = compared(&["--entrypoint", "/bin/echo"], &["-n", "a b", "", "c"]);
    assert_eq!(seen.ok(), "a b  c");
}

fn long_output_arrives_whole() {
    let seen = compared(&["--rm"], &["dd", "if=/dev/zero", "bs=64k", "count=16"]);
    assert_eq!(seen.ok().len(), 1 << 20);
}

fn a_terminal_is_the_programs() {
    let seen = compared(&["--tty"], &["sh", "-c", "tty; test -t 0 && test -t 1 && echo yes"]);
    assert_eq!(seen.ok().replace('\r', ""), "/dev/pts/0\nyes\n");
}

pub fn exec_runs_beside_the_program() {
    let container = Container::new();
    container.start(&["--user", "1000"], "echo up; exec sleep 1000");
    let exec = |options: &[&str], script: &str| {
        docker(&[&["exec"], options, &[&container.name, "sh", "-c", script]].concat())
    };
    assert_eq!(exec(&[], "id -u; echo $$ >/dev/null; exit 7").code, 7);
    assert_eq!(exec(&["--user", "0", "--env", "A=b"], "id -u; echo $A").ok(), "0\nb\n");
    assert_eq!(exec(&["--workdir", "/tmp"], "pwd").ok(), "/tmp\n");
    assert_eq!(exec(&["--tty"], "tty").ok().replace('\r', ""), "/dev/pts/0\n");
    let filter = exec(&[], "grep Seccomp: /proc/self/status | tr -d '\t'");
    assert_eq!(filter.ok(), "Seccomp:2\n");
    let missing = docker(&["exec", &container.name, "/no/such"]);
    assert_eq!(missing.code, 126 + i32::from(missing.code == 127), "{missing:?}");
}
