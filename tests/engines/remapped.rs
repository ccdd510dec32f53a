//! A daemon with `userns-remap`: root of every container is an ordinary user of the host.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::PathBuf;
use std::sync::Once;

use serde_json::json;

use crate::daemon;
use crate::docker::{Container, Daemon, compared_by};
use crate::harness::Output;
use crate::harness::terminal::{User, end};
use crate::sandbox::DIRECTORY;
use crate::tests;

tests! {
    root_is_nobody_outside needs [Docker],
    volumes_have_their_owners needs [Docker],
    users_and_rights needs [Docker],
    file_systems_are_those_of_the_container needs [Docker],
    exec_is_in_the_same_namespace needs [Docker],
    a_person_enters_a_container needs [Docker],
    containers_from_start_to_end needs [Docker],
    privileged_needs_the_hosts_users needs [Docker],
}

/// Who root is, and how many users there are.
const FIRST: u32 = 300_000;
const COUNT: u32 = 65_536;

/// The daemon, which is started before its first container. `/etc` is the test's own.
fn daemon() -> Daemon {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let ids = format!("remapped:{FIRST}:{COUNT}\n");
        for (file, line) in [
            ("passwd", "remapped:x:61234:61234::/:/bin/false\n"),
            ("group", "remapped:x:61234:\n"),
            ("subuid", &ids),
            ("subgid", &ids),
        ] {
            let path = format!("/etc/{file}");
            let file = fs::OpenOptions::new().append(true).create(true).open(&path);
            file.and_then(|mut file| file.write_all(line.as_bytes())).expect(&path);
        }
        let daemon = daemon::start_another("remapped", &json!({"userns-remap": "remapped"}));
        daemon::reap(daemon);
        let archive = format!("{DIRECTORY}/image.tar");
        Output::of(&mut Daemon("remapped").command(&["import", &archive, crate::docker::IMAGE]))
            .ok();
    });
    Daemon("remapped")
}

/// Runs a script under both runtimes. There is no bridge.
#[track_caller]
fn sh(options: &[&str], script: &str) -> Output {
    let options = [&["--network", "none"], options].concat();
    compared_by(daemon(), &options, &["sh", "-c", script])
}

/// A container that says when it runs, and waits for a signal.
fn waiting(options: &[&str]) -> Container {
    let container = Container::by(daemon());
    let script = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.1; done";
    container.start(&[&["--network", "none"], options].concat(), script);
    let mut logs = container.follow();
    assert_eq!(logs.line(), "up");
    logs.kill();
    container
}

/// A directory of the host with this owner.
fn directory(name: &str, owner: u32) -> PathBuf {
    let path = PathBuf::from(DIRECTORY).join(name);
    fs::create_dir(&path).expect("make a directory");
    chown(&path, Some(owner), Some(owner)).expect("chown");
    path
}

fn root_is_nobody_outside() {
    let script = "tr -s ' ' < /proc/self/uid_map; tr -s ' ' < /proc/self/gid_map; id -u; \
        cat /proc/self/setgroups; touch /new && stat -c %u:%g /new /etc/passwd /proc/1 /dev/pts";
    let seen = sh(&[], script).ok();
    let map = format!(" 0 {FIRST} {COUNT}\n");
    assert_eq!(seen, format!("{map}{map}0\nallow\n{}", "0:0\n".repeat(4)));
    let container = waiting(&[]);
    let process = fs::metadata(format!("/proc/{}", container.pid())).expect("a process");
    assert_eq!((process.uid(), process.gid()), (FIRST, FIRST));
}

fn volumes_have_their_owners() {
    let (theirs, ours) = (directory("of-remapped", FIRST), directory("of-root", 0));
    fs::write(ours.join("file"), "text\n").expect("write a file");
    let volumes = [format!("{}:/theirs", theirs.display()), format!("{}:/ours", ours.display())];
    let options = ["--volume", &volumes[0], "--volume", &volumes[1], "--volume", "/own"];
    let script = "touch /theirs/new /own/new && stat -c %u:%g /theirs /theirs/new /own /own/new; \
        stat -c %u:%g /ours/file; cat /ours/file; touch /ours/new 2>&1; touch /theirs/given && chown 5:6 /theirs/given";
    let wanted =
        format!("{}65534:65534\ntext\ntouch: /ours/new: Permission denied\n", "0:0\n".repeat(4));
    assert_eq!(sh(&options, script).ok(), wanted);
    let new = fs::metadata(theirs.join("given")).expect("the new file");
    assert_eq!((new.uid(), new.gid()), (FIRST + 5, FIRST + 6));
    let read_only = format!("{}:/theirs:ro", theirs.display());
    sh(&["--volume", &read_only], "touch /theirs/other").fails(1, "Read-only file system");
}

fn users_and_rights() {
    let show = "id -u; id -g; id -G; grep Cap /proc/self/status; ulimit -n; ulimit -c";
    for options in [
        &["--user", "me"][..],
        &["--user", "1000:50", "--group-add", "77"],
        &["--cap-drop", "ALL", "--cap-add", "NET_RAW"],
        &["--user", "me", "--cap-add", "SYS_ADMIN"],
        &["--ulimit", "nofile=64:64", "--ulimit", "core=0"],
        &["--security-opt", "no-new-privileges", "--init"],
    ] {
        sh(options, show).ok();
    }
    let options = ["--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.shm_rmid_forced=1"];
    let script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced";
    assert_eq!(sh(&options, script).ok(), "1\n1\n");
    // Rights over what belongs to the host's root do not come with a name.
    let seen = sh(&["--cap-add", "ALL"], "mknod /tmp/disk b 7 0 2>&1");
    assert!(seen.code != 0 && seen.stdout.contains("not permitted"), "{seen:#?}");
}

fn file_systems_are_those_of_the_container() {
    let options = ["--read-only", "--tmpfs", "/scratch:size=1m", "--shm-size", "1m"];
    let script = "touch /x 2>&1; touch /scratch/x /dev/shm/x && echo writable; \
        (echo x > /proc/sys/kernel/hostname) 2>&1; cat /proc/keys | wc -c; \
        stat -c '%u:%g %a' /dev /dev/shm /scratch; echo x > /dev/null; \
        cut -d' ' -f2-4 /proc/mounts | sed 's/,lowerdir=.*//' | grep -v cgroup | sort";
    let seen = sh(&options, script).ok();
    assert!(seen.starts_with("touch: /x: Read-only file system\nwritable\n"), "{seen}");
}

fn exec_is_in_the_same_namespace() {
    let container = waiting(&[]);
    let exec = |options: &[&str], script: &str| container.exec(options, &["sh", "-c", script]);
    let script = "tr -s ' ' < /proc/self/uid_map; id -u; touch /new && stat -c %u:%g /new";
    assert_eq!(exec(&[], script).ok(), format!(" 0 {FIRST} {COUNT}\n0\n0:0\n"));
    assert_eq!(exec(&["--user", "me"], "id -u; id -G; exit 0").ok(), "1000\n1000 50\n");
    assert_eq!(
        exec(&["--user", "7:8", "--workdir", "/tmp"], "id -u; id -g; pwd").ok(),
        "7\n8\n/tmp\n"
    );
    assert_eq!(exec(&[], "exit 42").code, 42);
    let tty = exec(&["--tty", "--user", "me"], "tty; stat -c %u $(tty)").ok();
    assert_eq!(tty.replace('\r', ""), "/dev/pts/0\n1000\n");
    let seen = container.exec(&[], &["nosuch"]);
    // Versions of Docker differ in the status.
    assert!(format!("{seen:?}").contains("executable file not found in $PATH"), "{seen:?}");
}

fn a_person_enters_a_container() {
    let container = waiting(&[]);
    let mut user = User::new(24, 80);
    let words = ["exec", "-it", &container.name, "sh"];
    let client = user.start(&mut daemon().command(&words));
    user.screen.type_in("echo $((40 + 2)) of $(id -u); exit 5\n");
    user.screen.wait_for("42 of 0");
    assert_eq!(end(client), 5);
}

fn containers_from_start_to_end() {
    let container = waiting(&["--memory", "64m", "--pids-limit", "30"]);
    let pid = container.pid();
    container.docker(&["pause"]).ok();
    assert_eq!(container.inspect(".State.Status"), "paused");
    container.docker(&["unpause"]).ok();
    container.docker(&["update", "--memory", "96m", "--memory-swap", "96m"]).ok();
    let seen = container.docker(&["top"]).ok();
    assert!(seen.lines().any(|line| line.contains(&pid.to_string())), "{seen}");
    container.docker(&["restart"]).ok();
    assert_ne!(container.pid(), pid);
    container.docker(&["stop"]).ok();
    assert_eq!(container.inspect(".State.Status"), "exited");
}

fn privileged_needs_the_hosts_users() {
    sh(&["--privileged"], "true").fails(125, "incompatible with user namespaces");
    let seen = sh(&["--userns", "host"], "tr -s ' ' < /proc/self/uid_map").ok();
    assert_eq!(seen.trim(), "0 0 4294967295");
    // As far as this machine has what that takes.
    sh(&["--userns", "host", "--privileged"], "true");
}
