//! Options of bind mounts on trees: what reaches the mounts below, and what takes back what the
//! source has.

use serde_json::{Value, json};

use crate::harness::Case;
use crate::mounts::{bind, line, propagation, run_among_mounts};
use crate::tests;

tests! {
    propagation_reaches_what_is_below_where_it_is_recursive needs [Root],
    modes_of_access_times_replace_each_other needs [Root],
    links_can_be_followed_again needs [Root],
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
