//! `mounts`: what each type and option does, in the order of the document.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::Case;
use crate::tests;

tests! {
    the_usual_mounts_look_as_they_should needs [Root],
    mounts_are_made_in_order needs [Root],
    options_of_bind_mounts needs [Root]
        unlike runc "takes `defaults` for data",
    options_of_new_file_systems needs [Root]
        unlike runc "takes `defaults` for data",
    bind_mounts_without_and_with_what_is_below needs [Root],
    recursive_options_reach_what_is_below needs [Root],
    a_file_is_bound_onto_a_file_that_is_made needs [Root],
    relative_sources_and_destinations needs [Root],
    links_in_destinations_stay_inside needs [Root],
    a_destination_of_the_wrong_kind_is_refused needs [Root],
    a_source_that_is_not_there_is_refused needs [Root],
    proc_and_sys_must_be_plain_directories needs [Root],
    a_tmpfs_keeps_the_mode_of_what_it_covers needs [Root],
    tmpcopyup_copies needs [Root],
    propagation_of_mounts needs [Root],
    cgroups_are_shown needs [Root, CgroupV1],
    cgroups_are_shown_on_v2 needs [Root, CgroupV2],
    cgroups_can_be_shown_writable needs [Root, CgroupV1],
    recursive_options_reach_all_hierarchies needs [Root, CgroupV1] unlike runc "ignores them",
    remount_changes_a_mount needs [Root],
}

/// The line of the mount at `path`: options and propagation, type, source, options of the type.
pub fn line(mounts: &Value, path: &str) -> String {
    let mut lines = mounts.as_array().expect("mounts").iter().filter_map(Value::as_str);
    let found = lines.rfind(|line| line.split(' ').nth(1) == Some(path));
    found.unwrap_or_else(|| panic!("no mount at {path} in {mounts:#}")).to_string()
}

pub fn mounts(case: &Case) -> Value {
    let report: Value = serde_json::from_str(&case.run().ok()).expect("a report");
    report["mounts"].clone()
}

pub fn with_mount(words: &[&str], mount: Value) -> Case {
    let mut case = Case::new(words);
    case.set("/mounts/-", mount);
    case
}

pub fn bind(source: &Path, destination: &str, options: &[&str]) -> Value {
    let options: Vec<_> = std::iter::once("rbind").chain(options.iter().copied()).collect();
    json!({"destination": destination, "source": source, "options": options})
}

fn the_usual_mounts_look_as_they_should() {
    let case = Case::new(&["report"]);
    let mounts = mounts(&case);
    for (path, want) in [
        ("/proc", "/ /proc rw,relatime - proc proc rw"),
        ("/dev", "/ /dev rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755"),
        (
            "/dev/pts",
            "/ /dev/pts rw,nosuid,noexec,relatime - devpts devpts rw,gid=5,mode=620,ptmxmode=666",
        ),
        ("/dev/shm", "/ /dev/shm rw,nosuid,nodev,noexec,relatime - tmpfs shm rw,size=65536k"),
        ("/dev/mqueue", "/ /dev/mqueue rw,nosuid,nodev,noexec,relatime - mqueue mqueue rw"),
        ("/sys", "/ /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro"),
    ] {
        let line = line(&mounts, path);
        // The kernel adds options of its own to some.
        assert!(line.starts_with(want), "{line}");
    }
}

fn mounts_are_made_in_order() {
    let mut case = Case::new(&["list", "/a", "--", "cat", "/b/seen"]);
    for (name, text) in [("one", "1"), ("two", "2")] {
        fs::create_dir(case.dir.join(name)).expect("mkdir");
        fs::write(case.dir.join(name).join(name), text).expect("write");
    }
    case.set("/mounts/-", bind(&case.dir.join("one"), "/a", &[]));
    case.set("/mounts/-", bind(&case.dir.join("two"), "/a", &[]));
    case.set("/mounts/-", json!({"destination": "/b", "type": "tmpfs", "source": "b"}));
    fs::write(case.dir.join("file"), "below\n").expect("write");
    case.set("/mounts/-", bind(&case.dir.join("file"), "/b/seen", &[]));
    assert_eq!(case.run().ok(), "two\nbelow\n");
}

fn options_of_bind_mounts() {
    let mut case = Case::new(&["report"]);
    let source = case.dir.join("tree");
    for (options, want) in [
        (&[][..], "rw,relatime"),
        (&["defaults"], "rw,relatime"),
        (&["ro"], "ro,relatime"),
        (&["ro", "rw"], "rw,relatime"),
        (&["rw", "ro"], "ro,relatime"),
        (&["nosuid", "nodev", "noexec"], "rw,nosuid,nodev,noexec,relatime"),
        (&["nosuid", "suid", "noexec"], "rw,noexec,relatime"),
        (&["noatime"], "rw,noatime"),
        (&["nodiratime"], "rw,nodiratime,relatime"),
        (&["strictatime"], "rw"),
        (&["nosymfollow"], "rw,relatime,nosymfollow"),
        (&["silent", "loud", "sync", "lazytime", "iversion"], "rw,relatime"),
    ] {
        case.set("/mounts/6", bind(&source, "/mnt", options));
        let report: Value = serde_json::from_str(&run_with_submount(&case)).expect("a report");
        let line = line(&report["mounts"], "/mnt");
        assert_eq!(line.split(' ').nth(2), Some(want), "{options:?}: {line}");
    }
    case.set("/mounts/6", bind(&source, "/mnt", &["mode=755"]));
    case.run().fails(1, "bind mounts cannot have any filesystem-specific options applied");
}

fn options_of_new_file_systems() {
    let mut case = Case::new(&["report"]);
    for (options, mount, superblock) in [
        (&[][..], "rw,relatime", "rw"),
        (&["defaults"], "rw,relatime", "rw"),
        (&["ro"], "ro,relatime", "rw"),
        (&["noexec", "size=64k", "mode=0700"], "rw,noexec,relatime", "rw,size=64k,mode=700"),
        (&["sync"], "rw,relatime", "rw,sync"),
        (&["sync", "async"], "rw,relatime", "rw"),
        (&["dirsync"], "rw,relatime", "rw,dirsync"),
        (&["lazytime"], "rw,relatime", "rw,lazytime"),
        (&["size=64k,mode=1770", ""], "rw,relatime", "rw,size=64k,mode=1770"),
    ] {
        let mount_entry =
            json!({"destination": "/mnt", "type": "tmpfs", "source": "x", "options": options});
        case.set("/mounts/6", mount_entry);
        let line = line(&mounts(&case), "/mnt");
        let words: Vec<_> = line.split(' ').collect();
        let superblock_words = words.last().expect("options").trim_end_matches(",inode64");
        // Without a mode of its own it gets that of the directory below, once that is there.
        let superblock_words = superblock_words.trim_end_matches(",mode=755");
        assert_eq!(words[2], mount, "{options:?}: {line}");
        assert_eq!(superblock_words, superblock, "{options:?}: {line}");
    }
    case.set("/mounts/6", json!({"destination": "/mnt", "type": "tmpfs", "options": ["foo=bar"]}));
    case.run().fails(1, "");
    case.set("/mounts/6", json!({"destination": "/mnt", "type": "nosuchfs"}));
    case.run().fails(1, "");
}

/// Runs the container in a mount namespace of its own, where `script` has mounted something
/// before, so nothing is left when it ends. The current directory is the test's.
pub fn run_among_mounts(case: &Case, script: &str) -> String {
    case.write_config();
    let script = format!(
        "set -e\n{script}\nexec {} --root {} run {}",
        crate::harness::runtime().display(),
        case.state_root().display(),
        case.id
    );
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]).current_dir(&case.dir);
    crate::harness::Output::of(&mut command).ok()
}

/// A tmpfs on the directory `tree` with another below it.
fn run_with_submount(case: &Case) -> String {
    run_among_mounts(
        case,
        "mkdir -p tree; mount -t tmpfs top tree; mkdir tree/below
         mount -t tmpfs sub tree/below; echo x >tree/below/file",
    )
}

fn bind_mounts_without_and_with_what_is_below() {
    for (option, want) in [("bind", "\n"), ("rbind", "file\n")] {
        let mut case = Case::new(&["list", "/mnt/below"]);
        let source = case.dir.join("tree");
        case.set(
            "/mounts/-",
            json!({"destination": "/mnt", "source": source, "options": [option]}),
        );
        assert_eq!(run_with_submount(&case), want, "{option}");
    }
}

fn recursive_options_reach_what_is_below() {
    for (option, top, below) in [
        ("ro", "ro,relatime", "rw,relatime"),
        ("rro", "ro,relatime", "ro,relatime"),
        ("rnosuid", "rw,nosuid,relatime", "rw,nosuid,relatime"),
        ("rnodev", "rw,nodev,relatime", "rw,nodev,relatime"),
        ("rnoexec", "rw,noexec,relatime", "rw,noexec,relatime"),
        ("rnoatime", "rw,noatime", "rw,noatime"),
        ("rnodiratime", "rw,nodiratime,relatime", "rw,nodiratime,relatime"),
        ("rstrictatime", "rw", "rw"),
        ("rrelatime", "rw,relatime", "rw,relatime"),
        ("rnosymfollow", "rw,relatime,nosymfollow", "rw,relatime,nosymfollow"),
    ] {
        let mut case = Case::new(&["report"]);
        case.set("/mounts/-", bind(&case.dir.join("tree"), "/mnt", &[option]));
        let report: Value = serde_json::from_str(&run_with_submount(&case)).expect("a report");
        let options = |path| line(&report["mounts"], path).split(' ').nth(2).map(str::to_string);
        assert_eq!(options("/mnt").as_deref(), Some(top), "{option}");
        assert_eq!(options("/mnt/below").as_deref(), Some(below), "{option}");
    }
}

fn a_file_is_bound_onto_a_file_that_is_made() {
    let mut case =
        Case::new(&["cat", "/etc/deep/resolv.conf", "--", "write", "/etc/deep/resolv.conf", "x"]);
    fs::write(case.dir.join("resolv.conf"), "hello\n").expect("write");
    case.set("/mounts/-", bind(&case.dir.join("resolv.conf"), "/etc/deep/resolv.conf", &["ro"]));
    assert_eq!(case.run().ok(), "hello\nEROFS\n");
    let made = fs::metadata(case.rootfs().join("etc/deep/resolv.conf")).expect("stat");
    assert!(made.is_file() && made.len() == 0);
}

fn relative_sources_and_destinations() {
    let mut case = Case::new(&["cat", "/mnt/file"]);
    fs::create_dir(case.dir.join("data")).expect("mkdir");
    fs::write(case.dir.join("data/file"), "relative\n").expect("write");
    case.set("/mounts/-", json!({"destination": "mnt", "source": "data", "options": ["bind"]}));
    assert_eq!(case.run().ok(), "relative\n");
}

fn links_in_destinations_stay_inside() {
    for (link, target, destination, inside) in [
        ("data", "/var", "/data", "/var"),
        ("data", "../../../../var", "/data", "/var"),
        ("data", "/made/deep", "/data/x", "/made/deep/x"),
        ("data", "/var", "/data/../data/y", "/var/y"),
    ] {
        let mut case = Case::new(&["report"]);
        symlink(target, case.rootfs().join(link)).expect("link");
        let mount = json!({"destination": destination, "type": "tmpfs", "source": "here"});
        case.set("/mounts/-", mount);
        let line = line(&mounts(&case), inside);
        assert!(line.contains(" tmpfs here "), "{target}: {line}");
    }
    let mut case = Case::new(&[]);
    symlink("/loop", case.rootfs().join("loop")).expect("link");
    case.set("/mounts/-", json!({"destination": "/loop/x", "type": "tmpfs"}));
    case.run().fails(1, "");
}

fn a_destination_of_the_wrong_kind_is_refused() {
    let mut case = Case::new(&[]);
    fs::write(case.dir.join("file"), "").expect("write");
    fs::write(case.rootfs().join("file"), "").expect("write");
    fs::create_dir(case.dir.join("dir")).expect("mkdir");
    case.set("/mounts/6", bind(&case.dir.join("dir"), "/file", &[]));
    case.run().fails(1, "not a directory");
    case.set("/mounts/6", bind(&case.dir.join("file"), "/tmp", &[]));
    case.run().fails(1, "");
    case.set("/mounts/6", json!({"destination": "/file", "type": "tmpfs", "source": "x"}));
    case.run().fails(1, "not a directory");
}

fn a_source_that_is_not_there_is_refused() {
    let case = with_mount(&[], bind(Path::new("/nonexistent"), "/mnt", &[]));
    case.run().fails(1, "no such file or directory");
}

fn proc_and_sys_must_be_plain_directories() {
    for (name, target) in
        [("proc", "/tmp"), ("sys", "../tmp"), ("proc", "/proc/self/root/tmp"), ("sys", "tmp")]
    {
        let case = Case::new(&[]);
        fs::remove_dir(case.rootfs().join(name)).expect("rmdir");
        symlink(target, case.rootfs().join(name)).expect("link");
        let error = case.run().fails(1, "");
        assert!(error.contains(&format!("/{name}")), "{error}");
        // Not only the last look sees it.
        assert!(!error.contains("something else is there"), "{error}");
    }
    for mount in [
        json!({"destination": "/proc", "type": "tmpfs", "source": "x"}),
        json!({"destination": "/proc/self", "type": "tmpfs", "source": "x"}),
        bind(Path::new("/tmp"), "/proc", &[]),
        bind(Path::new("/tmp"), "/proc/sys/kernel", &[]),
    ] {
        with_mount(&[], mount).run().fails(1, "proc");
    }
}

fn a_tmpfs_keeps_the_mode_of_what_it_covers() {
    for (path, options, want) in [
        ("/tmp", &[][..], "/tmp dir 1777 0:0"),
        ("/var", &[], "/var dir 0755 0:0"),
        ("/tmp", &["mode=0700"], "/tmp dir 0700 0:0"),
        ("/fresh", &[], "/fresh dir 1777 0:0"),
    ] {
        let case = with_mount(
            &["stat", path],
            json!({"destination": path, "type": "tmpfs", "source": "x", "options": options}),
        );
        assert_eq!(case.run().ok().trim(), want);
    }
}

fn tmpcopyup_copies() {
    let case = with_mount(
        &[
            "stat",
            "/etc/passwd",
            "/etc/deep/link",
            "/etc/deep/private",
            "/etc/deep/empty",
            "--",
            "cat",
            "/etc/deep/private",
            "--",
            "write",
            "/etc/new",
            "x",
        ],
        json!({"destination": "/etc", "type": "tmpfs", "source": "x",
               "options": ["rw", "rprivate", "nosuid", "nodev", "tmpcopyup", ""]}),
    );
    let deep = case.rootfs().join("etc/deep");
    fs::create_dir_all(deep.join("empty")).expect("mkdir");
    symlink("../passwd", deep.join("link")).expect("link");
    fs::write(deep.join("private"), "secret\n").expect("write");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(deep.join("private"), mode).expect("chmod");
    std::os::unix::fs::chown(deep.join("private"), Some(0), Some(7)).expect("chown");
    let size = fs::metadata(case.rootfs().join("etc/passwd")).expect("stat").len();
    assert_eq!(
        case.run().ok(),
        format!(
            "/etc/passwd file {size} 0644 0:0\n/etc/deep/link link ../passwd 0777 0:0\n\
             /etc/deep/private file 7 0600 0:7\n/etc/deep/empty dir 0755 0:0\nsecret\nok\n"
        )
    );
    assert!(!case.rootfs().join("etc/new").exists());
}

fn propagation_of_mounts() {
    for (options, private, shared) in [
        (&[][..], "", "master"),
        (&["private"], "", ""),
        (&["rprivate"], "", ""),
        (&["rslave"], "", "master"),
        (&["shared"], "shared", "shared master"),
        (&["rshared"], "shared", "shared master"),
        (&["unbindable"], "unbindable", "unbindable"),
        (&["private", "shared"], "shared", "shared"),
    ] {
        for (host, want) in [("private", private), ("shared", shared)] {
            let mut case = Case::new(&["report"]);
            case.set("/mounts/-", bind(&case.dir.join("source"), "/mnt", options));
            let script =
                format!("mkdir source; mount -t tmpfs top source; mount --make-{host} source");
            let report = run_among_mounts(&case, &script);
            let report: Value = serde_json::from_str(&report).expect("a report");
            let line = line(&report["mounts"], "/mnt");
            assert_eq!(propagation(&line), want, "{options:?} of a {host} mount: {line}");
        }
    }
}

/// The optional fields, which stand between the options and the dash, without their numbers.
pub fn propagation(line: &str) -> String {
    let words = line.split(' ').skip(3).take_while(|word| *word != "-");
    let tags: Vec<_> = words.map(|word| word.split(':').next().unwrap_or_default()).collect();
    tags.join(" ")
}

pub fn cgroup_mount(options: &[&str]) -> Value {
    json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
           "options": options})
}

fn cgroups_are_shown() {
    for namespace in [false, true] {
        let mut case = Case::new(&[
            "cat",
            "/sys/fs/cgroup/pids/pids.max",
            "--",
            "write",
            "/sys/fs/cgroup/pids/pids.max",
            "5",
            "--",
            "report",
        ]);
        case.set("/mounts/-", cgroup_mount(&["nosuid", "noexec", "nodev", "relatime", "ro"]));
        case.set("/linux/resources/pids", json!({"limit": 77}));
        if namespace {
            case.namespace("cgroup", Some(json!({"type": "cgroup"})));
        }
        let text = case.run().ok();
        let report = text.strip_prefix("77\nEROFS\n").expect("the limit, which cannot be changed");
        let report: Value = serde_json::from_str(report).expect("a report");
        let line = line(&report["mounts"], "/sys/fs/cgroup/pids");
        let root = if namespace { "/" } else { &case.cgroup() };
        assert!(line.starts_with(&format!("{root} /sys/fs/cgroup/pids ro,")), "{line}");
        let cgroups = report["cgroups"].as_array().expect("cgroups");
        let own = cgroups.iter().filter_map(Value::as_str);
        assert!(own.filter(|line| line.contains("pids")).all(|l| l.ends_with(root)), "{cgroups:?}");
    }
}

fn cgroups_are_shown_on_v2() {
    let mut case = Case::new(&[
        "cat",
        "/sys/fs/cgroup/pids.max",
        "--",
        "write",
        "/sys/fs/cgroup/pids.max",
        "5",
        "--",
        "report",
    ]);
    case.set("/mounts/-", cgroup_mount(&["nosuid", "noexec", "nodev", "relatime", "ro"]));
    case.set("/linux/resources/pids", json!({"limit": 77}));
    case.namespace("cgroup", Some(json!({"type": "cgroup"})));
    let text = case.run().ok();
    let report = text.strip_prefix("77\nEROFS\n").expect("the limit, which cannot be changed");
    let report: Value = serde_json::from_str(report).expect("a report");
    let line = line(&report["mounts"], "/sys/fs/cgroup");
    assert!(
        line.starts_with("/ /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2"),
        "{line}"
    );
    assert_eq!(report["cgroups"], json!(["0::/"]));
}

fn cgroups_can_be_shown_writable() {
    let mut case = Case::new(&["make-dir", "/sys/fs/cgroup/pids/child"]);
    case.set("/mounts/-", cgroup_mount(&["nosuid", "noexec", "nodev"]));
    assert_eq!(case.run().ok(), "ok\n");
}

fn recursive_options_reach_all_hierarchies() {
    let mut case = Case::new(&["make-dir", "/sys/fs/cgroup/pids/child"]);
    case.set("/mounts/-", cgroup_mount(&["rro"]));
    assert_eq!(case.run().ok(), "EROFS\n");
    case.args(&["report"]);
    let mounts = mounts(&case);
    for place in ["/sys/fs/cgroup", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/memory"] {
        let line = line(&mounts, place);
        assert!(line.split(' ').nth(2).expect("options").starts_with("ro,"), "{line}");
    }
}

fn remount_changes_a_mount() {
    let mut case = with_mount(
        &["write", "/mnt/x", "y"],
        json!({"destination": "/mnt", "type": "tmpfs", "source": "x"}),
    );
    case.set("/mounts/-", json!({"destination": "/mnt", "options": ["remount", "ro"]}));
    assert_eq!(case.run().ok(), "EROFS\n");
}
