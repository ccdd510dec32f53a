//! Sandboxes and older kernels that lack the mount calls which work on descriptors: the container
//! is the same, or there is an error.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use orlop::sys::mount::DESCRIPTOR_CALLS as MOUNT_CALLS;
use serde_json::{Value, json};

use crate::harness::compare::without_groups;
use crate::harness::ordinary;
use crate::harness::terminal::{Receiver, Screen};
use crate::harness::{Case, Output};
use crate::mounts::{bind, cgroup_mount};
use crate::namespaces::{give_to, waiting};
use crate::tests;

tests! {
    a_container_is_the_same_without_any_of_the_mount_calls needs [Root] unlike runc "needs some",
    each_way_of_changing_the_root_works_without_them needs [Root] unlike runc "needs some",
    a_user_namespace_is_the_same_without_them needs [Root] unlike runc "needs some",
    a_terminal_is_shown_without_them needs [Root] unlike runc "needs some",
    nothing_is_mounted_on_the_host_without_them needs [Root] unlike runc "needs some",
    a_namespace_made_of_the_root_is_the_same needs [Root, TreeNamespaces]
        unlike runc "makes none",
    what_cannot_be_in_such_a_namespace_goes_the_ordinary_way needs [Root, TreeNamespaces]
        unlike runc "makes none",
    a_user_namespace_made_of_the_root_is_the_same needs [Root, TreeNamespaces]
        unlike runc "makes none",
    a_runtime_in_a_user_namespace_goes_the_same_way needs [Root, TreeNamespaces]
        unlike runc "makes none",
    an_ordinary_user_goes_the_same_way needs [Root, TreeNamespaces] unlike runc "makes none",
    what_only_they_can_do_is_an_error needs [Root] unlike runc "has other words",
}

/// Something of everything that is mounted.
fn case() -> Case {
    let mut case = Case::new(&["report"]);
    // The sandbox sets it, and so cannot be left by more.
    case.set("/process/noNewPrivileges", json!(true));
    let source = case.dir.join("source");
    fs::create_dir_all(source.join("dir")).expect("make a directory");
    fs::write(source.join("file"), "text").expect("write");
    for mount in [
        bind(&source, "/bound", &["ro", "nosuid", "noexec", "noatime"]),
        bind(&source.join("file"), "/etc/deep/file", &["nosymfollow", "nodiratime", "strictatime"]),
        bind(&source, "/plain", &["rshared", "rslave"]),
        json!({"destination": "/etc", "type": "tmpfs", "source": "copy",
            "options": ["tmpcopyup", "size=64k,mode=711", "sync"]}),
        json!({"destination": "/late", "type": "tmpfs", "source": "t", "options": ["ro", "private"]}),
        json!({"destination": "/late/below", "type": "tmpfs", "options": ["dirsync", "nodev"]}),
        json!({"destination": "/plain", "options": ["remount", "nodev"]}),
        cgroup_mount(&["nosuid", "noexec", "nodev", "ro"]),
    ] {
        case.set("/mounts/-", mount);
    }
    case.set("/root/readonly", json!(true));
    case.set("/linux/devices", json!([{"path": "/dev/full", "type": "c", "major": 1, "minor": 7}]));
    case.set(
        "/linux/maskedPaths",
        json!(["/proc/keys", "/sys/firmware", "/bound/dir", "/dev/full"]),
    );
    case.set("/linux/readonlyPaths", json!(["/proc/sys", "/dev/shm", "/bin/probe"]));
    case
}

fn run_without(case: &Case, calls: &[libc::c_long], options: &[&str]) -> Output {
    case.write_config();
    let words: Vec<_> = ["run"].iter().chain(options).copied().chain([&*case.id]).collect();
    Output::of(&mut case.command_without(calls, &words))
}

/// The mounts without the numbers of their peer groups, `/dev`, and what is open.
#[track_caller]
fn seen(output: Output) -> Vec<String> {
    let text = output.ok();
    let report: Value = serde_json::from_str(&text).expect("a report");
    let mounts = report["mounts"].as_array().expect("mounts").iter().filter_map(Value::as_str);
    let mounts = mounts.map(without_groups);
    mounts.chain([report["dev"].to_string(), report["fds"].to_string()]).collect()
}

#[track_caller]
fn is_the_same(case: &Case, calls: &[libc::c_long], options: &[&str]) {
    let [wanted, found] = [&[], calls].map(|calls| {
        // Mount points that are there already would make a difference.
        case.make_rootfs_again();
        seen(run_without(case, calls, options))
    });
    let differing: Vec<_> = wanted.iter().zip(&found).filter(|(a, b)| a != b).collect();
    assert!(differing.is_empty(), "without {calls:?}, {options:?}: {differing:#?}");
    assert_eq!(found.len(), wanted.len(), "without {calls:?}, {options:?}");
    assert_eq!(case.leftovers(), [""; 0]);
}

fn a_container_is_the_same_without_any_of_the_mount_calls() {
    let case = case();
    is_the_same(&case, &MOUNT_CALLS, &[]);
    for call in MOUNT_CALLS {
        is_the_same(&case, &[call], &[]);
    }
}

fn each_way_of_changing_the_root_works_without_them() {
    let mut case = case();
    is_the_same(&case, &MOUNT_CALLS, &["--no-pivot"]);
    for word in ["shared", "slave", "private", "unbindable"] {
        case.set("/linux/rootfsPropagation", json!(word));
        is_the_same(&case, &MOUNT_CALLS, &[]);
    }
}

fn a_user_namespace_is_the_same_without_them() {
    let mut case = case();
    case.namespace("user", Some(json!({"type": "user"})));
    let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    case.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    // The times of the host's mounts are locked there.
    case.set("/mounts/6/options", json!(["rbind", "ro", "nosuid", "noexec"]));
    case.set("/mounts/7/options", json!(["bind", "nosymfollow", "nosuid"]));
    is_the_same(&case, &MOUNT_CALLS, &[]);
}

fn a_terminal_is_shown_without_them() {
    let mut case = case();
    case.args(&["stat", "/dev/console"]);
    case.set("/process/terminal", json!(true));
    case.write_config();
    let receiver = Receiver::new(&case.id);
    let words = ["create", "--console-socket", receiver.argument(), &case.id];
    Output::of(&mut case.command_without(&MOUNT_CALLS, &words)).ok();
    let mut screen = Screen::new(receiver.receive().0);
    case.start().ok();
    screen.rest();
    assert!(screen.text.contains("/dev/console c 136:0"), "{}", screen.text);
}

/// Mounts are made aside at a place of the host, where nobody else may see them.
fn nothing_is_mounted_on_the_host_without_them() {
    let mut case = case();
    case.args(&["wait"]);
    case.set("/linux/rootfsPropagation", json!("shared"));
    let table = || fs::read_to_string("/proc/self/mountinfo").expect("read the mount table");
    case.write_config();
    let of_proc = |table: String| -> Vec<String> {
        table.lines().filter(|line| line.contains(" /proc")).map(str::to_string).collect()
    };
    let before = of_proc(table());
    Output::of(&mut case.command_without(&MOUNT_CALLS, &["create", &case.id])).ok();
    assert_eq!(of_proc(table()), before);
    let id = case.id.clone();
    assert!(!table().lines().any(|line| line.contains(&format!("{id}/rootfs/"))), "{}", table());
}

/// open_tree(2) lacks `OPEN_TREE_NAMESPACE`.
fn ordinary_way() -> String {
    format!("{}:2:2", libc::SYS_open_tree)
}

/// Makes the root anew, for the host's id that is root inside.
fn make_rootfs_again(case: &Case) {
    case.make_rootfs_again();
    let first = case.config.pointer("/linux/uidMappings/0/hostID").and_then(Value::as_u64);
    let first = first.map(|first| u32::try_from(first).expect("an id"));
    first.into_iter().for_each(|first| give_to(case, first, first));
}

/// Runs the container on the way that the machine has and on the ordinary one, and says which the
/// first was.
#[track_caller]
fn is_the_same_on_both_ways(case: &Case, options: &[&str]) -> bool {
    case.write_config();
    let [found, wanted] = [vec![], vec![ordinary_way()]].map(|calls| {
        make_rootfs_again(case);
        let words: Vec<_> =
            ["--debug", "run"].iter().chain(options).copied().chain([&*case.id]).collect();
        let output = Output::of(&mut case.command_without(&calls, &words));
        let made = output.stderr.contains("mount namespace: Made");
        (made, seen(output))
    });
    assert!(!wanted.0, "the sandbox lacks it");
    let differing: Vec<_> = wanted.1.iter().zip(&found.1).filter(|(a, b)| a != b).collect();
    assert!(differing.is_empty(), "{options:?}: {differing:#?}");
    assert_eq!(found.1.len(), wanted.1.len(), "{options:?}");
    assert_eq!(case.leftovers(), [""; 0]);
    found.0
}

/// Something of everything, with a file system of the host beside that of the root.
fn case_beside_the_host() -> Case {
    let mut case = case();
    // Cgroups of the host are bound where the container has no namespace of its own.
    case.namespace("cgroup", Some(json!({"type": "cgroup"})));
    for (destination, options) in [("/shm", ["bind", "ro"]), ("/devices", ["rbind", "noexec"])] {
        let source = if destination == "/shm" { "/dev/shm" } else { "/dev" };
        case.set("/mounts/-", bind(source.as_ref(), destination, &options));
    }
    case
}

fn a_namespace_made_of_the_root_is_the_same() {
    let mut case = case_beside_the_host();
    for word in ["", "shared", "slave", "private", "unbindable"] {
        case.set("/linux/rootfsPropagation", json!(word));
        assert!(is_the_same_on_both_ways(&case, &[]), "{word:?}");
    }
}

fn what_cannot_be_in_such_a_namespace_goes_the_ordinary_way() {
    assert!(!is_the_same_on_both_ways(&case_beside_the_host(), &["--no-pivot"]));
    let hook = json!([{"path": "/bin/true"}]);
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let mut case = case_beside_the_host();
        case.set("/hooks", json!({kind: hook}));
        assert!(!is_the_same_on_both_ways(&case, &[]), "{kind}");
    }
    for hook_inside in ["startContainer", "poststart", "poststop"] {
        let mut case = case_beside_the_host();
        let path = if hook_inside == "startContainer" { "/bin/probe" } else { "/bin/true" };
        case.set("/hooks", json!({hook_inside: [{"path": path, "args": ["probe", "exit", "0"]}]}));
        assert!(is_the_same_on_both_ways(&case, &[]), "{hook_inside}");
    }
    let mut case = case_beside_the_host();
    case.set("/mounts/-", bind(&case.rootfs().join("etc"), "/own", &["rbind"]));
    assert!(!is_the_same_on_both_ways(&case, &[]), "a source below the root");
    let mut case = case_beside_the_host();
    // Its options name directories of the host, which the image may have as well.
    let (lower, lowest) = (case.dir.join("source"), case.dir.join("lowest"));
    fs::create_dir(&lowest).expect("make a directory");
    let option = format!("lowerdir={}:{}", lower.display(), lowest.display());
    case.set("/mounts/-", json!({"destination": "/over", "type": "overlay", "options": [option]}));
    assert!(!is_the_same_on_both_ways(&case, &[]), "an overlay");
}

/// Something of everything that can be mounted in a user namespace.
fn case_in_a_user_namespace() -> Case {
    let mut case = case_beside_the_host();
    // The times of the host's mounts are locked there.
    case.set("/mounts/6/options", json!(["rbind", "ro", "nosuid", "noexec"]));
    case.set("/mounts/7/options", json!(["bind", "nosymfollow", "nosuid"]));
    case.set("/linux/devices/-", json!({"path": "/dev/pipe", "type": "p"}));
    case
}

/// procfs, sysfs and devices come from among the host's mounts, and nothing else.
fn a_user_namespace_made_of_the_root_is_the_same() {
    for first in [0, 100_000] {
        let mut case = case_in_a_user_namespace();
        case.namespace("user", Some(json!({"type": "user"})));
        let map = json!([{"containerID": 0, "hostID": first, "size": 65536}]);
        case.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map.clone());
        for word in ["", "shared", "slave", "private", "unbindable"] {
            case.set("/linux/rootfsPropagation", json!(word));
            assert!(is_the_same_on_both_ways(&case, &[]), "{first} {word:?}");
        }
        let mut other = waiting(&["user", "pid", "mount", "network", "ipc", "uts", "cgroup"]);
        other.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
        make_rootfs_again(&other);
        other.run_detached();
        let path = format!("/proc/{}/ns/user", other.pid());
        case.namespace("user", Some(json!({"type": "user", "path": path})));
        assert!(is_the_same_on_both_ways(&case, &[]), "a joined user namespace");
    }
}

/// The runtime itself is in one: nothing may be mounted or made there either.
fn a_runtime_in_a_user_namespace_goes_the_same_way() {
    let mut case = case_in_a_user_namespace();
    case.remove("/linux/cgroupsPath").remove("/linux/resources");
    // Only one id is mapped.
    case.set("/mounts/2/options", json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666"]));
    let text = format!(
        "#!/bin/sh\nexec unshare --user --map-root-user --mount {} \"$@\"\n",
        case.runtime.display()
    );
    case.runtime = case.dir.join("mapped");
    fs::write(&case.runtime, text).expect("write a script");
    fs::set_permissions(&case.runtime, fs::Permissions::from_mode(0o755)).expect("chmod");
    assert!(is_the_same_on_both_ways(&case, &[]));
}

/// Whether the kernel has the call he cannot tell by its success.
fn an_ordinary_user_goes_the_same_way() {
    let mut case = ordinary::case(&["report"]);
    // With a hook, containers go the ordinary way.
    let [found, wanted] =
        [json!({}), json!({"createContainer": [{"path": "/bin/true"}]})].map(|hooks| {
            case.set("/hooks", hooks).write_config();
            let output = case.runtime(&["--debug", "run", &case.id]);
            (output.stderr.contains("mount namespace: Made"), seen(output))
        });
    assert_eq!((found.0, wanted.0), (true, false));
    assert_eq!(found.1, wanted.1);
}

fn what_only_they_can_do_is_an_error() {
    let base = case();
    let source = base.dir.join("source");
    let map = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
    let mapped = json!({"destination": "/mapped", "source": source, "options": ["bind"],
        "uidMappings": map, "gidMappings": map});
    for (mount, error) in [
        (bind(&source, "/rro", &["rro"]), "set it recursively (mount_setattr, Linux 5.12)"),
        (mapped, "id-mapped mounts need mount_setattr"),
    ] {
        let mut case = case();
        case.set("/mounts/-", mount);
        run_without(&case, &MOUNT_CALLS, &[]).fails(1, error);
    }
    let mut case = Case::new(&["report"]);
    case.namespace("mount", None);
    case.set("/linux/maskedPaths", json!([])).set("/linux/readonlyPaths", json!([]));
    case.set("/mounts", json!([]));
    run_without(&case, &MOUNT_CALLS, &[]).fails(1, "without a mount namespace");
}
