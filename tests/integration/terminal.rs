//! Terminals: what the program has, who reads it, and what becomes of the caller's own.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::LocalFlags;
use nix::unistd::Pid;
use orlop::sys::process::pidfd_open;
use serde_json::json;

use crate::harness::terminal::{Receiver, Screen, User, end};
use crate::harness::{Case, spawn};
use crate::tests;

tests! {
    the_program_has_a_controlling_terminal needs [Root],
    the_terminal_belongs_to_the_programs_user needs [Root],
    the_terminal_is_sent_to_the_console_socket needs [Root],
    a_detached_program_keeps_its_terminal needs [Root],
    the_configured_size_is_set needs [Root],
    options_that_contradict_each_other_are_refused needs [Root],
    without_a_reader_there_is_no_container needs [Root],
    what_is_typed_arrives needs [Root],
    control_c_interrupts_the_program needs [Root],
    lines_end_once needs [Root],
    the_size_follows_that_of_the_caller needs [Root],
    the_callers_terminal_is_raw_and_restored needs [Root],
    the_callers_terminal_is_restored_after_a_failure needs [Root],
    the_callers_terminal_is_restored_after_a_signal needs [Root],
    no_last_byte_is_lost needs [Root],
    a_caller_who_stops_reading_costs_no_time needs [Root],
    a_caller_who_goes_away_ends_the_program needs [Root],
    streams_can_be_redirected needs [Root],
    a_link_in_place_of_the_console_is_not_followed needs [Root],
    a_directory_in_place_of_devpts_is_refused needs [Root],
}

fn with_terminal(words: &[&str]) -> Case {
    let mut case = Case::new(words);
    case.set("/process/terminal", json!(true));
    case
}

/// `run` at a terminal of 24 lines and 80 columns.
fn run(case: &Case) -> (User, std::process::Child) {
    case.write_config();
    let user = User::new(24, 80);
    let child = user.start(&mut case.command(&["run", &case.id]));
    (user, child)
}

/// Waits for the end of a command and returns what is on the screen.
#[track_caller]
fn shown(user: User, child: std::process::Child) -> (i32, String) {
    let User { mut screen, terminal } = user;
    drop(terminal);
    screen.rest();
    (end(child), screen.text.replace("\r\n", "\n"))
}

fn the_program_has_a_controlling_terminal() {
    let case = with_terminal(&["terminal", "--", "size", "--", "exit", "7"]);
    let (user, child) = run(&case);
    let (code, text) = shown(user, child);
    assert_eq!(
        text,
        "stdin /dev/pts/0\nstdout /dev/pts/0\nstderr /dev/pts/0\nleader true\ncontrolling ok\n\
        /dev/console c 136:0 0620 0:5\n/dev/pts/0 c 136:0 0620 0:5\nsize 24 80\n"
    );
    assert_eq!(code, 7);
}

fn the_terminal_belongs_to_the_programs_user() {
    let mut case = with_terminal(&["stat", "/dev/pts/0", "/dev/console"]);
    case.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let text = case.observe().expect("it runs").replace("\r\n", "\n");
    assert_eq!(text, "/dev/pts/0 c 136:0 0620 1000:5\n/dev/console c 136:0 0620 1000:5\n");
}

fn the_terminal_is_sent_to_the_console_socket() {
    let case = with_terminal(&["terminal"]);
    let receiver = Receiver::new(&case.id);
    case.create_with(&["--console-socket", receiver.argument()]).ok();
    let (controlling, name) = receiver.receive();
    assert!(name.starts_with("/dev/pt"), "{name}");
    let mut screen = Screen::new(controlling);
    case.start().ok();
    screen.rest();
    assert!(screen.text.starts_with("stdin /dev/pts/0\r\n"), "{}", screen.text);
    case.wait_for_end();
}

fn a_detached_program_keeps_its_terminal() {
    let case = with_terminal(&["read-line"]);
    let receiver = Receiver::new(&case.id);
    case.run_with(&["--detach", "--console-socket", receiver.argument()]).ok();
    let mut screen = Screen::new(receiver.receive().0);
    screen.type_in("hello\n");
    screen.wait_for("read \"hello\\n\"");
    case.wait_for_end();
}

fn the_configured_size_is_set() {
    for (size, want) in [
        (json!({"height": 33, "width": 77}), "size 33 77\r\n"),
        (json!({"height": 0, "width": 77}), "size 0 0\r\n"),
        (json!({"height": 33, "width": 0}), "size 0 0\r\n"),
    ] {
        let mut case = with_terminal(&["size"]);
        case.set("/process/consoleSize", size);
        assert_eq!(case.observe().expect("it runs"), want);
    }
    let mut case = Case::new(&["size"]);
    case.set("/process/consoleSize", json!({"height": 33, "width": 77}));
    assert_eq!(case.run().ok(), "ENOTTY\n");
}

fn options_that_contradict_each_other_are_refused() {
    let (without, unused) = ("cannot allocate tty if", "cannot use console socket if");
    for (terminal, words, want) in [
        (true, &["create"][..], without),
        (true, &["run", "--detach"], without),
        (true, &["run", "--console-socket", "@"], unused),
        (false, &["create", "--console-socket", "@"], unused),
        (false, &["run", "--console-socket", "@"], unused),
        (false, &["run", "--detach", "--console-socket", "@"], unused),
    ] {
        let mut case = Case::new(&[]);
        case.set("/process/terminal", json!(terminal));
        case.write_config();
        let receiver = Receiver::new(&case.id);
        let argument = |word: &&'static str| match *word {
            "@" => receiver.argument().to_string(),
            word => word.to_string(),
        };
        let words: Vec<_> = words.iter().map(argument).chain([case.id.clone()]).collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        case.runtime(&words).fails(1, want);
        assert!(!receiver.was_used());
        assert_eq!(case.leftovers(), [""; 0]);
    }
}

fn without_a_reader_there_is_no_container() {
    let case = with_terminal(&[]);
    let nowhere = case.dir.join("nowhere");
    let nowhere = nowhere.to_str().expect("a path");
    let output = case.create_with(&["--console-socket", nowhere]);
    assert_eq!(output.code, 1, "{output:?}");
    assert_eq!(case.leftovers(), [""; 0]);
    // Neither is there one for a caller who has no terminal at all.
    let case = with_terminal(&[]);
    case.write_config();
    let mut command = case.command(&["run", &case.id]);
    let output = crate::harness::Output::of(in_a_session_of_its_own(&mut command));
    assert_eq!(output.code, 1, "{output:?}");
    assert_eq!(case.leftovers(), [""; 0]);
}

#[expect(unsafe_code, reason = "pre_exec is how a child gets its session")]
fn in_a_session_of_its_own(command: &mut std::process::Command) -> &mut std::process::Command {
    use std::os::unix::process::CommandExt;
    let leave = || nix::unistd::setsid().map(drop).map_err(std::io::Error::from);
    // SAFETY: setsid(2) is safe to call between fork and exec (signal-safety(7)).
    unsafe { command.pre_exec(leave) }
}

fn what_is_typed_arrives() {
    let case = with_terminal(&["echo", "ready", "--", "read-line", "--", "read-line"]);
    let (mut user, child) = run(&case);
    user.screen.wait_for("ready");
    user.screen.type_in("one\n");
    user.screen.wait_for("read \"one\\n\"");
    user.screen.type_in("tw\x7fwo\r");
    let (code, text) = shown(user, child);
    assert!(text.contains("read \"two\\n\"\n"), "{text:?}");
    assert_eq!(code, 0);
}

fn control_c_interrupts_the_program() {
    let mut case = with_terminal(&["echo", "ready", "--", "wait"]);
    // Its first process would be immune in a PID namespace.
    case.namespace("pid", None);
    let (mut user, child) = run(&case);
    user.screen.wait_for("ready");
    user.screen.type_in("\x03");
    assert_eq!(shown(user, child).0, 130);
}

fn lines_end_once() {
    let case = with_terminal(&["echo", "a", "--", "echo", "b"]);
    let (user, child) = run(&case);
    let User { mut screen, terminal } = user;
    drop(terminal);
    screen.rest();
    assert_eq!(end(child), 0);
    assert_eq!(screen.text, "a\r\nb\r\n");
}

fn the_size_follows_that_of_the_caller() {
    let case = with_terminal(&["size", "--", "wait-for-size"]);
    let (mut user, child) = run(&case);
    user.screen.wait_for("size 24 80\r\nready");
    user.screen.resize(50, 132);
    let (code, text) = shown(user, child);
    assert!(text.ends_with("size 50 132\n"), "{text:?}");
    assert_eq!(code, 0);
}

fn the_callers_terminal_is_raw_and_restored() {
    let case = with_terminal(&["echo", "ready", "--", "read-line"]);
    case.write_config();
    let mut user = User::new(24, 80);
    let before = user.modes();
    let child = user.start(&mut case.command(&["run", &case.id]));
    user.screen.wait_for("ready");
    let meanwhile = user.modes().local_flags;
    assert!(!meanwhile.intersects(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG));
    user.screen.type_in("\n");
    assert_eq!(end(child), 0);
    assert_eq!(user.modes(), before);
}

fn the_callers_terminal_is_restored_after_a_failure() {
    let mut case = with_terminal(&[]);
    case.set("/hooks", json!({})).set("/hooks/startContainer", json!([{"path": "/bin/nosuch"}]));
    case.write_config();
    let user = User::new(24, 80);
    let before = user.modes();
    let child = user.start(&mut case.command(&["run", &case.id]));
    assert_ne!(end(child), 0);
    assert_eq!(user.modes(), before);
}

fn the_callers_terminal_is_restored_after_a_signal() {
    let mut case = with_terminal(&["echo", "ready", "--", "wait"]);
    case.namespace("pid", None);
    case.write_config();
    let mut user = User::new(24, 80);
    let before = user.modes();
    let child = user.start(&mut case.command(&["run", &case.id]));
    user.screen.wait_for("ready");
    kill(pid(&child), Signal::SIGTERM).expect("kill");
    assert_eq!(end(child), 143);
    assert_eq!(user.modes(), before);
}

fn pid(child: &std::process::Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a pid"))
}

fn no_last_byte_is_lost() {
    for _ in 0..5 {
        let case = with_terminal(&["lines", "20000"]);
        let (user, child) = run(&case);
        let (code, text) = shown(user, child);
        assert_eq!(code, 0);
        assert_eq!(text.lines().count(), 20_000);
        assert!(text.ends_with("line 19999\n"));
    }
}

/// Neither the relay's time, nor any of the output.
fn a_caller_who_stops_reading_costs_no_time() {
    let case = with_terminal(&["lines", "20000"]);
    let (user, child) = run(&case);
    let pidfd = pidfd_open(pid(&child)).expect("a child is there until it is waited for");
    // Not an event but the absence of one is waited for: the output stops, and so has everybody.
    let stands_still = |millis: u16| {
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(millis)).expect("poll") == 0
    };
    assert!(stands_still(1000), "the program ended although nobody reads");
    let before = ticks(&child);
    assert!(stands_still(1000));
    let used = ticks(&child) - before;
    assert!(used < 10, "{used} of 100 ticks were used");
    let (code, text) = shown(user, child);
    assert_eq!(code, 0);
    assert_eq!(text.lines().count(), 20_000);
}

/// The time of the processor that a process has used, of which there are 100 in a second.
fn ticks(child: &std::process::Child) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).expect("read");
    let fields = stat.rsplit_once(')').expect("a name").1;
    fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u64>().expect("ticks"))
        .sum()
}

fn a_caller_who_goes_away_ends_the_program() {
    let mut case = with_terminal(&["echo", "ready", "--", "lines", "1000000000"]);
    case.namespace("pid", None);
    let (mut user, child) = run(&case);
    user.screen.wait_for("ready");
    drop(user);
    end(child);
    assert_eq!(case.leftovers(), [""; 0]);
}

fn streams_can_be_redirected() {
    use std::io::Read;
    let case = with_terminal(&["lines", "1000"]);
    case.write_config();
    let user = User::new(24, 80);
    let before = user.modes();
    let mut command = case.command(&["run", &case.id]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    user.lead(&mut command);
    let mut child = spawn(&mut command);
    drop(command);
    let mut text = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut text).expect("read");
    assert_eq!(end(child), 0);
    assert_eq!(text.lines().count(), 1000);
    assert_eq!(user.modes(), before);
}

/// CVE-2025-52565 and CVE-2026-88264.
fn a_link_in_place_of_the_console_is_not_followed() {
    for target in ["@/sentinel", "@/made", "../../sentinel"] {
        let mut case = with_terminal(&[]);
        let mounts = case.config["mounts"].as_array_mut().expect("mounts");
        mounts.retain(|mount| mount["destination"] != "/dev");
        let sentinel = case.dir.join("sentinel");
        fs::write(&sentinel, "mine").expect("write");
        let target = target.replace('@', case.dir.to_str().expect("a path"));
        symlink(target, case.rootfs().join("dev/console")).expect("make a link");
        let receiver = Receiver::new(&case.id);
        let output = case.create_with(&["--console-socket", receiver.argument()]);
        assert_ne!(output.code, 0, "{output:?}");
        assert_eq!(fs::read_to_string(&sentinel).expect("read"), "mine");
        assert!(!case.dir.join("made").exists());
        assert_eq!(case.leftovers(), [""; 0]);
    }
}

fn a_directory_in_place_of_devpts_is_refused() {
    let mut case = with_terminal(&[]);
    let mounts = case.config["mounts"].as_array_mut().expect("mounts");
    mounts.retain(|mount| mount["destination"] != "/dev/pts");
    mounts.push(json!({"destination": "/dev/pts", "type": "tmpfs", "source": "tmpfs"}));
    let receiver = Receiver::new(&case.id);
    let output = case.create_with(&["--console-socket", receiver.argument()]);
    assert_ne!(output.code, 0, "{output:?}");
    assert_eq!(case.leftovers(), [""; 0]);
}
