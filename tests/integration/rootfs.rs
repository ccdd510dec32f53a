//! The root file system: default devices, masked and read-only paths, how it becomes `/`.

use std::fs;

use serde_json::{Value, json};

use crate::harness::Case;
use crate::mounts::{bind, line, mounts, propagation, run_among_mounts, with_mount};
use crate::tests;

tests! {
    default_devices_and_links_are_there needs [Root],
    a_read_only_root_has_writable_mounts needs [Root],
    the_root_directory_itself_stays_as_it_is needs [Root],
    propagation_of_the_root needs [Root],
    masked_paths_are_hidden needs [Root]
        unlike runc "fails on a path below a file",
    read_only_paths_cannot_be_written needs [Root],
    mounts_below_read_only_paths_stay_as_they_are needs [Root],
    nothing_of_the_hosts_is_left_to_be_seen_in_full needs [Root],
    an_unbindable_root_can_have_read_only_paths needs [Root]
        unlike runc "fails to bind them",
    file_systems_of_the_kernel_can_be_closed_as_a_whole needs [Root]
        unlike runc "needs /proc itself",
    a_masked_path_wins_over_a_read_only_one needs [Root],
    devices_are_made_as_configured needs [Root],
    a_device_whose_place_is_taken_is_refused needs [Root]
        unlike runc "keeps whatever is there",
    a_device_may_be_listed_twice_but_not_as_two needs [Root]
        unlike runc "keeps the first of them",
    a_device_of_the_host_has_to_be_the_one_that_is_meant needs [Root]
        unlike runc "binds whatever is there",
    dev_of_the_host_is_left_alone needs [Root],
    stale_ptmx_of_the_image_is_replaced needs [Root],
    no_pivot_moves_the_root needs [Root],
    dev_can_be_read_only needs [Root],
    links_of_the_image_are_left_alone needs [Root],
}

fn default_devices_and_links_are_there() {
    let case = Case::new(&[
        "stat",
        "/dev/null",
        "/dev/zero",
        "/dev/full",
        "/dev/random",
        "/dev/urandom",
        "/dev/tty",
        "/dev/fd",
        "/dev/stdin",
        "/dev/stdout",
        "/dev/stderr",
        "/dev/ptmx",
        "/dev/console",
        "--",
        "open",
        "/dev/null",
        "rw",
        "--",
        "open",
        "/dev/zero",
        "r",
        "--",
        "write",
        "/dev/full",
        "x",
    ]);
    assert_eq!(
        case.run().ok(),
        "/dev/null c 1:3 0666 0:0\n/dev/zero c 1:5 0666 0:0\n/dev/full c 1:7 0666 0:0\n\
         /dev/random c 1:8 0666 0:0\n/dev/urandom c 1:9 0666 0:0\n/dev/tty c 5:0 0666 0:0\n\
         /dev/fd link /proc/self/fd 0777 0:0\n/dev/stdin link /proc/self/fd/0 0777 0:0\n\
         /dev/stdout link /proc/self/fd/1 0777 0:0\n/dev/stderr link /proc/self/fd/2 0777 0:0\n\
         /dev/ptmx link pts/ptmx 0777 0:0\n/dev/console ENOENT\nok\nok\nENOSPC\n"
    );
}

fn a_read_only_root_has_writable_mounts() {
    let mut case = with_mount(
        &["write", "/x", "y", "--", "write", "/tmp/x", "y", "--", "write", "/dev/shm/x", "y"],
        json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}),
    );
    case.set("/root/readonly", json!(true));
    assert_eq!(case.run().ok(), "EROFS\nok\nok\n");
}

fn the_root_directory_itself_stays_as_it_is() {
    let mut case = Case::new(&["write", "/from-inside", "x"]);
    case.run().ok();
    assert!(case.rootfs().join("from-inside").exists());
    case.set("/root/readonly", json!(true));
    case.run_with(&["--detach"]).ok();
    fs::write(case.rootfs().join("from-outside"), "x").expect("the host may still write");
}

fn propagation_of_the_root() {
    for (word, private, shared) in [
        ("", "", ""),
        ("private", "", ""),
        ("rprivate", "", ""),
        ("slave", "", "master"),
        ("rslave", "", "master"),
        ("shared", "shared", "shared"),
        ("rshared", "shared", "shared"),
        ("unbindable", "unbindable", "unbindable"),
    ] {
        // The root file system is a mount, or a directory in one.
        for place in ["rootfs", "."] {
            for (host, want) in [("private", private), ("shared", shared)] {
                let mut case = Case::new(&["report"]);
                case.set("/linux/rootfsPropagation", json!(word));
                let place = case.dir.join(place);
                let place = place.display();
                let script = format!("mount --bind {place} {place}; mount --make-{host} {place}");
                let report = run_among_mounts(&case, &script);
                let report: Value = serde_json::from_str(&report).expect("a report");
                let line = line(&report["mounts"], "/");
                assert_eq!(propagation(&line), want, "{word:?}, {place} {host}: {line}");
            }
        }
    }
    let mut case = Case::new(&[]);
    case.set("/linux/rootfsPropagation", json!("foo"));
    case.run().fails(1, "");
}

fn masked_paths_are_hidden() {
    let mut case = Case::new(&[
        "cat",
        "/proc/timer_list",
        "--",
        "list",
        "/sys/kernel",
        "--",
        "write",
        "/sys/kernel/x",
        "y",
        "--",
        "list",
        "/etc/secrets",
        "--",
        "cat",
        "/etc/secret",
        "--",
        "write",
        "/etc/secret",
        "x",
    ]);
    fs::create_dir(case.rootfs().join("etc/secrets")).expect("mkdir");
    fs::write(case.rootfs().join("etc/secrets/key"), "x").expect("write");
    fs::write(case.rootfs().join("etc/secret"), "secret\n").expect("write");
    case.set(
        "/linux/maskedPaths",
        json!([
            "/proc/timer_list",
            "/sys/kernel",
            "/etc/secrets",
            "/etc/secret",
            "/nonexistent",
            "/etc/passwd/x",
            "/etc/secret"
        ]),
    );
    assert_eq!(case.run().ok(), "\nEROFS\n\nok\n");
    assert_eq!(fs::read_to_string(case.rootfs().join("etc/secret")).expect("read"), "secret\n");
    case.args(&["report"]);
    let mounts = mounts(&case);
    for path in ["/sys/kernel", "/etc/secrets"] {
        assert!(line(&mounts, path).contains(" ro,relatime - tmpfs "), "{mounts:#}");
    }
}

fn read_only_paths_cannot_be_written() {
    let mut case = Case::new(&[
        "write",
        "/proc/sys/kernel/domainname",
        "x",
        "--",
        "write",
        "/etc/passwd",
        "x",
        "--",
        "write",
        "/etc/x/y",
        "z",
        "--",
        "cat",
        "/etc/x/y",
    ]);
    fs::create_dir(case.rootfs().join("etc/x")).expect("mkdir");
    fs::write(case.rootfs().join("etc/x/y"), "old\n").expect("write");
    case.set("/linux/readonlyPaths", json!(["/proc/sys", "/etc/passwd", "/etc/x", "/nonexistent"]));
    assert_eq!(case.run().ok(), "EROFS\nEROFS\nEROFS\nold\n");
}

/// lxcfs has writable files below `/proc/sys`.
fn mounts_below_read_only_paths_stay_as_they_are() {
    let mut case = with_mount(
        &["write", "/mnt/x", "y", "--", "write", "/mnt/below/x", "y"],
        json!({"destination": "/mnt", "type": "tmpfs", "source": "top"}),
    );
    case.set("/mounts/-", json!({"destination": "/mnt/below", "type": "tmpfs", "source": "sub"}));
    case.set("/linux/readonlyPaths", json!(["/mnt"]));
    assert_eq!(case.run().ok(), "EROFS\nok\n");
}

/// Whoever sees a sysfs without masks may mount another one without them, in a user namespace of
/// his own. Moving the root leaves the host's mounts below it.
fn nothing_of_the_hosts_is_left_to_be_seen_in_full() {
    let case = Case::new(&["mount-sysfs", "/var"]);
    for options in [&[][..], &["--no-pivot"]] {
        assert_eq!(case.run_with(options).ok(), "EPERM\n", "{options:?}");
    }
}

/// The copy that covers the path has to be made before nobody can make one any more.
fn an_unbindable_root_can_have_read_only_paths() {
    let mut case = Case::new(&["write", "/etc/x", "y", "--", "write", "/x", "y", "--", "report"]);
    case.set("/linux/rootfsPropagation", json!("unbindable"));
    case.set("/linux/readonlyPaths", json!(["/etc"]));
    let text = case.run().ok();
    let text = text.strip_prefix("EROFS\nok\n").unwrap_or_else(|| panic!("{text}"));
    let report: Value = serde_json::from_str(text).expect("a report");
    assert_eq!(propagation(&line(&report["mounts"], "/")), "unbindable");
}

fn file_systems_of_the_kernel_can_be_closed_as_a_whole() {
    let words =
        ["open", "/proc/self/oom_score_adj", "w", "--", "open", "/sys/kernel/profiling", "w"];
    for (list, want) in [("readonlyPaths", "EROFS\nEROFS\n"), ("maskedPaths", "ENOENT\nENOENT\n")] {
        let mut case = Case::new(&words);
        // The mount itself is writable.
        let mounts = case.config["mounts"].as_array_mut().expect("mounts");
        let sys = mounts.iter_mut().find(|mount| mount["destination"] == "/sys").expect("/sys");
        sys["options"] = json!(["nosuid", "rw"]);
        case.set("/linux/readonlyPaths", json!([])).set("/linux/maskedPaths", json!([]));
        case.set(&format!("/linux/{list}"), json!(["/proc", "/sys"]));
        assert_eq!(case.run().ok(), want, "{list}");
    }
}

fn a_masked_path_wins_over_a_read_only_one() {
    let mut case = Case::new(&["list", "/etc/both"]);
    fs::create_dir(case.rootfs().join("etc/both")).expect("mkdir");
    fs::write(case.rootfs().join("etc/both/file"), "x").expect("write");
    case.set("/linux/readonlyPaths", json!(["/etc/both"]));
    case.set("/linux/maskedPaths", json!(["/etc/both"]));
    assert_eq!(case.run().ok(), "\n");
}

fn devices_are_made_as_configured() {
    let mut case = Case::new(&[
        "stat",
        "/dev/fuse",
        "/a/b/mydev",
        "/dev/loop-x",
        "/run/pipe",
        "/dev/zero",
        "--",
        "open",
        "/dev/fuse",
        "r",
        "--",
        "open",
        "/a/b/mydev",
        "r",
    ]);
    case.set(
        "/linux/devices",
        json!([
        {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 8630},
        {"path": "/a/b/mydev", "type": "u", "major": 1, "minor": 5, "fileMode": 384, "uid": 5,
         "gid": 7},
        {"path": "/dev/loop-x", "type": "b", "major": 7, "minor": 99},
        {"path": "/run/pipe", "type": "p", "fileMode": 420},
        {"path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 420}]),
    );
    assert_eq!(
        case.run().ok(),
        "/dev/fuse c 10:229 0666 0:0\n/a/b/mydev c 1:5 0600 5:7\n/dev/loop-x b 7:99 0666 0:0\n\
         /run/pipe fifo 0644 0:0\n/dev/zero c 1:5 0644 0:0\nEPERM\nEACCES\n"
    );
    // A node that fits is fine.
    assert!(case.run().ok().contains("/a/b/mydev c 1:5 0600 5:7"));
}

fn a_device_whose_place_is_taken_is_refused() {
    let mut case = Case::new(&[]);
    fs::write(case.rootfs().join("mydev"), "").expect("write");
    case.set("/linux/devices", json!([{"path": "/mydev", "type": "c", "major": 1, "minor": 5}]));
    case.run().fails(1, "linux.devices[0]: /mydev: another file is there already");
}

fn a_device_may_be_listed_twice_but_not_as_two() {
    let device = |path: &str, minor: u32, mode: u32| json!({"path": path, "type": "c", "major": 1, "minor": minor, "fileMode": mode});
    let mut case = Case::new(&["stat", "/dev/mine"]);
    case.set("/linux/devices", json!([device("/dev/mine", 5, 384), device("/dev/mine", 5, 438)]));
    assert_eq!(case.run().ok(), "/dev/mine c 1:5 0600 0:0\n");
    for path in ["/dev/mine", "/dev/./mine", "/dev/../dev/mine"] {
        case.set("/linux/devices", json!([device("/dev/mine", 5, 384), device(path, 3, 384)]));
        case.run().fails(1, "linux.devices[1]: /dev/");
    }
}

/// In a user namespace nobody makes devices, so those of the host are bound.
fn a_device_of_the_host_has_to_be_the_one_that_is_meant() {
    let mut case = Case::new(&["stat", "/dev/full"]);
    case.namespace("user", Some(json!({"type": "user"})));
    let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    case.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    let device = |kind: &str, minor: u32| json!([{"path": "/dev/full", "type": kind, "major": 1, "minor": minor}]);
    case.set("/linux/devices", device("c", 7));
    assert_eq!(case.run().ok(), "/dev/full c 1:7 0666 0:0\n");
    for (kind, minor) in [("c", 5), ("b", 7)] {
        case.set("/linux/devices", device(kind, minor));
        case.run().fails(1, "linux.devices[0]: /dev/full: the host has another device there");
    }
}

fn dev_of_the_host_is_left_alone() {
    let mut case = Case::new(&["stat", "/dev/null", "/dev/mark", "/dev/fd", "/dev/ptmx"]);
    let dev = case.dir.join("dev");
    fs::create_dir(&dev).expect("mkdir");
    fs::write(dev.join("mark"), "").expect("write");
    let mounts = json!([{"destination": "/proc", "type": "proc", "source": "proc"},
        bind(&dev, "/dev", &[])]);
    case.set("/mounts", mounts);
    case.set("/linux/maskedPaths", json!([]));
    let text = case.run().ok();
    let want = "/dev/null ENOENT\n/dev/mark file 0 0644 0:0\n/dev/fd ENOENT\n/dev/ptmx ENOENT\n";
    assert_eq!(text, want);
}

fn stale_ptmx_of_the_image_is_replaced() {
    let mut case = Case::new(&["stat", "/dev/ptmx"]);
    fs::write(case.rootfs().join("dev/ptmx"), "stale").expect("write");
    case.set("/mounts", json!([{"destination": "/proc", "type": "proc", "source": "proc"}]));
    case.set("/linux/maskedPaths", json!([]));
    assert_eq!(case.run().ok(), "/dev/ptmx link pts/ptmx 0777 0:0\n");
}

fn no_pivot_moves_the_root() {
    let case = Case::new(&["report"]);
    let report: Value =
        serde_json::from_str(&case.run_with(&["--no-pivot"]).ok()).expect("a report");
    assert!(line(&report["mounts"], "/proc").contains(" proc proc "));
    let mut case = Case::new(&["list", "/"]);
    assert_eq!(case.run_with(&["--no-pivot"]).ok(), "bin dev etc home proc run sys tmp var\n");
    case.set("/linux/rootfsPropagation", json!("private"));
    case.run_with(&["--no-pivot"]).fails(1, "");
}

/// It is closed after the devices, the links and the console are made.
fn dev_can_be_read_only() {
    let mut case = Case::new(&["stat", "/dev/null", "/dev/fd", "--", "write", "/dev/new", "x"]);
    let mounts = json!([
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "ro"]}]);
    case.set("/mounts", mounts);
    assert_eq!(
        case.run().ok(),
        "/dev/null c 1:3 0666 0:0\n/dev/fd link /proc/self/fd 0777 0:0\nEROFS\n"
    );
}

fn links_of_the_image_are_left_alone() {
    let mut case = Case::new(&["stat", "/dev/fd", "/dev/stdin", "/dev/stdout"]);
    case.set("/mounts", json!([{"destination": "/proc", "type": "proc", "source": "proc"}]));
    let dev = case.rootfs().join("dev");
    fs::create_dir_all(&dev).expect("make a directory");
    std::os::unix::fs::symlink("/proc/self/fd/../fd", dev.join("fd")).expect("make a link");
    fs::write(dev.join("stdin"), "").expect("write");
    assert_eq!(
        case.run().ok(),
        "/dev/fd link /proc/self/fd/../fd 0777 0:0\n/dev/stdin file 0 0644 0:0\n\
         /dev/stdout link /proc/self/fd/1 0777 0:0\n"
    );
}
