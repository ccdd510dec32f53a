//! Id-mapped mounts: who owns files, seen from both sides.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::Case;
use crate::namespaces::give_to;
use crate::tests;

tests! {
    a_bind_mount_shows_mapped_owners needs [Root],
    a_mapping_with_gaps_shows_nobody_in_them needs [Root],
    a_new_file_system_is_mapped needs [Root] unlike runc "maps bind mounts only",
    a_new_file_system_is_mapped_in_a_user_namespace needs [Root]
        unlike runc "maps bind mounts only",
    a_disk_is_mapped needs [Root, Disk] unlike runc "maps bind mounts only",
    a_mount_has_the_mapping_of_the_containers_user_namespace needs [Root],
    a_mount_has_its_own_mapping_in_a_user_namespace needs [Root],
    a_source_that_only_root_can_get_to needs [Root],
    what_the_container_has_mounted_can_be_mapped needs [Root],
    what_it_has_mounted_can_be_mapped_in_a_user_namespace needs [Root],
    only_ridmap_reaches_what_is_below needs [Root],
    mounts_reach_what_is_mapped_where_they_may needs [Root],
    mappings_that_are_wrong_are_refused needs [Root] unlike runc "has other words",
    an_ordinary_user_maps_no_mounts needs [Root, Cgroupfs],
    a_file_system_that_cannot_be_mapped_is_an_error needs [Root] unlike runc "has other words",
}

fn map(container: u32, host: u32, size: u32) -> Value {
    json!({"containerID": container, "hostID": host, "size": size})
}

/// Files of the users 0 and 5 and of groups above them.
fn source(case: &Case) -> PathBuf {
    let source = case.dir.join("source");
    fs::create_dir(&source).expect("make a directory");
    for (name, owner) in [("zero", 0), ("five", 5)] {
        fs::write(source.join(name), "").expect("write a file");
        chown(source.join(name), Some(owner), Some(owner + 1)).expect("chown");
    }
    source
}

fn bind(case: &mut Case, options: &[&str], maps: Option<Value>) -> PathBuf {
    let source = source(case);
    let options: Vec<_> = ["rbind"].iter().chain(options).copied().collect();
    let mut mount = json!({"destination": "/data", "source": source, "options": options});
    if let Some(maps) = maps {
        mount["uidMappings"] = maps.clone();
        mount["gidMappings"] = maps;
    }
    case.set("/mounts/-", mount);
    source
}

fn a_bind_mount_shows_mapped_owners() {
    for options in [&["idmap"][..], &["ridmap"], &[]] {
        let mut case = Case::new(&["stat", "/data/zero", "/data/five"]);
        let source = bind(&mut case, options, Some(json!([map(0, 100_000, 10)])));
        let text = case.run().ok();
        assert_eq!(
            text,
            "/data/zero file 0 0644 100000:100001\n/data/five file 0 0644 100005:100006\n"
        );
        // On disk nothing has changed.
        assert_eq!(fs::metadata(source.join("five")).expect("stat").uid(), 5);
    }
}

fn what_the_container_has_mounted_can_be_mapped() {
    let mut case = Case::new(&["stat", "/data/five"]);
    let (source, below) = (source(&case), case.rootfs().join("a"));
    fs::create_dir(&below).expect("make a directory");
    let maps = json!([map(0, 100_000, 10)]);
    case.set("/mounts/-", json!({"destination": "/a", "source": source, "options": ["bind"]}));
    let mapped = json!({"destination": "/data", "source": below, "options": ["bind", "idmap"],
        "uidMappings": maps, "gidMappings": maps});
    case.set("/mounts/-", mapped);
    assert_eq!(case.run().ok(), "/data/five file 0 0644 100005:100006\n");
}

fn what_it_has_mounted_can_be_mapped_in_a_user_namespace() {
    for (option, maps, owner) in [
        ("idmap", None, "5:6"),
        ("ridmap", Some(json!([map(0, 100_010, 10)])), "15:16"),
        ("bind", None, "65534:65534"),
    ] {
        let mut case = with_user_namespace(&["stat", "/data/five"]);
        let (source, below) = (source(&case), case.rootfs().join("a"));
        fs::create_dir(&below).expect("make a directory");
        case.set("/mounts/-", json!({"destination": "/a", "source": source, "options": ["bind"]}));
        let mut mapped =
            json!({"destination": "/data", "source": below, "options": ["bind", option]});
        if let Some(maps) = maps {
            mapped["uidMappings"] = maps.clone();
            mapped["gidMappings"] = maps;
        }
        case.set("/mounts/-", mapped);
        give_to(&case, 100_000, 100_000);
        assert_eq!(case.run().ok(), format!("/data/five file 0 0644 {owner}\n"), "{option}");
    }
}

fn a_mapping_with_gaps_shows_nobody_in_them() {
    let mut case = Case::new(&["stat", "/data/zero", "/data/five"]);
    bind(&mut case, &["idmap"], Some(json!([map(0, 7, 1), map(6, 50, 3)])));
    let text = case.run().ok();
    assert_eq!(text, "/data/zero file 0 0644 7:65534\n/data/five file 0 0644 65534:50\n");
}

fn a_new_file_system_is_mapped() {
    let mut case = Case::new(&["write", "/data/new", "", "--", "stat", "/data/new", "/data"]);
    let maps = json!([map(0, 0, 1), map(1, 1, 10)]);
    let mount = json!({"destination": "/data", "type": "tmpfs", "source": "t",
        "options": ["idmap", "mode=777", "uid=5"], "uidMappings": [map(5, 77, 1), map(0, 0, 1)],
        "gidMappings": maps});
    case.set("/mounts/-", mount);
    let text = case.run().ok();
    assert!(text.starts_with("ok\n/data/new file 0 0644 0:0\n/data dir 0777 77:0"), "{text}");
}

fn a_new_file_system_is_mapped_in_a_user_namespace() {
    let own = json!([map(0, 100_007, 1), map(5, 100_000, 1)]);
    for (options, maps, owners) in [
        (json!(["idmap", "mode=755"]), None, ["0:0", "0:0"]),
        (json!(["ridmap", "mode=755", "uid=5", "gid=5"]), Some(own), ["0:0", "0:0"]),
        (json!(["idmap", "mode=755", "uid=3", "gid=4"]), None, ["3:4", ""]),
    ] {
        let mut case = with_user_namespace(&["stat", "/data", "--", "write", "/data/new", "x"]);
        let mut mount =
            json!({"destination": "/data", "type": "tmpfs", "source": "t", "options": options});
        if let Some(maps) = maps {
            mount["uidMappings"] = maps.clone();
            mount["gidMappings"] = maps;
        }
        case.set("/mounts/-", mount);
        give_to(&case, 100_000, 100_000);
        let written = if owners[1].is_empty() { "EACCES" } else { "ok" };
        assert_eq!(case.run().ok(), format!("/data dir 0755 {}\n{written}\n", owners[0]));
    }
}

/// As a bind mount of what is mounted on the host, and as a mount of its own.
fn a_disk_is_mapped() {
    let script = "truncate -s 8M image; mkfs.ext4 -q image; mkdir disk
        device=$(losetup --find --show image); ln -s $device device; mount $device disk
        : >disk/file; chown 5:6 disk/file; losetup --detach $device";
    for (user_namespace, owner) in [(false, "100005:100006"), (true, "5:6")] {
        for kind in ["bind", "ext4"] {
            let words = ["stat", "/data/file"];
            let mut case =
                if user_namespace { with_user_namespace(&words) } else { Case::new(&words) };
            let source = case.dir.join(if kind == "bind" { "disk" } else { "device" });
            let maps = json!([map(0, 100_000, 10)]);
            let mut mount = json!({"destination": "/data", "source": source, "type": kind,
                "uidMappings": maps, "gidMappings": maps});
            if kind == "bind" {
                mount["options"] = json!(["bind"]);
            }
            case.set("/mounts/-", mount);
            if user_namespace {
                give_to(&case, 100_000, 100_000);
            }
            let text = crate::mounts::run_among_mounts(&case, script);
            let want = format!("/data/file file 0 0644 {owner}\n");
            assert_eq!(text, want, "{kind}, user namespace: {user_namespace}");
        }
    }
}

/// In the container 0 is 100000 of the host.
fn with_user_namespace(words: &[&str]) -> Case {
    let mut case = Case::new(words);
    case.namespace("user", Some(json!({"type": "user"})));
    let maps = json!([map(0, 100_000, 65_536)]);
    case.set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps);
    case
}

fn a_mount_has_the_mapping_of_the_containers_user_namespace() {
    let mut case =
        with_user_namespace(&["write", "/data/new", "", "--", "stat", "/data/new", "/data/five"]);
    let source = bind(&mut case, &["idmap"], None);
    give_to(&case, 100_000, 100_000);
    chown(&source, Some(0), Some(0)).expect("chown");
    for name in ["zero", "five"] {
        let owner = if name == "five" { 5 } else { 0 };
        chown(source.join(name), Some(owner), Some(owner + 1)).expect("chown");
    }
    let text = case.run().ok();
    assert_eq!(text, "ok\n/data/new file 0 0644 0:0\n/data/five file 0 0644 5:6\n");
    assert_eq!(fs::metadata(source.join("new")).expect("stat").uid(), 0);
}

fn a_mount_has_its_own_mapping_in_a_user_namespace() {
    let mut case = with_user_namespace(&["stat", "/data/zero", "/data/five"]);
    bind(&mut case, &["idmap"], Some(json!([map(0, 100_030, 1), map(1, 100_001, 9)])));
    give_to(&case, 100_000, 100_000);
    for (name, owner) in [("zero", 0), ("five", 5)] {
        let path = case.dir.join("source").join(name);
        chown(path, Some(owner), Some(owner + 1)).expect("chown");
    }
    let text = case.run().ok();
    assert_eq!(text, "/data/zero file 0 0644 30:1\n/data/five file 0 0644 5:6\n");
}

/// The kubelet's directory is closed to everybody but the host's root.
fn a_source_that_only_root_can_get_to() {
    let mut case = with_user_namespace(&["cat", "/data/file"]);
    let closed = case.dir.join("closed");
    fs::create_dir_all(closed.join("data")).expect("make directories");
    fs::create_dir(case.rootfs().join("data")).expect("make a directory");
    fs::write(closed.join("data/file"), "inside").expect("write a file");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("chmod");
    let source = closed.join("data");
    let mount = json!({"destination": "/data", "source": source, "options": ["bind", "ro"]});
    case.set("/mounts/-", mount);
    assert_eq!(case.run().ok(), "inside");
    case.args(&["write", "/data/file", "x"]);
    assert_eq!(case.run().ok(), "EROFS\n");
}

fn only_ridmap_reaches_what_is_below() {
    for (option, below) in [("idmap", "0:0"), ("ridmap", "100000:100000")] {
        let mut case = Case::new(&["stat", "/data/zero", "/data/below/file"]);
        let source = bind(&mut case, &[option], Some(json!([map(0, 100_000, 10)])));
        fs::create_dir(source.join("below")).expect("make a directory");
        let script = "mount -t tmpfs sub source/below; : >source/below/file";
        let text = crate::mounts::run_among_mounts(&case, script);
        let want =
            format!("/data/zero file 0 0644 100000:100001\n/data/below/file file 0 0644 {below}\n");
        assert_eq!(text, want, "{option}");
    }
}

/// What the host mounts later is seen in the container unless that is private, with the owners
/// that it has.
fn mounts_reach_what_is_mapped_where_they_may() {
    for (options, tags, late) in [
        (&["idmap"][..], "master", "/data/below/file file 2 0644 0:0\n"),
        (&["idmap", "rslave"], "master", "/data/below/file file 2 0644 0:0\n"),
        (&["ridmap", "rprivate"], "", "/data/below/file ENOENT\n"),
    ] {
        let mut case = Case::new(&["report"]);
        let source = bind(&mut case, options, Some(json!([map(0, 100_000, 10)])));
        let host = "mount -t tmpfs top source; mount --make-shared source; mkdir source/below";
        let report = crate::mounts::run_among_mounts(&case, host);
        let report: Value = serde_json::from_str(&report).expect("a report");
        let line = crate::mounts::line(&report["mounts"], "/data");
        assert_eq!(crate::mounts::propagation(&line), tags, "{options:?}: {line}");
        case.args(&["wait"]).write_config();
        let runtime = case.runtime.display();
        let orlop = format!("{runtime} --root {}", case.state_root().display());
        let script = format!(
            "set -e; {host}; {orlop} run --detach {id} </dev/null >/dev/null 2>&1
             mount -t tmpfs late source/below; echo x >source/below/file
             {orlop} exec {id} /bin/probe stat /data/below/file; {orlop} delete --force {id}",
            id = case.id
        );
        let mut command = std::process::Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]).current_dir(&case.dir);
        let seen = crate::harness::Output::of(&mut command).ok();
        assert_eq!(seen, late, "{options:?}");
        assert!(source.join("zero").exists());
    }
}

fn mappings_that_are_wrong_are_refused() {
    let data = |more: Value| {
        let mut mount = json!({"destination": "/data", "source": "/", "options": ["rbind"]});
        mount.as_object_mut().expect("an object").extend(more.as_object().expect("one").clone());
        mount
    };
    let maps = json!([map(0, 0, 1)]);
    for (mount, error) in [
        (data(json!({"uidMappings": maps})), "uidMappings and gidMappings need each other"),
        (data(json!({"options": ["rbind", "idmap"]})), "needs uidMappings and gidMappings"),
        (
            data(json!({"uidMappings": maps, "gidMappings": [map(0, 0, 0)]})),
            "gidMappings[0].size: 0 ids",
        ),
        (
            json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                "uidMappings": maps, "gidMappings": maps}),
            "only bind mounts and new file systems can be id-mapped",
        ),
    ] {
        let mut case = Case::new(&[]);
        case.set("/mounts/-", mount);
        case.run().fails(1, error);
    }
}

fn an_ordinary_user_maps_no_mounts() {
    let mut case = crate::harness::ordinary::case(&[]);
    let data = json!({"destination": "/data", "source": "/usr", "options": ["rbind", "idmap"]});
    case.set("/mounts/-", data);
    case.run().fails(1, "id-mapped mounts are not supported for rootless containers");
}

fn a_file_system_that_cannot_be_mapped_is_an_error() {
    let mut case = Case::new(&[]);
    case.set(
        "/mounts/-",
        json!({"destination": "/data", "source": "/proc", "options": ["rbind"],
        "uidMappings": [map(0, 1, 1)], "gidMappings": [map(0, 1, 1)]}),
    );
    case.run()
        .fails(1, "error mounting \"/proc\" to rootfs at \"/data\": mounts[6]: bind: map its ids");
    let maps = json!([map(0, 1, 1)]);
    for (fstype, options) in
        [("overlay", json!(["lowerdir=/usr:/etc"])), ("proc", json!([])), ("mqueue", json!([]))]
    {
        for user_namespace in [false, true] {
            let mut case = if user_namespace { with_user_namespace(&[]) } else { Case::new(&[]) };
            case.set(
                "/mounts/-",
                json!({"destination": "/data", "source": "s", "type": fstype, "options": options,
                    "uidMappings": maps, "gidMappings": maps}),
            );
            case.run()
                .fails(1, &format!("to rootfs at \"/data\": mounts[6]: {fstype}: map its ids"));
        }
    }
}
