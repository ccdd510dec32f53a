//! What the container sees of files: volumes, tmpfs, a read-only root, and `docker cp`.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount, umount};

use crate::docker::{Container, compared_sh, docker};
use crate::harness::host;
use crate::sandbox::DIRECTORY;
use crate::tests;

tests! {
    a_read_only_root needs [Docker],
    tmpfs needs [Docker],
    shared_memory_has_a_size needs [Docker],
    directories_of_the_host needs [Docker],
    a_file_of_the_host needs [Docker],
    read_only_volumes needs [Docker],
    a_mount_arrives_while_the_container_runs needs [Docker],
    every_propagation needs [Docker],
    named_volumes_outlive_containers needs [Docker],
    volumes_of_another_container needs [Docker],
    copies_in_and_out needs [Docker],
}

/// A new directory of the host.
fn directory(name: &str) -> PathBuf {
    let path = PathBuf::from(DIRECTORY).join(name);
    fs::create_dir(&path).expect("make a directory");
    path
}

fn a_read_only_root() {
    let script =
        "touch /x 2>&1; touch /dev/shm/x /dev/x && echo writable; grep -c ' / .* ro' /proc/mounts";
    let seen = compared_sh(&["--read-only"], script).ok();
    assert_eq!(seen, "touch: /x: Read-only file system\nwritable\n1\n");
}

fn tmpfs() {
    let options = ["--read-only", "--tmpfs", "/scratch:size=1m,mode=700,exec,uid=1000"];
    let script = "stat -c '%a %u' /scratch; \
        df -k /scratch | tail -n 1 | tr -s ' ' | cut -d' ' -f2; \
        touch /scratch/x && echo writable; grep ' /scratch ' /proc/mounts";
    let seen = compared_sh(&options, script).ok();
    assert!(seen.starts_with("700 1000\n1024\nwritable\n"), "{seen}");
    assert!(
        seen.contains("nosuid") && seen.contains("nodev") && !seen.contains("noexec"),
        "{seen}"
    );
}

fn shared_memory_has_a_size() {
    let script = "df -k /dev/shm | tail -n 1 | tr -s ' ' | cut -d' ' -f2";
    assert_eq!(compared_sh(&["--shm-size", "1m"], script).ok(), "1024\n");
}

fn directories_of_the_host() {
    let source = directory("shared");
    fs::write(source.join("from-host"), "host\n").expect("write a file");
    let volume = format!("{}:/data/deep", source.display());
    let script = "cat /data/deep/from-host; echo inside > /data/deep/from-inside";
    assert_eq!(compared_sh(&["--volume", &volume], script).ok(), "host\n");
    let written = fs::read_to_string(source.join("from-inside")).expect("what it wrote");
    assert_eq!(written, "inside\n");
}

fn a_file_of_the_host() {
    let file = directory("single").join("file");
    fs::write(&file, "one file\n").expect("write a file");
    let volume = format!("{}:/etc/new:ro", file.display());
    let seen = compared_sh(&["--volume", &volume], "cat /etc/new; echo x 2>/dev/null >/etc/new");
    assert_eq!((seen.code, seen.stdout.as_str()), (1, "one file\n"), "{seen:#?}");
}

fn read_only_volumes() {
    let source = directory("read-only");
    let below = source.join("below");
    fs::create_dir(&below).expect("make a directory");
    let volume = format!("{}:/data:ro", source.display());
    let seen = compared_sh(&["--volume", &volume], "touch /data/x /data/below/x 2>&1; true").ok();
    assert_eq!(seen.matches("Read-only file system").count(), 2, "{seen}");
}

fn mount_tmpfs(at: &Path) {
    let flags = MsFlags::empty();
    mount(Some("tmpfs"), at, Some("tmpfs"), flags, None::<&str>).expect("mount a tmpfs");
}

/// A tmpfs of the host whose mounts go to its peers.
fn mount_shared(at: &Path) {
    mount_tmpfs(at);
    let none = None::<&str>;
    mount(none, at, none, MsFlags::MS_SHARED, none).expect("share a mount");
}

fn a_mount_arrives_while_the_container_runs() {
    let source = directory("slave");
    let path = source.to_str().expect("a path");
    mount_shared(&source);
    let container = Container::new();
    let script =
        "echo up; until test -e /data/below/late; do sleep 0.1; done; cat /data/below/late";
    container.start(&["--volume", &format!("{path}:/data:rslave")], script);
    let mut logs = container.follow();
    assert_eq!(logs.line(), "up");
    let below = source.join("below");
    fs::create_dir(&below).expect("make a directory");
    mount_tmpfs(&below);
    fs::write(below.join("late"), "mounted later\n").expect("write a file");
    assert_eq!(logs.line(), "mounted later");
    assert_eq!(container.wait(), "0");
    for mounted in [&below, &source] {
        umount(mounted).expect("unmount a tmpfs");
    }
}

/// Both ways, with and without what is mounted below, for writing and not.
fn every_propagation() {
    let source = directory("propagation");
    mount_shared(&source);
    for name in ["below", "late", "inside"] {
        fs::create_dir(source.join(name)).expect("make a directory");
    }
    mount_shared(&source.join("below"));
    fs::create_dir(source.join("below/late")).expect("make a directory");
    for (kind, arrives, returns) in [
        ("private", false, false),
        ("rprivate", false, false),
        ("slave", true, false),
        ("rslave", true, false),
        ("shared", true, true),
        ("rshared", true, true),
    ] {
        let (seen, came_back) = propagated(&Container::new(), &source, kind);
        assert_eq!(seen.contains("/data/late rw"), arrives, "{kind}: {seen}");
        assert_eq!(seen.contains("/fixed/late rw"), arrives, "{kind}: {seen}");
        assert_eq!(came_back, returns, "{kind}");
        assert!(seen.contains("/fixed ro") && seen.contains("read-only\n"), "{kind}: {seen}");
        if let Some(reference) = Container::reference() {
            assert_eq!((seen, came_back), propagated(&reference, &source, kind), "{kind}");
        }
    }
    for mounted in [source.join("below"), source] {
        umount(&mounted).expect("unmount a tmpfs");
    }
}

/// What the container sees of its two volumes and of mounts that come later, and whether one that
/// it makes is seen on the host.
fn propagated(container: &Container, source: &Path, kind: &str) -> (String, bool) {
    let path = source.display();
    let volumes = [format!("{path}:/data:{kind}"), format!("{path}:/fixed:ro,{kind}")];
    let [data, fixed] = volumes.each_ref().map(String::as_str);
    let options = ["--volume", data, "--volume", fixed, "--cap-add", "SYS_ADMIN"];
    let unconfined = ["--security-opt", "apparmor=unconfined"];
    container.start(&[&options[..], &unconfined].concat(), "sleep 1000");
    let late = [source.join("late"), source.join("below/late")];
    late.iter().for_each(|place| mount_tmpfs(place));
    // The numbers of peer groups differ each time.
    let script = "awk '$5 ~ \"^/(data|fixed)\" { printf \"%s %s\", $5, substr($6, 1, 2); \
        for (i = 7; $i != \"-\"; i++) { sub(/:.*/, \"\", $i); printf \" %s\", $i }; print \"\" }' \
        /proc/self/mountinfo | sort; touch /fixed/x 2>/dev/null || echo read-only; \
        mount -t tmpfs tmpfs /data/inside";
    let seen = container.exec(&[], &["sh", "-c", script]).ok();
    let inside = format!(" {path}/inside ");
    let came_back = host::mount_table().iter().any(|line| line.contains(&inside));
    container.exec(&[], &["umount", "/data/inside"]).ok();
    late.iter().for_each(|place| umount(place).expect("unmount a tmpfs"));
    container.docker(&["rm", "--force"]).ok();
    (seen, came_back)
}

fn named_volumes_outlive_containers() {
    docker(&["volume", "create", "kept"]).ok();
    let write = Container::new().sh(&["--volume", "kept:/data"], "echo kept > /data/file");
    write.ok();
    let read = compared_sh(&["--volume", "kept:/data:ro"], "cat /data/file; touch /data/x");
    assert_eq!((read.code, read.stdout.as_str()), (1, "kept\n"), "{read:#?}");
    docker(&["volume", "rm", "kept"]).ok();
}

fn volumes_of_another_container() {
    let owner = Container::new();
    owner.sh(&["--volume", "/data"], "echo shared > /data/file").ok();
    let user = Container::new();
    assert_eq!(user.sh(&["--volumes-from", &owner.name], "cat /data/file").ok(), "shared\n");
}

fn copies_in_and_out() {
    let container = Container::new();
    container.start(
        &[],
        "echo inside > /tmp/out; echo up; until test -e /tmp/in; do sleep 0.1; done; cat /tmp/in",
    );
    let mut logs = container.follow();
    assert_eq!(logs.line(), "up");
    let place = directory("copies");
    let (out, new) = (place.join("out"), place.join("in"));
    docker(&["cp", &format!("{}:/tmp/out", container.name), out.to_str().expect("a path")]).ok();
    assert_eq!(fs::read_to_string(&out).expect("the copy"), "inside\n");
    fs::write(&new, "from outside\n").expect("write a file");
    docker(&["cp", new.to_str().expect("a path"), &format!("{}:/tmp/in", container.name)]).ok();
    assert_eq!(logs.line(), "from outside");
    assert_eq!(container.wait(), "0");
}
