//! Roots and mounts of every kind, and what options of mounts are good for.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::{Value, json};

use crate::harness::Case;
use crate::mounts::{bind, line, run_among_mounts, with_mount};
use crate::namespaces::give_to;
use crate::tests;

tests! {
    a_root_can_be_any_kind_of_mount needs [Root],
    the_root_of_the_host_can_be_the_root needs [Root],
    masked_directories_share_one_file_system needs [Root],
    the_link_to_kcore_is_there_if_kcore_is needs [Root],
    options_are_in_force needs [Root],
    options_of_the_source_can_be_taken_back needs [Root],
    recursive_options_can_be_taken_back needs [Root],
    locked_options_stay_unless_they_are_named needs [Root],
    files_of_every_kind_are_bound needs [Root],
    an_overlay_is_mounted needs [Root],
    types_of_servers_go_to_the_kernel needs [Root] unlike runc "looks at it, and waits",
    a_mount_in_place_of_proc_or_sys_is_refused needs [Root] unlike runc "mounts over it",
    what_the_kernel_does_not_know_is_named needs [Root] unlike runc "has other words",
    long_options_and_sources_are_possible needs [Root],
    names_of_mounts_of_the_host_need_not_be_utf_8 needs [Root],
    mounts_may_be_more_than_files_may_be_open needs [Root],
}

fn report(text: &str) -> Value {
    serde_json::from_str(text).expect("a report")
}

/// The options of the mount at `path`.
fn options(report: &Value, path: &str) -> String {
    line(&report["mounts"], path).split(' ').nth(2).expect("options").to_string()
}

fn a_root_can_be_any_kind_of_mount() {
    for (kind, script, want) in [
        ("a bind", "mount --bind rootfs rootfs", "rw,"),
        ("read-only", "mount --bind rootfs rootfs; mount -o remount,bind,ro rootfs", "ro,"),
        (
            "an overlay",
            "mkdir top; mount -t tmpfs t top; mkdir top/up top/work
             mount -t overlay o -o lowerdir=rootfs,upperdir=top/up,workdir=top/work rootfs",
            "rw,",
        ),
        (
            "a tree",
            "mount --bind rootfs rootfs; mount --make-shared rootfs
             mount -t tmpfs sub rootfs/var; mkdir rootfs/var/below",
            "rw,",
        ),
    ] {
        let case = Case::new(&["report"]);
        let report = report(&run_among_mounts(&case, script));
        let options = options(&report, "/");
        assert!(options.starts_with(want), "{kind}: {options}");
        let line = line(&report["mounts"], "/");
        match kind {
            "an overlay" => assert!(line.contains(" - overlay o "), "{line}"),
            "a tree" => assert!(self::line(&report["mounts"], "/var").contains(" tmpfs sub ")),
            _ => {}
        }
    }
}

/// Its mounts are there already; what is mounted and made is so in the container alone.
fn the_root_of_the_host_can_be_the_root() {
    let mut case = Case::new(&[]);
    let probe = case.rootfs().join("bin/probe");
    case.set("/root/path", json!("/"));
    let mounts = json!([bind(Path::new("/dev"), "/dev", &[]),
        {"destination": "/mnt", "type": "tmpfs", "source": "mine"}]);
    case.set("/mounts", mounts);
    case.set("/linux/maskedPaths", json!([]));
    case.set("/process/args", json!([probe, "cat", "/proc/self/mountinfo"]));
    let before = fs::read_to_string("/proc/self/mountinfo").expect("read the mount table");
    let text = case.run().ok();
    assert!(text.lines().any(|line| line.contains(" /mnt ") && line.contains(" tmpfs mine ")));
    let after = fs::read_to_string("/proc/self/mountinfo").expect("read the mount table");
    let mine = |table: &str| table.lines().filter(|line| line.contains(" mine ")).count();
    assert_eq!((mine(&before), mine(&after)), (0, 0));
}

fn masked_directories_share_one_file_system() {
    let mut case = Case::new(&["cat", "/proc/self/mountinfo"]);
    let paths: Vec<_> = (0..96).map(|number| format!("/masked{number}")).collect();
    for path in &paths {
        fs::create_dir(case.rootfs().join(&path[1..])).expect("make a directory");
    }
    case.set("/linux/maskedPaths", json!(paths));
    let text = case.run().ok();
    // The third field is the device.
    let device = |path: &str| {
        let line = text.lines().find(|line| line.split(' ').nth(4) == Some(path));
        line.and_then(|line| line.split(' ').nth(2)).expect("a mount").to_string()
    };
    let first = device(&paths[0]);
    assert!(paths.iter().all(|path| device(path) == first), "{text}");
}

fn the_link_to_kcore_is_there_if_kcore_is() {
    let case = Case::new(&["read-link", "/dev/core"]);
    let there = Path::new("/proc/kcore").exists();
    assert_eq!(case.run().ok(), if there { "/proc/kcore\n" } else { "ENOENT\n" });
}

fn options_are_in_force() {
    let mut case = Case::new(&[]);
    let source = case.dir.join("source");
    fs::create_dir(&source).expect("make a directory");
    fs::hard_link(case.rootfs().join("bin/probe"), source.join("program")).expect("a link");
    symlink("program", source.join("link")).expect("make a link");
    let mode = Mode::from_bits_truncate(0o666);
    mknod(&source.join("null"), SFlag::S_IFCHR, mode, makedev(1, 3)).expect("mknod");
    for (option, words, without, with) in [
        ("noexec", &["exec", "/mnt/program", "echo", "x"][..], "x", "EACCES"),
        ("nodev", &["open", "/mnt/null", "r"], "ok", "EACCES"),
        ("nosymfollow", &["open", "/mnt/link", "r"], "ok", "ELOOP"),
        ("ro", &["write", "/mnt/file", "x"], "ok", "EROFS"),
    ] {
        for (options, want) in [(&[][..], without), (&[option], with)] {
            case.args(words);
            case.set("/mounts/6", bind(&source, "/mnt", options));
            assert_eq!(case.run().ok().trim(), want, "{options:?}");
        }
    }
}

/// Of each option the tree has what is taken back.
fn tree(options: &str) -> String {
    format!(
        "mkdir -p tree; mount -t tmpfs -o {options} top tree; mount -o remount,rw tree
         mkdir tree/below; mount -t tmpfs -o {options} sub tree/below
         mount -o remount,bind,{options} tree"
    )
}

const TAKEN_BACK: [(&str, &str); 6] = [
    ("ro", "rw"),
    ("nosuid", "suid"),
    ("nodev", "dev"),
    ("noexec", "exec"),
    ("noatime", "atime"),
    ("nodiratime", "diratime"),
];

fn options_of_the_source_can_be_taken_back() {
    // Access times are kept: see `as_runc::a_bind_keeps_access_times_that_no_word_sets`.
    for (set, clear) in TAKEN_BACK.into_iter().filter(|(set, _)| !set.ends_with("atime")) {
        let mut case = Case::new(&["report"]);
        case.set("/mounts/6", bind(&case.dir.join("tree"), "/mnt", &[clear]));
        let report = report(&run_among_mounts(&case, &tree(set)));
        let has = |path| options(&report, path).split(',').any(|word| word == set);
        assert_eq!([has("/mnt"), has("/mnt/below")], [false, true], "{clear}");
    }
}

fn recursive_options_can_be_taken_back() {
    for (set, clear) in TAKEN_BACK {
        let mut case = Case::new(&["report"]);
        case.set("/mounts/6", bind(&case.dir.join("tree"), "/mnt", &[&format!("r{clear}")]));
        let report = report(&run_among_mounts(&case, &tree(set)));
        let has = |path| options(&report, path).split(',').any(|word| word == set);
        assert_eq!([has("/mnt"), has("/mnt/below")], [false, false], "r{clear}");
    }
}

fn locked_options_stay_unless_they_are_named() {
    let case_with = |options: &[&str]| {
        let mut case = Case::new(&["report"]);
        case.namespace("user", Some(json!({"type": "user"})));
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        case.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
        give_to(&case, 100_000, 100_000);
        case.set("/mounts/6", bind(&case.dir.join("tree"), "/mnt", options));
        case
    };
    let script = "mkdir tree; mount -t tmpfs -o nosuid,nodev top tree";
    let report = report(&run_among_mounts(&case_with(&["ro"]), script));
    assert_eq!(options(&report, "/mnt"), "ro,nosuid,nodev,relatime");
    let case = case_with(&["suid"]);
    let (runtime, root) = (case.runtime.display(), case.state_root());
    let run = format!("{runtime} --root {} run {} 2>&1 || true; exit 0", root.display(), case.id);
    let error = run_among_mounts(&case, &format!("{script}; {run}"));
    assert!(error.contains("cannot clear locked flags"), "{error}");
}

fn files_of_every_kind_are_bound() {
    let mut case = Case::new(&["stat", "/mnt/fifo", "/mnt/device", "--", "report"]);
    let source = |name: &str| case.dir.join(name);
    let mode = Mode::from_bits_truncate(0o666);
    mknod(&source("fifo"), SFlag::S_IFIFO, mode, 0).expect("mknod");
    mknod(&source("device"), SFlag::S_IFCHR, mode, makedev(1, 5)).expect("mknod");
    let socket = UnixListener::bind(source("socket")).expect("bind a socket");
    for name in ["fifo", "device", "socket"] {
        case.set("/mounts/-", bind(&case.dir.join(name), &format!("/mnt/{name}"), &["ro"]));
    }
    let text = case.run().ok();
    drop(socket);
    let (stat, report) = text.split_once("\n{").expect("two answers");
    assert!(stat.starts_with("/mnt/fifo fifo") && stat.contains("/mnt/device c 1:5"), "{stat}");
    assert!(line(&self::report(&format!("{{{report}"))["mounts"], "/mnt/socket").contains(" ro,"));
}

fn an_overlay_is_mounted() {
    let mut case = Case::new(&["list", "/mnt", "--", "write", "/mnt/new", "x"]);
    let overlay = json!({"destination": "/mnt", "type": "overlay", "source": "overlay",
        "options": [format!("lowerdir={0}/lower", case.dir.display()),
            format!("upperdir={0}/top/up,workdir={0}/top/work", case.dir.display())]});
    case.set("/mounts/-", overlay);
    let script = "mkdir lower lower/old top; mount -t tmpfs t top; mkdir top/up top/work";
    assert_eq!(run_among_mounts(&case, script), "old\nok\n");
    assert!(!case.dir.join("lower/new").exists());
}

/// Nobody answers this one: what a container starts with must not wait for servers.
fn types_of_servers_go_to_the_kernel() {
    let mut case = Case::new(&["report"]);
    let options = "fd=3,rootmode=40000,user_id=0,group_id=0";
    let mount = |fstype: &str| json!({"destination": "/mnt", "type": fstype, "source": "server", "options": [options]});
    case.set("/mounts/-", mount("fuse.probe"));
    case.write_config();
    let words: Vec<_> = case.arguments(&["run", "--preserve-fds", "1", &case.id]);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "exec 3<>/dev/fuse \"$@\"", "sh"]).arg(&case.runtime).args(words);
    let report = report(&crate::harness::Output::of(command.current_dir(&case.dir)).ok());
    let line = line(&report["mounts"], "/mnt");
    assert!(line.contains(" - fuse.probe server rw,user_id=0,group_id=0"), "{line}");
    // The helper programs of mount(8) are nobody's; what the kernel says is told.
    case.set("/mounts/6", mount("nfs"));
    case.run().fails(1, "mounts[6]: nfs: ");
}

/// It could be anything that another container may write: RESOLVE_NO_XDEV.
fn a_mount_in_place_of_proc_or_sys_is_refused() {
    for name in ["proc", "sys"] {
        let case = Case::new(&[]);
        let (runtime, root) = (case.runtime.display(), case.state_root());
        let run =
            format!("{runtime} --root {} run {} 2>&1 || true; exit 0", root.display(), case.id);
        let script = format!("mount -t tmpfs x rootfs/{name}; {run}");
        let error = run_among_mounts(&case, &script);
        let want = "open the destination: invalid cross-device link";
        assert!(error.contains(want), "{error}");
    }
}

fn what_the_kernel_does_not_know_is_named() {
    for (fstype, options, error) in [
        (
            "nosuchfs",
            json!([]),
            "error mounting \"s\" to rootfs at \"/mnt\": mounts[6]: nosuchfs: fsopen nosuchfs: no such device",
        ),
        ("tmpfs", json!(["foo=bar"]), "mounts[6]: tmpfs: option \"foo=bar\""),
        ("tmpfs", json!(["size=x"]), "option \"size=x\""),
    ] {
        let mount =
            json!({"destination": "/mnt", "type": fstype, "source": "s", "options": options});
        with_mount(&[], mount).run().fails(1, error);
    }
}

/// Longer than the 255 bytes that fsconfig(2) takes: mount(2) has room for 4095 in all.
fn long_options_and_sources_are_possible() {
    let mut case = Case::new(&["list", "/mnt", "--", "write", "/mnt/x", "y", "--", "report"]);
    let lower: Vec<_> = (0..8).map(|number| case.dir.join(format!("{number:0>100}"))).collect();
    for (number, directory) in lower.iter().enumerate() {
        fs::create_dir_all(directory.join(number.to_string())).expect("make directories");
    }
    let names: Vec<_> = lower.iter().map(|path| path.display().to_string()).collect();
    let mount = |destination: &str, fstype: &str, source: &str, options: Value| json!({"destination": destination, "type": fstype, "source": source, "options": options});
    let lowers = json!([format!("lowerdir={}", names.join(":")), "nosuid"]);
    case.set("/mounts/-", mount("/mnt", "overlay", "overlay", lowers));
    case.set("/mounts/-", mount("/tmp", "tmpfs", &"s".repeat(300), json!(["ro", "size=64k"])));
    let text = case.run().ok();
    let report = text.strip_prefix("0 1 2 3 4 5 6 7\nEROFS\n").unwrap_or_else(|| panic!("{text}"));
    let report = self::report(report);
    assert_eq!(options(&report, "/mnt"), "rw,nosuid,relatime");
    assert_eq!(options(&report, "/tmp"), "ro,relatime");
    assert!(line(&report["mounts"], "/tmp").contains(&format!(" {} ", "s".repeat(300))));
    // Where they were made nothing is left.
    assert!(!text.contains(" /proc/fs ") && !text.contains(" /proc/version "), "{text}");
}

/// An ordinary user may have made them, with fusermount.
fn names_of_mounts_of_the_host_need_not_be_utf_8() {
    let script = "name=$(printf 'strange\\377 name'); mkdir \"$name\" tree \"tree/$name\"
        mount -t tmpfs t \"$name\"; mount -t proc p \"tree/$name\"";
    for (option, lacking) in [("", &[][..]), ("--no-pivot", &[]), ("", &[LISTMOUNT])] {
        let mut case = Case::new(&["list", "/mnt"]);
        case.set("/mounts/-", bind(&case.dir.join("tree"), "/mnt", &[]));
        case.lacks(lacking);
        let run = format!(
            "{} --root {} run {option} {}; exit",
            case.runtime.display(),
            case.state_root().display(),
            case.id
        );
        let text = run_among_mounts(&case, &format!("{script}\n{run}"));
        assert_eq!(text, "strange\u{fffd} name\n", "{option} {lacking:?}");
    }
}

/// listmount(2), without which the mount table is read.
const LISTMOUNT: libc::c_long = 458;

fn mounts_may_be_more_than_files_may_be_open() {
    let mut case = Case::new(&["report"]);
    for number in 0..100 {
        let destination = format!("/mnt/{number}");
        case.set("/mounts/-", json!({"destination": destination, "type": "tmpfs", "source": "t"}));
    }
    let report = report(&run_among_mounts(&case, "ulimit -Sn 80"));
    assert!(line(&report["mounts"], "/mnt/99").contains(" tmpfs t "));
    // The program has the limit of the caller.
    let limits = report["limits"].as_array().expect("limits").iter().filter_map(Value::as_str);
    let files = limits.filter(|line| line.starts_with("Max open files")).collect::<String>();
    assert_eq!(files.split_whitespace().nth(3), Some("80"), "{files}");
}
