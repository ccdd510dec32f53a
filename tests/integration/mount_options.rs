//! Options of bind mounts on trees: what reaches the mounts below, and what takes back what the
//! source has.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::{Value, json};

use crate::harness::Case;
use crate::mounts::{bind, line, propagation, run_among_mounts};
use crate::tests;

tests! {
    propagation_reaches_what_is_below_where_it_is_recursive needs [Root],
    modes_of_access_times_replace_each_other needs [Root],
    links_can_be_followed_again needs [Root],
    tmpcopyup_copies_files_of_every_kind needs [Root] unlike runc "copies no FIFO and no device",
    tmpcopyup_fills_no_holes needs [Root] unlike runc "fills them",
}

/// The mount at `/mnt` and the one below it, of a container that binds `tree` with these options.
fn lines(options: &[&str], tree: &str) -> [String; 2] {
    let mut case = Case::new(&["report"]);
    case.set("/mounts/-", bind(&case.dir.join("tree"), "/mnt", options));
    let report: Value = serde_json::from_str(&run_among_mounts(&case, tree)).expect("a report");
    ["/mnt", "/mnt/below"].map(|path| line(&report["mounts"], path))
}

fn propagation_reaches_what_is_below_where_it_is_recursive() {
    for (options, private, shared) in [
        (&[][..], ["", ""], ["master", "master"]),
        (&["slave"], ["", ""], ["master", "master"]),
        (&["private"], ["", ""], ["", "master"]),
        (&["rprivate"], ["", ""], ["", ""]),
        (&["shared"], ["shared", ""], ["shared master", "master"]),
        (&["rshared"], ["shared", "shared"], ["shared master", "shared master"]),
        (&["unbindable"], ["unbindable", ""], ["unbindable", "master"]),
        (&["runbindable"], ["unbindable", "unbindable"], ["unbindable", "unbindable"]),
        (&["rslave", "shared"], ["shared", ""], ["shared master", "master"]),
        (&["rprivate", "rshared"], ["shared", "shared"], ["shared", "shared"]),
        (&["rprivate", "shared"], ["shared", ""], ["shared", ""]),
        (&["rshared", "slave"], ["", "shared"], ["master", "shared master"]),
        (&["rshared", "rprivate"], ["", ""], ["", ""]),
        (&["runbindable", "private"], ["", "unbindable"], ["", "unbindable"]),
    ] {
        for (host, want) in [("private", private), ("shared", shared)] {
            let tree = format!(
                "mkdir tree; mount -t tmpfs top tree; mkdir tree/below
                 mount -t tmpfs sub tree/below; mount --make-r{host} tree"
            );
            let found = lines(options, &tree);
            let tags = [&found[0], &found[1]].map(|line| propagation(line));
            assert_eq!(tags, want, "{options:?} of a {host} tree: {found:?}");
        }
    }
}

/// A tree whose mounts have this option.
fn tree(option: &str) -> String {
    format!(
        "mkdir tree; mount -t tmpfs -o {option} top tree; mkdir tree/below
         mount -t tmpfs -o {option} sub tree/below"
    )
}

fn options(option: &str, tree: &str) -> [String; 2] {
    lines(&[option], tree).map(|line| line.split(' ').nth(2).expect("options").to_string())
}

fn modes_of_access_times_replace_each_other() {
    // The kernel shows nothing for strictatime.
    for (of_source, option, top, below) in [
        ("strictatime", "relatime", "rw,relatime", "rw"),
        ("strictatime", "noatime", "rw,noatime", "rw"),
        ("strictatime", "rrelatime", "rw,relatime", "rw,relatime"),
        ("strictatime", "rnostrictatime", "rw,relatime", "rw,relatime"),
        ("strictatime", "rnoatime", "rw,noatime", "rw,noatime"),
        ("noatime", "strictatime", "rw", "rw,noatime"),
        ("noatime", "rstrictatime", "rw", "rw"),
        ("noatime", "rrelatime", "rw,relatime", "rw,relatime"),
        ("noatime", "ro", "ro,noatime", "rw,noatime"),
        ("nodiratime", "noatime", "rw,noatime", "rw,nodiratime,relatime"),
        ("nodiratime", "rnoatime", "rw,noatime,nodiratime", "rw,noatime,nodiratime"),
    ] {
        let found = options(option, &tree(of_source));
        assert_eq!(found, [top, below], "{option} of {of_source}");
    }
}

fn links_can_be_followed_again() {
    for (option, want) in [("symfollow", [false, true]), ("rsymfollow", [false, false])] {
        let tree = "mkdir tree; mount -t tmpfs top tree; mkdir tree/below
            mount -t tmpfs sub tree/below
            for name in tree tree/below; do mount -o remount,bind,nosymfollow $name; done";
        let has =
            options(option, tree).map(|words| words.split(',').any(|word| word == "nosymfollow"));
        assert_eq!(has, want, "{option}");
    }
    let mut case = Case::new(&["open", "/mnt/link", "r"]);
    let mounts = json!({"destination": "/mnt", "type": "tmpfs", "options": ["nosymfollow"]});
    case.set("/mounts/-", mounts);
    case.set("/mounts/-", json!({"destination": "/mnt", "options": ["remount", "symfollow"]}));
    assert_eq!(case.run().ok(), "ENOENT\n");
}

/// A container with a tmpfs that begins with a copy of `/etc/tree`, and that directory.
fn with_copy(words: &[&str], size: &str) -> (Case, PathBuf) {
    let mut case = Case::new(words);
    let tree = case.rootfs().join("etc/tree");
    fs::create_dir_all(tree.join("dir")).expect("make directories");
    let mount = json!({"destination": "/etc/tree", "type": "tmpfs", "source": "t",
        "options": ["tmpcopyup", format!("size={size}")]});
    case.set("/mounts/-", mount);
    (case, tree)
}

fn tmpcopyup_copies_files_of_every_kind() {
    let names = ["fifo", "socket", "device", "program", "link", "dir", "dir/file"];
    let paths = names.map(|name| format!("/etc/tree/{name}"));
    let words: Vec<_> = ["stat"].into_iter().chain(paths.iter().map(String::as_str)).collect();
    let (case, tree) = with_copy(&words, "1m");
    let mode = Mode::from_bits_truncate(0o640);
    for (name, kind, number) in [
        ("fifo", SFlag::S_IFIFO, 0),
        ("socket", SFlag::S_IFSOCK, 0),
        ("device", SFlag::S_IFCHR, makedev(1, 5)),
    ] {
        mknod(&tree.join(name), kind, mode, number).expect("mknod");
    }
    for (name, mode) in [("program", 0o6755), ("dir/file", 0)] {
        fs::write(tree.join(name), "text").expect("write");
        chown(tree.join(name), Some(5), Some(6)).expect("chown");
        fs::set_permissions(tree.join(name), fs::Permissions::from_mode(mode)).expect("chmod");
    }
    // Where it leads is nobody's business.
    symlink("/proc/self/exe", tree.join("link")).expect("make a link");
    fs::set_permissions(tree.join("dir"), fs::Permissions::from_mode(0o3555)).expect("chmod");
    assert_eq!(
        case.run().ok(),
        "/etc/tree/fifo fifo 0640 0:0\n/etc/tree/socket socket 0640 0:0\n\
         /etc/tree/device c 1:5 0640 0:0\n/etc/tree/program file 4 6755 5:6\n\
         /etc/tree/link link /proc/self/exe 0777 0:0\n/etc/tree/dir dir 3555 0:0\n\
         /etc/tree/dir/file file 4 0000 5:6\n"
    );
}

/// A file may be larger than all memory. Seen from outside, as times are.
fn tmpcopyup_fills_no_holes() {
    let (case, tree) = with_copy(&["wait"], "1m");
    let large = File::create(tree.join("dir/large")).expect("make a file");
    large.set_len(1 << 42).expect("make it large");
    large.write_all_at(b"middle", 1 << 41).expect("write");
    fs::write(tree.join("dir/small"), "small").expect("write");
    fs::write(tree.join("dir/empty"), "").expect("write");
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let times = FileTimes::new().set_modified(long_ago);
    for name in ["dir/small", "dir"] {
        let file = File::open(tree.join(name)).expect("open");
        file.set_times(times).expect("set the times");
    }
    case.run_detached();
    let copy = PathBuf::from(format!("/proc/{}/root/etc/tree", case.pid()));
    let meta = |name: &str| fs::metadata(copy.join(name)).expect("stat");
    assert!(meta("dir/large").len() == 1 << 42 && meta("dir/large").blocks() < 64);
    let mut middle = [0; 6];
    let large = File::open(copy.join("dir/large")).expect("open");
    large.read_exact_at(&mut middle, 1 << 41).expect("read");
    assert_eq!(&middle, b"middle");
    assert_eq!(fs::read(copy.join("dir/small")).expect("read"), b"small");
    assert_eq!(meta("dir/empty").len(), 0);
    for name in ["dir/small", "dir"] {
        assert_eq!(meta(name).modified().expect("a time"), long_ago, "{name}");
    }
}
