//! Namespaces: each new, joined, and absent.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::{Background, Case};
use crate::tests;

tests! {
    each_namespace_is_new_if_it_is_listed needs [Root],
    each_namespace_is_the_runtimes_if_it_is_not_listed needs [Root]
        unlike runc "needs /proc mounted",
    each_namespace_can_be_joined needs [Root],
    a_path_that_is_no_such_namespace_is_refused needs [Root],
    a_new_user_namespace_maps_ids_and_owns_the_others needs [Root]
        unlike runc "leaves the group of /dev/mqueue unmapped",
    a_user_namespace_with_gaps_in_its_ids needs [Root]
        unlike runc "follows links that the image has in /dev",
    a_joined_user_namespace_with_new_ones needs [Root],
    all_namespaces_of_another_container needs [Root],
    mappings_that_differ_from_a_joined_namespace_are_refused needs [Root],
    without_a_pid_namespace_kill_ends_all_processes needs [Root],
    kill_ends_those_that_outlived_the_first_process needs [Root],
    without_a_mount_namespace_nothing_stays_mounted needs [Root]
        unlike runc "leaves mounts behind",
    time_offsets_move_the_clocks needs [Root],
    time_offsets_in_a_user_namespace needs [Root],
    loopback_is_up needs [Root],
    sysctls_are_set_inside_only needs [Root],
    a_sysctl_of_the_host_network_is_refused needs [Root],
    host_and_domain_name_are_set_inside_only needs [Root],
    as_many_mappings_as_the_kernel_takes needs [Root],
}

/// The kinds by their names in the config and in `/proc/PID/ns`.
const KINDS: [(&str, &str); 8] = [
    ("cgroup", "cgroup"),
    ("ipc", "ipc"),
    ("mount", "mnt"),
    ("network", "net"),
    ("pid", "pid"),
    ("time", "time"),
    ("user", "user"),
    ("uts", "uts"),
];

fn own(file: &str) -> PathBuf {
    fs::read_link(format!("/proc/self/ns/{file}")).expect("our namespace")
}

fn of(pid: i32, file: &str) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/{file}")).expect("its namespace")
}

fn path(pid: i32, file: &str) -> String {
    format!("/proc/{pid}/ns/{file}")
}

fn map(container: u32, host: u32, size: u32) -> Value {
    json!({"containerID": container, "hostID": host, "size": size})
}

/// A container that waits, with a user namespace if asked for.
pub fn waiting(kinds: &[&str]) -> Case {
    let mut case = Case::new(&["wait"]);
    let list: Vec<_> = kinds.iter().map(|kind| json!({"type": kind})).collect();
    case.set("/linux/namespaces", json!(list));
    if kinds.contains(&"user") {
        case.set("/linux/uidMappings", json!([map(0, 100_000, 65_536)]));
        case.set("/linux/gidMappings", json!([map(0, 200_000, 65_536)]));
        give_to(&case, 100_000, 200_000);
    }
    case
}

/// Root of a user namespace has to be able to make mount points.
pub fn give_to(case: &Case, uid: u32, gid: u32) {
    let mut todo = vec![case.rootfs()];
    while let Some(path) = todo.pop() {
        std::os::unix::fs::lchown(&path, Some(uid), Some(gid)).expect("chown");
        if path.is_dir() && !path.is_symlink() {
            todo.extend(
                fs::read_dir(&path).expect("read").map(|entry| entry.expect("read").path()),
            );
        }
    }
}

fn without_mounts_of_the_host(case: &mut Case) {
    case.set("/mounts", json!([]));
    case.remove("/linux/maskedPaths");
    case.remove("/linux/readonlyPaths");
}

fn each_namespace_is_new_if_it_is_listed() {
    let all: Vec<_> = KINDS.iter().map(|(kind, _)| *kind).filter(|kind| *kind != "user").collect();
    let case = waiting(&all);
    case.run_with(&["--detach"]).ok();
    for (kind, file) in KINDS.iter().filter(|(kind, _)| *kind != "user") {
        assert_ne!(of(case.pid(), file), own(file), "{kind}");
    }
}

fn each_namespace_is_the_runtimes_if_it_is_not_listed() {
    for (absent, file) in KINDS.iter().filter(|(kind, _)| *kind != "user") {
        let kinds: Vec<_> = KINDS.iter().map(|(kind, _)| *kind).collect();
        let kinds: Vec<_> =
            kinds.into_iter().filter(|kind| kind != absent && *kind != "user").collect();
        let mut case = waiting(&kinds);
        match *absent {
            "uts" => drop(case.remove("/hostname")),
            "mount" => without_mounts_of_the_host(&mut case),
            _ => {}
        }
        case.run_with(&["--detach"]).ok();
        assert_eq!(of(case.pid(), file), own(file), "{absent}");
    }
}

/// A process with new namespaces, to join them.
pub fn donor(flags: &[&str]) -> Background {
    let mut command = std::process::Command::new("unshare");
    command.args(flags).args(["sh", "-c", "echo $$; exec sleep 1000"]);
    command.stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    Background::start(&mut command)
}

fn each_namespace_can_be_joined() {
    let mut donor = donor(&["--ipc", "--net", "--uts", "--cgroup", "--time", "--mount"]);
    donor.line();
    let donor_pid = donor.pid();
    for (kind, file) in
        [("cgroup", "cgroup"), ("ipc", "ipc"), ("network", "net"), ("time", "time"), ("uts", "uts")]
    {
        let mut case = Case::new(&["wait"]);
        // `unshare --time` puts only children into the new one.
        let source = if kind == "time" { "time_for_children" } else { file };
        case.namespace(kind, Some(json!({"type": kind, "path": path(donor_pid, source)})));
        if kind == "uts" {
            case.set("/hostname", json!("joined"));
        }
        case.run_with(&["--detach"]).ok();
        assert_eq!(of(case.pid(), file), of(donor_pid, source), "{kind}");
    }
    donor.kill();
    // A PID namespace lives as long as its first process.
    let first = waiting(&["pid", "mount", "uts"]);
    first.run_with(&["--detach"]).ok();
    let mut second = Case::new(&["wait"]);
    second.namespace("pid", Some(json!({"type": "pid", "path": path(first.pid(), "pid")})));
    second.run_with(&["--detach"]).ok();
    assert_eq!(of(second.pid(), "pid"), of(first.pid(), "pid"));
    assert_ne!(of(second.pid(), "mnt"), of(first.pid(), "mnt"));
    second.kill("KILL").ok();
    second.wait_for_end();
    assert_eq!(first.status(), "running");
}

fn a_path_that_is_no_such_namespace_is_refused() {
    for (kind, path, why) in [
        ("network", "/proc/self/ns/uts".to_string(), "is a namespace of type uts, not net"),
        ("network", "/etc/passwd".to_string(), "is not a namespace"),
        ("network", "/nonexistent".to_string(), "no such file or directory"),
        ("mount", "/dev/null".to_string(), "is not a namespace"),
    ] {
        let mut case = Case::new(&[]);
        case.namespace(kind, Some(json!({"type": kind, "path": path})));
        let error = case.create().fails(1, "");
        if std::env::var_os("RUNTIME").is_none() {
            assert!(error.contains("linux.namespaces[") && error.contains(why), "{error}");
        }
    }
}

fn a_new_user_namespace_maps_ids_and_owns_the_others() {
    let mut case = waiting(&["user", "pid", "mount", "network", "ipc", "uts", "cgroup", "time"]);
    case.args(&[
        "cat",
        "/proc/self/uid_map",
        "/proc/self/gid_map",
        "--",
        "stat",
        "/dev/mqueue",
        "/proc/self/net/dev",
        "/proc/sys/net/ipv4/ip_forward",
        "/sys/devices/virtual/net/lo",
        "/dev/null",
        "/dev/pts",
    ]);
    let text = case.run().ok();
    let words: Vec<_> = text.split_whitespace().collect();
    assert_eq!(words[..6], ["0", "100000", "65536", "0", "200000", "65536"]);
    for line in text.lines().skip(2) {
        let owner = line.rsplit(' ').next().unwrap_or_default();
        // Device nodes of the host stay the host's.
        let want = if line.starts_with("/dev/null") { "65534:65534" } else { "0:0" };
        assert!(owner == want, "{line}");
    }
    case.args(&["wait"]);
    case.run_with(&["--detach"]).ok();
    let status = fs::read_to_string(format!("/proc/{}/status", case.pid())).expect("status");
    assert!(status.contains("Uid:\t100000\t100000\t100000\t100000"), "{status}");
    for (kind, file) in KINDS {
        assert_ne!(of(case.pid(), file), own(file), "{kind}");
    }
}

fn a_user_namespace_with_gaps_in_its_ids() {
    let mut case = waiting(&["user", "pid", "mount", "uts"]);
    case.set("/linux/uidMappings", json!([map(0, 100_000, 1), map(1000, 101_000, 1)]));
    case.set("/linux/gidMappings", json!([map(0, 200_000, 1), map(1000, 201_000, 1)]));
    case.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    // devpts wants the group of terminals, which has no mapping here.
    case.set("/mounts", json!([{"destination": "/proc", "type": "proc", "source": "proc"}]));
    case.args(&["cat", "/proc/self/uid_map"]);
    let text = case.run().ok();
    assert_eq!(
        text.split_whitespace().collect::<Vec<_>>(),
        ["0", "100000", "1", "1000", "101000", "1"]
    );
    // The kernel refuses what has no mapping, and the mount is named.
    let devpts = json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
        "options": ["newinstance", "gid=5"]});
    case.set("/mounts/1", devpts);
    let told = case.run().fails(1, "rootfs at \"/dev/pts\": mounts[1]: devpts: ");
    // Newer kernels refuse the option itself, which is named then.
    assert!(told.contains("invalid argument"), "{told}");
    case.set("/mounts", json!([{"destination": "/proc", "type": "proc", "source": "proc"}]));
    case.set("/process/user", json!({"uid": 7, "gid": 1000}));
    case.run().fails(1, "cannot setuid to unmapped uid 7 in user namespace");
}

fn a_joined_user_namespace_with_new_ones() {
    let first = waiting(&["user", "pid", "mount", "network", "ipc", "uts"]);
    first.run_with(&["--detach"]).ok();
    let pid = first.pid();
    let mut case = waiting(&["user", "pid", "mount", "ipc", "uts"]);
    case.namespace("user", Some(json!({"type": "user", "path": path(pid, "user")})));
    // As a pod does: the network is the first container's.
    case.namespace("network", Some(json!({"type": "network", "path": path(pid, "net")})));
    case.run_with(&["--detach"]).ok();
    assert_eq!(of(case.pid(), "user"), of(pid, "user"));
    assert_eq!(of(case.pid(), "net"), of(pid, "net"));
    assert_ne!(of(case.pid(), "ipc"), of(pid, "ipc"));
    assert_ne!(of(case.pid(), "pid"), of(pid, "pid"));
    let status = fs::read_to_string(format!("/proc/{}/status", case.pid())).expect("status");
    assert!(status.contains("Uid:\t100000\t"), "{status}");
    assert_eq!(case.status(), "running");
}

fn all_namespaces_of_another_container() {
    let first = waiting(&["pid", "mount", "network", "ipc", "uts"]);
    first.run_with(&["--detach"]).ok();
    let pid = first.pid();
    let mut case = waiting(&["mount"]);
    for (kind, file) in [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        case.namespace(kind, Some(json!({"type": kind, "path": path(pid, file)})));
    }
    case.run_with(&["--detach"]).ok();
    for file in ["pid", "net", "ipc", "uts"] {
        assert_eq!(of(case.pid(), file), of(pid, file), "{file}");
    }
}

fn mappings_that_differ_from_a_joined_namespace_are_refused() {
    let kinds = ["user", "pid", "mount", "network", "ipc", "uts"];
    let first = waiting(&kinds);
    first.run_with(&["--detach"]).ok();
    let mut case = waiting(&kinds);
    case.namespace("user", Some(json!({"type": "user", "path": path(first.pid(), "user")})));
    case.set("/linux/uidMappings", json!([map(0, 7, 1)]));
    let error = case.create().fails(1, "");
    if std::env::var_os("RUNTIME").is_none() {
        assert!(error.contains("linux.uidMappings: the joined user namespace"), "{error}");
    }
}

fn without_a_pid_namespace_kill_ends_all_processes() {
    for how in ["kill", "delete"] {
        let mut case = Case::new(&["spawn", "wait", "--", "spawn", "wait", "--", "wait"]);
        case.namespace("pid", None);
        case.run_with(&["--detach"]).ok();
        match how {
            "kill" => drop(case.kill("KILL").ok()),
            _ => drop(case.runtime(&["delete", "--force", &case.id]).ok()),
        }
        let left = crate::harness::host::processes_in_cgroup(&case.cgroup());
        assert!(left.is_empty(), "{how} left {left:?}");
    }
}

fn kill_ends_those_that_outlived_the_first_process() {
    for words in [&["kill", "--all"][..], &["kill"]] {
        let mut case = Case::new(&["spawn", "wait", "--", "exit", "0"]);
        case.namespace("pid", None);
        case.create().ok();
        let init = case.pid();
        case.start().ok();
        crate::harness::wait_until_gone(init);
        let processes = || crate::harness::host::processes_in_cgroup(&case.cgroup());
        assert_eq!(processes().len(), 1, "{:?}", processes());
        case.runtime(&[words, &[&case.id, "TERM"]].concat());
        assert_eq!(processes().len(), 1, "{:?}", processes());
        case.runtime(&[words, &[&case.id, "KILL"]].concat()).ok();
        assert!(processes().is_empty(), "{words:?} left {:?}", processes());
    }
}

fn without_a_mount_namespace_nothing_stays_mounted() {
    let mut case = Case::new(&["list", "/proc/self", "--", "stat", "/dev/null"]);
    case.namespace("mount", None);
    case.remove("/linux/maskedPaths");
    case.remove("/linux/readonlyPaths");
    let text = case.run().ok();
    assert!(text.contains("mountinfo") && text.contains("/dev/null c 1:3 0666 0:0"), "{text}");
    assert_eq!(case.leftovers(), Vec::<String>::new());
    case.create().ok();
    case.delete().ok();
    assert_eq!(case.leftovers(), Vec::<String>::new());
    case.set("/linux/maskedPaths", json!(["/proc/acpi"]));
    case.run().fails(1, "unable to restrict sys entries without a private MNT namespace");
}

fn time_offsets_move_the_clocks() {
    let mut case = Case::new(&["cat", "/proc/self/timens_offsets", "--", "cat", "/proc/uptime"]);
    case.namespace("time", Some(json!({"type": "time"})));
    case.set(
        "/linux/timeOffsets",
        json!({
        "monotonic": {"secs": 7881, "nanosecs": 2_718_281},
        "boottime": {"secs": 1_337_000}}),
    );
    let text = case.run().ok();
    let words: Vec<_> = text.split_whitespace().collect();
    assert_eq!(words[..6], ["monotonic", "7881", "2718281", "boottime", "1337000", "0"]);
    let uptime: f64 = words[6].parse().expect("seconds");
    assert!(uptime > 1_337_000.0, "{uptime}");
    case.set("/linux/timeOffsets", json!({"boottime": {"secs": -1_000_000_000}}));
    case.run().fails(1, "");
}

fn time_offsets_in_a_user_namespace() {
    let mut case = waiting(&["user", "pid", "mount", "network", "ipc", "uts", "time"]);
    case.args(&["cat", "/proc/self/timens_offsets"]);
    case.set("/linux/timeOffsets", json!({"boottime": {"secs": 3600}}));
    let text = case.run().ok();
    assert!(text.split_whitespace().any(|word| word == "3600"), "{text}");
}

fn loopback_is_up() {
    let case = Case::new(&["cat", "/sys/class/net/lo/flags"]);
    let flags = case.run().ok();
    let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).expect("flags");
    assert_eq!(flags & 1, 1);
}

fn sysctls_are_set_inside_only() {
    let file = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let before = fs::read_to_string(file).expect("read");
    let mut case =
        Case::new(&["cat", file, "/proc/sys/kernel/msgmax", "/proc/sys/kernel/domainname"]);
    case.set(
        "/linux/sysctl",
        json!({
        "net.ipv4.ip_unprivileged_port_start": "77",
        "kernel.msgmax": "100000",
        "kernel/domainname": "inside"}),
    );
    assert_eq!(case.run().ok(), "77\n100000\ninside\n");
    assert_eq!(fs::read_to_string(file).expect("read"), before);
    for (name, why) in [
        ("vm.swappiness", "is not in a separate kernel namespace"),
        ("kernel.hostname", "conflicts with"),
    ] {
        case.set("/linux/sysctl", json!({name: "1"}));
        case.run().fails(1, why);
    }
    case.set("/linux/sysctl", json!({"net.ipv4.nosuchthing": "1"}));
    case.run().fails(1, "nosuchthing");
}

fn a_sysctl_of_the_host_network_is_refused() {
    let mut case = Case::new(&[]);
    case.set("/linux/sysctl", json!({"net.ipv4.ip_forward": "0"}));
    for entry in [None, Some(json!({"type": "network", "path": "/proc/self/ns/net"}))] {
        case.namespace("network", entry);
        let error = case.run().fails(1, "host");
        assert!(error.contains("net.ipv4.ip_forward"), "{error}");
    }
}

fn host_and_domain_name_are_set_inside_only() {
    let files = ["/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname"];
    let before = files.map(|file| fs::read_to_string(file).expect("read"));
    let mut case = Case::new(&["cat", files[0], files[1]]);
    case.set("/hostname", json!("bücher-1")).set("/domainname", json!("example.org"));
    assert_eq!(case.run().ok(), "bücher-1\nexample.org\n");
    assert_eq!(files.map(|file| fs::read_to_string(file).expect("read")), before);
    case.namespace("uts", None);
    case.run().fails(1, "unable to set hostname without a private UTS namespace");
}

/// user_namespaces(7): 340 lines, in less than a page of text.
fn as_many_mappings_as_the_kernel_takes() {
    let mut case = waiting(&["user", "pid", "mount", "uts"]);
    case.set("/mounts", json!([{"destination": "/proc", "type": "proc", "source": "proc"}]));
    case.args(&["cat", "/proc/self/uid_map"]);
    let maps = |count: u32, host: u32| {
        let others = (1..count).map(|n| map(2 * n, host + 2 * n, 1));
        json!(std::iter::once(map(0, 100_000, 1)).chain(others).collect::<Vec<_>>())
    };
    case.set("/linux/uidMappings", maps(340, 5000)).set("/linux/gidMappings", maps(340, 5000));
    assert_eq!(case.run().ok().lines().count(), 340);
    case.set("/linux/uidMappings", maps(341, 5000));
    case.run().fails(1, "linux.uidMappings: 341 ranges, where the kernel takes no more than 340");
    case.set("/linux/uidMappings", maps(340, 1_000_000_000));
    let told = case.run().fails(1, "linux.uidMappings: write 340 lines, ");
    assert!(told.contains("invalid argument"), "{told}");
    assert_eq!(case.leftovers(), Vec::<String>::new());
}
