//! What cannot run: Docker's exit status and its explanation both come from the runtime's text.

use crate::docker::{Container, compared, docker};
use crate::sandbox::DIRECTORY;
use crate::tests;

tests! {
    wrong_commands needs [Docker],
    programs_that_cannot_be_executed needs [Docker],
    what_the_user_may_not_enter needs [Docker],
    a_file_on_a_directory_gets_dockers_hint needs [Docker],
    a_sysctl_that_is_not_there needs [Docker],
    nothing_is_left_of_what_did_not_start needs [Docker],
    a_container_that_failed_can_be_started_again needs [Docker],
}

/// What Docker adds when it finds `not a directory` in the runtime's text.
const HINT: &str = "Are you trying to mount a directory onto a file (or vice-versa)?";

fn wrong_commands() {
    for (program, code, text) in [
        ("nosuch", 127, "exec: \"nosuch\": executable file not found in $PATH"),
        ("/bin/nosuch", 127, "exec: \"/bin/nosuch\": stat /bin/nosuch: no such file or directory"),
        ("/etc/plain", 126, "exec: \"/etc/plain\": permission denied"),
    ] {
        compared(&[], &[program]).fails(code, text);
        compared(&["--entrypoint", program], &[]).fails(code, text);
    }
    // No text of these means anything to Docker.
    let long = format!("/{}", "x".repeat(300));
    for (program, text) in [
        ("/etc/loop", "exec: \"/etc/loop\": stat /etc/loop: too many levels of symbolic links"),
        (long.as_str(), "file name too long"),
    ] {
        compared(&[], &[program]).fails(125, text);
    }
    // Docker's client and daemon disagree about these, from version to version.
    for (program, text) in [
        ("/etc", "exec: \"/etc\": is a directory"),
        ("/etc/plain/x", "exec: \"/etc/plain/x\": stat /etc/plain/x: not a directory"),
    ] {
        let seen = compared(&[], &[program]);
        assert!(seen.code >= 125 && seen.stderr.contains(text), "{seen:#?}");
    }
}

/// The program is there, and executing it fails only after `start`.
fn programs_that_cannot_be_executed() {
    for (program, text) in [
        ("/etc/script", "exec /etc/script: no such file or directory"),
        ("/etc/noise", "exec /etc/noise: exec format error"),
    ] {
        compared(&[], &[program]).fails(255, text);
    }
}

fn what_the_user_may_not_enter() {
    // Newer daemons leave the rights of root to the runtime until it executes the program, so
    // that the reason differs.
    let seen = compared(&["--user", "me"], &["/closed/program"]);
    assert!([126, 127].contains(&seen.code), "{seen:#?}");
    // The working directory is entered with the rights of root, as long as those suffice.
    compared(&["--user", "me", "--workdir", "/closed"], &["pwd"]).ok();
}

fn a_file_on_a_directory_gets_dockers_hint() {
    let directory = format!("{DIRECTORY}/a-directory");
    std::fs::create_dir(&directory).expect("make a directory");
    let file = format!("{DIRECTORY}/dockerd-daemon.conf");
    for volume in [format!("{file}:/tmp"), format!("{directory}:/etc/plain")] {
        let seen = compared(&["--volume", &volume], &["true"]);
        assert!(seen.code >= 125 && seen.stderr.contains(HINT), "{volume}: {seen:#?}");
    }
}

fn a_sysctl_that_is_not_there() {
    let seen = compared(&["--sysctl", "net.ipv4.nosuch=1"], &["true"]);
    assert!(seen.code != 0 && seen.stderr.contains("net.ipv4.nosuch"), "{seen:#?}");
}

fn nothing_is_left_of_what_did_not_start() {
    let container = Container::new();
    container.run(&[], &["/bin/nosuch"]).fails(127, "no such file or directory");
    assert_eq!(container.outcome(), "created 127 false");
    assert!(container.inspect(".State.Error").contains("exec: \"/bin/nosuch\""));
    let id = container.inspect(".Id");
    let state = format!("{DIRECTORY}/docker-exec/runtime-orlop/moby/{id}");
    assert!(!std::path::Path::new(&state).exists(), "{state} exists");
    for cgroup in crate::sandbox::cgroups() {
        assert!(!cgroup.join(&id).exists(), "{} exists", cgroup.join(&id).display());
    }
}

fn a_container_that_failed_can_be_started_again() {
    let container = Container::new();
    container.run(&["--entrypoint", "/tmp/later"], &[]).fails(127, "no such file or directory");
    let program = format!("{DIRECTORY}/later");
    std::fs::copy(format!("{DIRECTORY}/image/bin/busybox"), &program).expect("copy a program");
    docker(&["cp", &program, &format!("{}:/tmp/later", container.name)]).ok();
    // busybox under a name that it does not know.
    let seen = container.docker(&["start", "--attach"]);
    assert!(seen.code == 127 && seen.stderr.contains("applet not found"), "{seen:#?}");
}
