//! Where mounts go: what links of the image may make of a destination, and what they may not.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::Case;
use crate::harness::sentinel::Sentinel;
use crate::mounts::{bind, line, mounts};
use crate::tests;

tests! {
    a_link_to_the_root_is_no_destination needs [Root],
    a_link_into_proc_is_no_destination needs [Root],
    a_link_to_dev_gives_the_runtime_no_volume needs [Root]
        unlike runc "removes a file of the volume",
    a_dev_that_is_a_link_gives_the_runtime_no_volume needs [Root]
        unlike runc "removes a file of the volume",
    file_systems_of_the_kernel_go_elsewhere_too needs [Root],
    a_link_is_no_place_for_file_systems_of_the_kernel needs [Root],
    a_remount_that_says_bind_changes_what_is_there needs [Root],
    a_bind_mount_without_a_source_is_refused needs [Root] unlike runc "binds the bundle",
}

/// A container with a volume at `/vol`, which is a link in its image, and one like it for which the
/// kernel lacks openat2.
fn with_volume(link: &str) -> [(Case, Sentinel); 2] {
    [&[][..], &[libc::SYS_openat2]].map(|lacking| {
        let mut case = Case::new(&[]);
        case.lacks(lacking);
        symlink(link, case.rootfs().join("vol")).expect("make a link");
        let volume = case.dir.join("volume");
        fs::create_dir(&volume).expect("make a directory");
        for name in ["ptmx", "stdin"] {
            fs::write(volume.join(name), "of the volume").expect("write");
        }
        let sentinel = Sentinel::new(volume);
        case.set("/mounts/-", bind(&sentinel.path, "/vol", &[]));
        (case, sentinel)
    })
}

/// Over the root it would be what programs enter that join the container: without masks.
fn a_link_to_the_root_is_no_destination() {
    for link in ["/", ".", "..", "/etc/..", "/../../"] {
        for (mut case, sentinel) in with_volume(link) {
            case.run().fails(1, "is on the top of rootfs");
            case.set("/mounts/6", json!({"destination": "/vol", "type": "tmpfs", "source": "t"}));
            case.run().fails(1, "is on the top of rootfs");
            case.set("/mounts/6", json!({"destination": "/vol", "options": ["remount", "ro"]}));
            case.run().fails(1, "");
            assert_eq!(sentinel.changes(), [""; 0]);
        }
    }
}

/// By its name nothing could be mounted there: CVE-2019-16884.
fn a_link_into_proc_is_no_destination() {
    for link in ["/proc", "/proc/sys", "/proc/sys/kernel", "/proc/self", "/proc/self/attr"] {
        for (case, _) in with_volume(link) {
            case.run().fails(1, "cannot be mounted because it is");
        }
    }
}

/// The runtime removes `ptmx` there and makes devices and links: CVE-2026-41579.
fn a_link_to_dev_gives_the_runtime_no_volume() {
    for with_mount in [true, false] {
        for (mut case, sentinel) in with_volume("/dev") {
            if !with_mount {
                let list = case.config["mounts"].as_array_mut().expect("mounts");
                list.retain(|mount| {
                    ["/proc", "/vol"].contains(&mount["destination"].as_str().expect("one"))
                });
            }
            case.run().fails(1, "destination: /vol leads to /dev");
            assert_eq!(sentinel.changes(), [""; 0]);
        }
    }
}

/// The same the other way around, where nothing is mounted on `/dev`.
fn a_dev_that_is_a_link_gives_the_runtime_no_volume() {
    for link in ["/volume", "/host/volume", "../volume"] {
        let mut case = Case::new(&[]);
        let host = case.dir.join("host");
        fs::create_dir_all(host.join("volume")).expect("make directories");
        fs::write(host.join("volume/ptmx"), "of the volume").expect("write");
        let sentinel = Sentinel::new(host.join("volume"));
        let proc = json!({"destination": "/proc", "type": "proc", "source": "proc"});
        let binds = [bind(&host, "/host", &[]), bind(&sentinel.path, "/volume", &[])];
        case.set("/mounts", json!([proc, binds[0], binds[1]]));
        fs::remove_dir(case.rootfs().join("dev")).expect("remove a directory");
        symlink(link, case.rootfs().join("dev")).expect("make a link");
        case.run().fails(1, "/dev");
        assert_eq!(sentinel.changes(), [""; 0]);
    }
}

/// Only at `/proc` and `/sys` the way there has to be plain.
fn file_systems_of_the_kernel_go_elsewhere_too() {
    let mut case = Case::new(&["report"]);
    symlink("/run", case.rootfs().join("var/run")).expect("make a link");
    let volume = case.dir.join("volume");
    fs::create_dir(&volume).expect("make a directory");
    case.set("/mounts/-", json!({"destination": "/new", "type": "tmpfs", "source": "t"}));
    case.set("/mounts/-", bind(&volume, "/volume", &[]));
    let places = [
        ("/new/proc", "proc", "/new/proc"),
        ("/volume/sys", "sysfs", "/volume/sys"),
        ("/a/b/c", "proc", "/a/b/c"),
        ("/var/run/proc", "proc", "/run/proc"),
    ];
    for (destination, fstype, _) in places {
        case.set("/mounts/-", json!({"destination": destination, "type": fstype, "source": "s"}));
    }
    let mounts = mounts(&case);
    for (_, fstype, place) in places {
        let line = line(&mounts, place);
        assert!(line.contains(&format!(" - {fstype} s ")), "{line}");
    }
    // The directory is the volume's and stays there.
    assert!(volume.join("sys").is_dir() && case.rootfs().join("a/b/c").is_dir());
}

fn a_link_is_no_place_for_file_systems_of_the_kernel() {
    for (destination, link) in [("/here", "/tmp"), ("/new/here", "../tmp"), ("/here", "/none")] {
        let mut case = Case::new(&[]);
        let path = case.rootfs().join(&destination[1..]);
        fs::create_dir_all(path.parent().expect("a directory")).expect("make directories");
        symlink(link, path).expect("make a link");
        case.set("/mounts/-", json!({"destination": destination, "type": "proc", "source": "s"}));
        case.run().fails(1, "filesystem \"proc\" must be mounted on ordinary directory");
        assert!(!case.rootfs().join("none").exists());
    }
}

/// It is about the mount that is there, as for mount(8), and binds nothing: without a source that
/// would be the bundle.
fn a_remount_that_says_bind_changes_what_is_there() {
    for source in [Value::Null, json!("/etc")] {
        let mut case = Case::new(&["write", "/mnt/new", "x", "--", "cat", "/proc/self/mountinfo"]);
        case.set("/mounts/-", json!({"destination": "/mnt", "type": "tmpfs", "source": "t"}));
        let mut again = json!({"destination": "/mnt", "options": ["remount", "bind", "ro"]});
        if !source.is_null() {
            again["source"] = source;
        }
        case.set("/mounts/-", again);
        let text = case.run().ok();
        assert!(text.starts_with("EROFS\n"), "{text}");
        let there = text.lines().filter(|line| line.split(' ').nth(4) == Some("/mnt"));
        let there: Vec<_> = there.collect();
        // The file system itself stays writable.
        assert!(there.len() == 1 && there[0].contains(" - tmpfs t rw"), "{there:?}");
    }
}

fn a_bind_mount_without_a_source_is_refused() {
    for source in [Value::Null, json!("")] {
        let mut case = Case::new(&["list", "/mnt"]);
        let mut mount = json!({"destination": "/mnt", "options": ["rbind"]});
        if !source.is_null() {
            mount["source"] = source;
        }
        case.set("/mounts/-", mount);
        case.run().fails(1, "mounts[6]: source: required for a bind mount");
        assert!(!Path::new(&case.rootfs().join("mnt")).exists());
    }
}
