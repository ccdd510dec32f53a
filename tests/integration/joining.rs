//! Namespaces joined by path, two at a time, beside every kind of user namespace. A mount namespace
//! is joined with rights there only.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::{Background, Case};
use crate::namespaces::{donor, give_to, waiting};
use crate::tests;

tests! {
    any_two_namespaces_of_a_container needs [Root],
    any_two_namespaces_of_a_container_in_a_user_namespace needs [Root],
    a_mount_namespace_and_any_other_of_a_container needs [Root],
    a_mount_namespace_and_any_other_in_a_user_namespace needs [Root],
    a_mount_namespace_without_rights_there_is_refused needs [Root]
        unlike runc "has other words",
    parameters_of_the_user_namespace_are_set_inside_only needs [Root],
}

/// Kinds, and their files in `/proc/PID/ns`. Each needs rights that come from elsewhere.
const KINDS: [(&str, &str); 6] = [
    ("cgroup", "cgroup"),
    ("ipc", "ipc"),
    ("network", "net"),
    ("pid", "pid"),
    ("time", "time"),
    ("uts", "uts"),
];

/// Which user namespace the joining container has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum User {
    None,
    New,
    Joined,
}

fn of(pid: i32, file: &str) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/{file}")).expect("a namespace")
}

fn any_two_namespaces_of_a_container() {
    let first = waiting(&["cgroup", "ipc", "network", "pid", "time", "uts", "mount"]);
    join_pairs(&first, &[User::None, User::New]);
}

fn any_two_namespaces_of_a_container_in_a_user_namespace() {
    let first = waiting(&["cgroup", "ipc", "network", "pid", "time", "uts", "mount", "user"]);
    join_pairs(&first, &[User::None, User::New, User::Joined]);
}

fn join_pairs(first: &Case, users: &[User]) {
    first.run_detached();
    let pairs = (0..KINDS.len()).flat_map(|a| (a + 1..KINDS.len()).map(move |b| (a, b)));
    let step = if std::env::var_os("SLOW").is_some() { 4 } else { 1 };
    for (index, (a, b)) in pairs.enumerate() {
        for (place, user) in users.iter().enumerate() {
            if (index + place) % step == 0 {
                join(first.pid(), &[KINDS[a], KINDS[b]], *user, None);
            }
        }
    }
}

fn a_mount_namespace_and_any_other_of_a_container() {
    let first = waiting(&["cgroup", "ipc", "network", "pid", "time", "uts", "mount"]);
    first.run_detached();
    for kind in KINDS {
        let mut mounts = donor(&["--mount"]);
        mounts.line();
        join(first.pid(), &[kind], User::None, Some(&mounts));
        mounts.kill();
    }
}

fn a_mount_namespace_and_any_other_in_a_user_namespace() {
    let first = waiting(&["cgroup", "ipc", "network", "pid", "time", "uts", "mount", "user"]);
    first.run_detached();
    for kind in KINDS {
        let mounts = mounts_of_the_users_of(first.pid());
        join(first.pid(), &[kind], User::Joined, Some(&mounts));
        mounts.kill();
    }
}

/// A process with the user namespace of another and a mount namespace that belongs to that: the
/// tree of the host, and not that of a container, since the new container's root has to be found.
fn mounts_of_the_users_of(pid: i32) -> Background {
    let mut command = std::process::Command::new("nsenter");
    command.args(["--target", &pid.to_string(), "--user", "--setuid", "0", "--setgid", "0"]);
    command.args(["unshare", "--mount", "sh", "-c", "echo $$; exec sleep 1000"]);
    command.stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut process = Background::start(&mut command);
    process.line();
    process
}

/// What a new user namespace owns does not include a mount namespace that was there before.
fn a_mount_namespace_without_rights_there_is_refused() {
    let mut mounts = donor(&["--mount"]);
    mounts.line();
    let mut case = waiting(&["user", "pid", "network", "ipc", "uts"]);
    let path = format!("/proc/{}/ns/mnt", mounts.pid());
    case.namespace("mount", Some(json!({"type": "mount", "path": path})));
    case.run().fails(1, "operation not permitted");
    mounts.kill();
}

/// Makes a container that joins these namespaces of the process `pid`, and the mount namespace of
/// `mounts`, which has its root from then on.
fn join(pid: i32, joined: &[(&str, &str)], user: User, mounts: Option<&Background>) {
    let mut case = waiting(&["cgroup", "ipc", "network", "pid", "time", "uts", "mount"]);
    // Not all of them can be mounted in every combination.
    case.set("/mounts", json!([])).remove("/linux/maskedPaths");
    case.remove("/linux/readonlyPaths");
    case.remove("/hostname");
    for (kind, file) in joined {
        let path = format!("/proc/{pid}/ns/{file}");
        case.namespace(kind, Some(json!({"type": kind, "path": path})));
    }
    if let Some(mounts) = mounts {
        let path = format!("/proc/{}/ns/mnt", mounts.pid());
        case.namespace("mount", Some(json!({"type": "mount", "path": path})));
    }
    if user == User::New {
        give_to(&case, 100_000, 100_000);
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
        case.namespace("user", Some(json!({"type": "user"})));
        case.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    } else if user == User::Joined {
        give_to(&case, 100_000, 200_000);
        let path = format!("/proc/{pid}/ns/user");
        case.namespace("user", Some(json!({"type": "user", "path": path})));
    }
    let here = if mounts.is_some() { " and mounts" } else { "" };
    let what = format!("{joined:?}{here} with user namespace {user:?}");
    println!("{what}");
    case.run_detached();
    let own = case.pid();
    for (kind, file) in KINDS {
        let is_joined = joined.iter().any(|(joined, _)| *joined == kind);
        assert_eq!(of(own, file) == of(pid, file), is_joined, "{kind}: {what}");
    }
    if let Some(mounts) = mounts {
        assert_eq!(of(own, "mnt"), of(mounts.pid(), "mnt"), "{what}");
    }
    assert_eq!(of(own, "user") == of(pid, "user"), user == User::Joined || shares_user(pid, user));
    let report: Value = serde_json::from_str(&case.exec(&["report"]).ok()).expect("a report");
    assert_eq!(report["args"], json!(["/bin/probe", "report"]), "exec: {what}");
}

/// Neither of them has a user namespace of its own.
fn shares_user(pid: i32, user: User) -> bool {
    user == User::None && of(pid, "user") == fs::read_link("/proc/self/ns/user").expect("a link")
}

fn parameters_of_the_user_namespace_are_set_inside_only() {
    let file = "/proc/sys/user/max_net_namespaces";
    let before = fs::read_to_string(file).expect("read");
    let mut case = waiting(&["user", "pid", "network", "ipc", "uts", "mount"]);
    case.set("/linux/sysctl", json!({"user.max_net_namespaces": "7"})).args(&["cat", file]);
    assert_eq!(case.run().ok(), "7\n");
    assert_eq!(fs::read_to_string(file).expect("read"), before);
    case.namespace("user", None).remove("/linux/uidMappings").remove("/linux/gidMappings");
    case.run().fails(1, "user.max_net_namespaces");
}
