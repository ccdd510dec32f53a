//! Every word of the table of mount options, each by itself on a mount that has its opposite: what
//! the kernel shows of it inside, and what it is good for.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::harness::Case;
use crate::mounts::{bind, line, propagation, run_among_mounts};
use crate::tests;

tests! {
    words_about_the_mount_are_in_force needs [Root],
    words_about_the_tree_are_in_force needs [Root],
    words_about_the_file_system_are_in_force needs [Root]
        unlike runc "takes `defaults` for data",
    words_about_propagation_are_in_force needs [Root],
    no_word_is_left_out needs [Root],
    a_set_user_id_program_is_nobody_special_if_so_asked needs [Root],
    what_is_below_is_closed_as_well needs [Root],
    who_may_see_a_mount_of_the_container needs [Root],
    an_unbindable_mount_cannot_be_bound needs [Root],
}

/// A word, options that the source has, and what the mount then has in place of `rw,relatime`.
const OF_THE_MOUNT: [(&str, &str, &str); 28] = [
    ("defaults", "", "rw,relatime"),
    ("ro", "", "ro,relatime"),
    ("rw", "ro", "rw,relatime"),
    ("nosuid", "", "rw,nosuid,relatime"),
    ("suid", "nosuid", "rw,relatime"),
    ("nodev", "", "rw,nodev,relatime"),
    ("dev", "nodev", "rw,relatime"),
    ("noexec", "", "rw,noexec,relatime"),
    ("exec", "noexec", "rw,relatime"),
    ("noatime", "", "rw,noatime"),
    // A word that takes back one that was not given leaves access times as the source has them.
    ("atime", "noatime", "rw,noatime"),
    ("nodiratime", "", "rw,nodiratime,relatime"),
    ("diratime", "nodiratime", "rw,nodiratime,relatime"),
    ("relatime", "strictatime", "rw,relatime"),
    ("norelatime", "", "rw,relatime"),
    ("strictatime", "", "rw"),
    ("nostrictatime", "strictatime", "rw"),
    ("nosymfollow", "", "rw,relatime,nosymfollow"),
    ("symfollow", "nosymfollow", "rw,relatime"),
    ("silent", "", "rw,relatime"),
    ("loud", "", "rw,relatime"),
    ("iversion", "", "rw,relatime"),
    ("noiversion", "", "rw,relatime"),
    ("async", "", "rw,relatime"),
    ("nolazytime", "", "rw,relatime"),
    ("nomand", "", "rw,relatime"),
    ("bind", "ro", "ro,relatime"),
    ("rbind", "nodev", "rw,nodev,relatime"),
];

/// The same for a mount and the one below it.
const OF_THE_TREE: [(&str, &str, &str); 18] = [
    ("rro", "", "ro,relatime"),
    ("rrw", "ro", "rw,relatime"),
    ("rnosuid", "", "rw,nosuid,relatime"),
    ("rsuid", "nosuid", "rw,relatime"),
    ("rnodev", "", "rw,nodev,relatime"),
    ("rdev", "nodev", "rw,relatime"),
    ("rnoexec", "", "rw,noexec,relatime"),
    ("rexec", "noexec", "rw,relatime"),
    ("rnoatime", "", "rw,noatime"),
    ("ratime", "noatime", "rw,relatime"),
    ("rnodiratime", "", "rw,nodiratime,relatime"),
    ("rdiratime", "nodiratime", "rw,relatime"),
    ("rrelatime", "strictatime", "rw,relatime"),
    ("rnorelatime", "", "rw,relatime"),
    ("rstrictatime", "", "rw"),
    ("rnostrictatime", "strictatime", "rw,relatime"),
    ("rnosymfollow", "", "rw,relatime,nosymfollow"),
    ("rsymfollow", "nosymfollow", "rw,relatime"),
];

/// Words before it, and what a new tmpfs then shows of its superblock.
const OF_THE_FILE_SYSTEM: [(&str, &str, &str); 12] = [
    ("defaults", "", "rw"),
    ("sync", "", "rw,sync"),
    ("async", "sync", "rw"),
    ("dirsync", "", "rw,dirsync"),
    ("lazytime", "", "rw,lazytime"),
    ("nolazytime", "lazytime", "rw"),
    ("iversion", "", "rw"),
    ("noiversion", "iversion", "rw"),
    ("silent", "", "rw"),
    ("loud", "silent", "rw"),
    // Mandatory locks went with Linux 5.15; the word is shown nevertheless.
    ("mand", "", "rw,mand"),
    ("nomand", "mand", "rw"),
];

/// A word, and the tags of a mount and the one below it, of a private tree and of a shared one.
const OF_PROPAGATION: [(&str, [&str; 2], [&str; 2]); 8] = [
    ("private", ["", ""], ["", "master"]),
    ("rprivate", ["", ""], ["", ""]),
    ("slave", ["", ""], ["master", "master"]),
    ("rslave", ["", ""], ["master", "master"]),
    ("shared", ["shared", ""], ["shared master", "master"]),
    ("rshared", ["shared", "shared"], ["shared master", "shared master"]),
    ("unbindable", ["unbindable", ""], ["unbindable", "master"]),
    ("runbindable", ["unbindable", "unbindable"], ["unbindable", "unbindable"]),
];

/// Words with tests of their own.
const ELSEWHERE: [(&str, &str); 4] = [
    ("remount", "mounts::remount_changes_a_mount"),
    ("tmpcopyup", "mounts::tmpcopyup_copies"),
    ("idmap", "id_maps::only_ridmap_reaches_what_is_below"),
    ("ridmap", "id_maps::only_ridmap_reaches_what_is_below"),
];

/// Mounts in `tree` and below it, both with these options.
fn make_tree(options: &str) -> String {
    let options = if options.is_empty() { "rw" } else { options };
    format!(
        "mkdir tree; mount -t tmpfs top tree; mkdir tree/below; mount -t tmpfs sub tree/below
         for mount in tree tree/below; do mount -o remount,bind,{options} $mount; done"
    )
}

fn report(text: &str) -> Value {
    serde_json::from_str(text).expect("a report")
}

/// The lines of `/mnt` and the one below it.
fn lines(word: &str, script: &str) -> [String; 2] {
    let mut case = Case::new(&["report"]);
    case.set("/mounts/-", bind(&case.dir.join("tree"), "/mnt", &[word]));
    let report = report(&run_among_mounts(&case, script));
    ["/mnt", "/mnt/below"].map(|path| line(&report["mounts"], path))
}

fn options(line: &str) -> String {
    line.split(' ').nth(2).expect("options").to_string()
}

/// The mount below keeps what it has.
fn words_about_the_mount_are_in_force() {
    for (word, before, want) in OF_THE_MOUNT {
        let [top, below] = lines(word, &make_tree(before)).map(|line| options(&line));
        assert_eq!(top, want, "{word} of {before:?}");
        let has =
            |options: &str| before.is_empty() || options.split(',').any(|word| word == before);
        // The kernel shows nothing for strictatime.
        let untouched = if before == "strictatime" { below == "rw" } else { has(&below) };
        assert!(untouched, "{word} of {before:?}: {below}");
    }
}

fn words_about_the_tree_are_in_force() {
    for (word, before, want) in OF_THE_TREE {
        let found = lines(word, &make_tree(before)).map(|line| options(&line));
        assert_eq!(found, [want, want], "{word} of {before:?}");
    }
}

fn words_about_the_file_system_are_in_force() {
    for (word, before, want) in OF_THE_FILE_SYSTEM {
        let words: Vec<_> = [before, word].into_iter().filter(|word| !word.is_empty()).collect();
        let mut case = Case::new(&["report"]);
        let mount =
            json!({"destination": "/mnt", "type": "tmpfs", "source": "x", "options": words});
        case.set("/mounts/-", mount);
        let report = report(&case.run().ok());
        let line = line(&report["mounts"], "/mnt");
        let found = line.rsplit(' ').next().expect("options");
        assert_eq!(found.trim_end_matches(",inode64"), want, "{words:?}: {line}");
    }
}

fn words_about_propagation_are_in_force() {
    for (word, private, shared) in OF_PROPAGATION {
        for (host, want) in [("private", private), ("shared", shared)] {
            let script = format!("{}; mount --make-r{host} tree", make_tree(""));
            let found = lines(word, &script);
            let tags = [&found[0], &found[1]].map(|line| propagation(line));
            assert_eq!(tags, want, "{word} of a {host} tree: {found:?}");
        }
    }
}

/// What `features` lists is what these tables have.
fn no_word_is_left_out() {
    let case = Case::new(&[]);
    let features = report(&case.runtime(&["features"]).ok());
    let known = features["mountOptions"].as_array().expect("a list").iter();
    let known: BTreeSet<_> = known.filter_map(Value::as_str).collect();
    let tables = [&OF_THE_MOUNT[..], &OF_THE_TREE, &OF_THE_FILE_SYSTEM];
    let words = tables.into_iter().flatten().map(|row| row.0);
    let words = words.chain(OF_PROPAGATION.map(|row| row.0)).chain(ELSEWHERE.map(|row| row.0));
    assert_eq!(known, words.collect::<BTreeSet<_>>());
}

/// A program of root's that takes root's rights, as every user may execute it.
fn a_set_user_id_program_is_nobody_special_if_so_asked() {
    for (option, want) in [("suid", "0"), ("nosuid", "1000")] {
        let mut case = Case::new(&["exec", "/mnt/program", "report"]);
        let source = case.dir.join("source");
        fs::create_dir(&source).expect("make a directory");
        crate::harness::copy_program(&case.rootfs().join("bin/probe"), &source.join("program"));
        let set_user_id = fs::Permissions::from_mode(0o4755);
        fs::set_permissions(source.join("program"), set_user_id).expect("chmod");
        case.set("/process/user", json!({"uid": 1000, "gid": 1000}));
        case.set("/process/noNewPrivileges", json!(false));
        case.set("/mounts/-", bind(&source, "/mnt", &[option]));
        let report = report(&case.run().ok());
        // Real, effective, saved and file system user.
        let ids = report["status"]["Uid"].as_str().expect("users").to_string();
        assert_eq!(ids.split_whitespace().nth(1), Some(want), "{option}: {ids}");
    }
}

fn what_is_below_is_closed_as_well() {
    let prepare = |case: &Case| {
        let tree = "mkdir tree; mount -t tmpfs top tree; mkdir tree/below
            mount -t tmpfs sub tree/below; cp rootfs/bin/probe tree/below/program
            ln -s program tree/below/link; mknod tree/below/null c 1 3";
        run_among_mounts(case, tree)
    };
    for (word, words, without, with) in [
        ("rro", &["write", "/mnt/below/new", "x"][..], "ok", "EROFS"),
        ("rnoexec", &["exec", "/mnt/below/program", "echo", "ok"], "ok", "EACCES"),
        ("rnodev", &["open", "/mnt/below/null", "r"], "ok", "EACCES"),
        ("rnosymfollow", &["open", "/mnt/below/link", "r"], "ok", "ELOOP"),
    ] {
        for (options, want) in [(&[][..], without), (&[word], with)] {
            let mut case = Case::new(words);
            case.set("/mounts/-", bind(&case.dir.join("tree"), "/mnt", options));
            assert_eq!(prepare(&case).trim(), want, "{options:?}");
        }
    }
}

/// Makes a container that may mount, and does so; what the host then sees of it.
fn seen_outside(options: &[&str], root: &str) -> String {
    let words = ["bind", "/etc", "/mnt/below", "--", "bind", "/etc", "/var", "--", "echo", "end"];
    let mut case = Case::new(&words);
    for set in ["bounding", "effective", "permitted"] {
        case.set(&format!("/process/capabilities/{set}"), json!(["CAP_SYS_ADMIN"]));
    }
    case.set("/linux/rootfsPropagation", json!(root));
    case.set("/mounts/-", bind(&case.dir.join("tree"), "/mnt", options));
    fs::write(case.rootfs().join("etc/mark"), "").expect("write");
    let runtime = format!("{} --root {}", case.runtime.display(), case.state_root().display());
    let script = format!(
        "mkdir tree; mount -t tmpfs top tree; mkdir tree/below; mount --make-shared tree
         mount --bind rootfs rootfs; mount --make-shared rootfs
         {runtime} run {}; for place in tree/below rootfs/var; do
         if [ -e $place/mark ]; then echo $place; fi; done; exit",
        case.id
    );
    run_among_mounts(&case, &script)
}

/// Only what is shared with the host is seen there, and nothing of the root ever is.
fn who_may_see_a_mount_of_the_container() {
    for (root, want) in [
        ("", "ok\nok\nend\n"),
        ("private", "ok\nok\nend\n"),
        ("slave", "ok\nok\nend\n"),
        // Not even the container may bind what is in it.
        ("unbindable", "EINVAL\nEINVAL\nend\n"),
    ] {
        assert_eq!(seen_outside(&[], root), want, "{root}");
    }
    for (options, want) in [
        (&["shared"][..], "ok\nok\nend\ntree/below\n"),
        (&["rshared"], "ok\nok\nend\ntree/below\n"),
        (&["rslave"], "ok\nok\nend\n"),
        (&["private"], "ok\nok\nend\n"),
    ] {
        assert_eq!(seen_outside(options, "shared"), want, "{options:?}");
    }
}

fn an_unbindable_mount_cannot_be_bound() {
    for (option, want) in [("private", "ok\n"), ("unbindable", "EINVAL\n")] {
        let mut case = Case::new(&["bind", "/mnt", "/var"]);
        for set in ["bounding", "effective", "permitted"] {
            case.set(&format!("/process/capabilities/{set}"), json!(["CAP_SYS_ADMIN"]));
        }
        let source = case.dir.join("source");
        fs::create_dir(&source).expect("make a directory");
        case.set("/mounts/-", bind(&source, "/mnt", &[option]));
        assert_eq!(case.run().ok(), want, "{option}");
    }
}
