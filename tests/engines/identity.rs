//! Who a program is, what it shares with others, and people at a terminal.

use crate::docker::{Container, command, docker};
use crate::harness::host;
use crate::harness::terminal::{User, end};
use crate::tests;

tests! {
    a_person_runs_a_shell needs [Docker],
    a_person_enters_a_container needs [Docker],
    a_person_attaches_and_detaches needs [Docker],
    exec_is_who_it_is_told_to_be needs [Docker],
    a_privileged_exec_says_what_is_missing needs [Docker],
    the_memory_of_another_container needs [Docker],
    a_health_check_is_an_exec needs [Docker],
}

fn a_person_runs_a_shell() {
    let container = Container::new();
    let mut user = User::new(24, 80);
    let client = user.start(&mut container.command(&["--interactive", "--tty"], &["sh"]));
    // What is typed comes back before what it does, and the client tells the size when the shell
    // runs already.
    user.screen.type_in("until stty size | grep 24.80; do :; done; tty\n");
    user.screen.wait_for("24 80");
    user.screen.wait_for("/dev/pts/0");
    user.screen.type_in("exit 9\n");
    assert_eq!(end(client), 9);
}

pub fn a_person_enters_a_container() {
    let container = Container::new();
    container.start(&[], "echo up; exec sleep 1000");
    assert_eq!(container.follow().line(), "up");
    let mut user = User::new(20, 60);
    let client = user.start(&mut command(&["exec", "-it", &container.name, "sh"]));
    user.screen.type_in("echo g''o; cat; until stty size | grep 20.60; do :; done; exit 4\n");
    // The shell would read what comes too early.
    user.screen.wait_for("go\r\n");
    user.screen.type_in("typed\n\u{4}");
    user.screen.wait_for("typed\r\ntyped");
    user.screen.wait_for("20 60");
    assert_eq!(end(client), 4);
}

fn a_person_attaches_and_detaches() {
    let container = Container::new();
    container.start(&["--interactive", "--tty"], "echo up; exec sh");
    assert_eq!(container.follow().line(), "up");
    let mut user = User::new(24, 80);
    let client = user.start(&mut command(&["attach", &container.name]));
    user.screen.type_in("echo at''tached\n");
    user.screen.wait_for("attached");
    user.screen.type_in("\u{10}\u{11}");
    // Clients do not agree about the status of that.
    end(client);
    assert_eq!(container.inspect(".State.Status"), "running");
    let user = User::new(24, 80);
    let client = user.start(&mut command(&["attach", &container.name]));
    user.screen.type_in("exit 6\n");
    assert_eq!(end(client), 6);
    assert_eq!(container.wait(), "6");
}

fn exec_is_who_it_is_told_to_be() {
    let container = Container::new();
    let options = ["--cap-drop", "ALL", "--cap-add", "KILL", "--ulimit", "nofile=64:64"];
    container.start(&options, "exec sleep 1000");
    let exec = |options: &[&str], script: &str| {
        docker(&[&["exec"], options, &[&container.name, "sh", "-c", script]].concat()).ok()
    };
    let id = exec(&["--user", "me"], "id");
    assert_eq!(id, "uid=1000(me) gid=1000(me) groups=50(staff),1000(me)\n");
    assert_eq!(exec(&["--user", "5:6"], "id -u; id -g"), "5\n6\n");
    let effective = "grep CapEff /proc/self/status | cut -f2";
    assert_eq!(exec(&[], effective), "0000000000000020\n");
    assert_eq!(exec(&["--user", "me"], effective), "0000000000000000\n");
    assert_eq!(exec(&[], "ulimit -n"), "64\n");
}

/// Docker asks for every capability that there is.
pub fn a_privileged_exec_says_what_is_missing() {
    let container = Container::new();
    container.start(&[], "exec sleep 1000");
    let seen =
        docker(&["exec", "--privileged", &container.name, "grep", "CapEff", "/proc/1/status"]);
    if host::has_sys_resource() {
        seen.ok();
    } else {
        assert_ne!(seen.code, 0, "{seen:?}");
        let text = format!("{}{}", seen.stdout, seen.stderr);
        assert!(text.contains("CAP_SYS_RESOURCE"), "{text}");
    }
}

fn the_memory_of_another_container() {
    let owner = Container::new();
    owner.start(&["--ipc", "shareable"], "echo shared > /dev/shm/file; echo up; exec sleep 1000");
    assert_eq!(owner.follow().line(), "up");
    let other = Container::new();
    let ipc = format!("container:{}", owner.name);
    assert_eq!(other.sh(&["--ipc", &ipc], "cat /dev/shm/file").ok(), "shared\n");
}

fn a_health_check_is_an_exec() {
    let container = Container::new();
    let options = ["--health-cmd", "test -e /tmp/well", "--health-interval", "100ms"];
    let options =
        [&options[..], &["--health-retries", "1", "--health-start-period", "0s"]].concat();
    container.create(&options, "exec sleep 1000");
    let mut events = container.events("health_status");
    container.docker(&["start"]).ok();
    assert_eq!(events.line(), "health_status: unhealthy");
    docker(&["exec", &container.name, "touch", "/tmp/well"]).ok();
    assert_eq!(events.line(), "health_status: healthy");
    events.kill();
}
