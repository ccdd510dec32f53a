//! Hostile root file systems: whatever is put in the place of a path that the runtime touches,
//! the container starts with the mounts it asked for, or fails with a clear error; the host's
//! files stay as they are.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use orlop::sys::mount::DESCRIPTOR_CALLS as MOUNT_CALLS;
use serde_json::{Value, json};

use crate::harness::Case;
use crate::harness::sentinel::Sentinel;
use crate::harness::terminal::Receiver;
use crate::mounts::cgroup_mount;
use crate::tests;

tests! {
    nothing_in_an_image_reaches_the_host needs [Root] unlike runc "crashes on some of it",
    nothing_in_an_image_without_mounts_reaches_the_host needs [Root]
        unlike runc "crashes on some of it",
    nothing_in_place_of_cgroups_reaches_the_host needs [Root] unlike runc "crashes on some of it",
    nothing_on_the_way_to_a_mount_reaches_the_host needs [Root]
        unlike runc "crashes on some of it",
    nothing_reaches_the_host_without_the_newer_mount_calls needs [Root]
        unlike runc "crashes on some of it",
    nothing_in_an_image_reaches_the_host_from_a_user_namespace needs [Root]
        unlike runc "crashes on some of it",
    nothing_in_place_of_a_terminal_reaches_the_host needs [Root] unlike runc "has other words",
    a_null_device_of_the_image_gives_nobody_a_file_of_the_host needs [Root]
        unlike runc "has other words",
}

/// Every path that a runtime makes, opens, mounts or looks at by itself.
const OWN_PATHS: [&str; 29] = [
    "/dev",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/console",
    "/dev/ptmx",
    "/dev/pts",
    "/dev/pts/ptmx",
    "/dev/shm",
    "/dev/mqueue",
    "/dev/fd",
    "/dev/core",
    "/dev/stdin",
    "/dev/stdout",
    "/dev/stderr",
    "/dev/tty",
    "/proc",
    "/proc/self",
    "/sys",
    "/sys/fs",
    "/sys/fs/cgroup",
    "/etc",
    "/etc/passwd",
    "/etc/group",
    "/home",
    "/home/me",
    "/tmp",
];

/// Mount targets of the document, their parents, and the working directory.
const MOUNT_PATHS: [&str; 6] =
    ["/mnt", "/mnt/tree", "/mnt/tree/file", "/closed", "/closed/here", "/hidden"];

/// What is put there.
const THINGS: [&str; 18] = [
    "absolute link",
    "absolute link to a file",
    "relative link",
    "link to something new",
    "dangling link",
    "loop",
    "link into the runtime's root",
    "link to a descriptor",
    "link to the runtime's program",
    "fifo",
    "socket",
    "null device",
    "other device",
    "block device",
    "file",
    "sparse file",
    "chain of links",
    "directory",
];

/// Makes the thing.
fn put(thing: &str, path: &Path, sentinel: &Path) {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).expect("make a directory");
    }
    let _ = fs::remove_dir_all(path);
    let _ = fs::remove_file(path);
    let link = |target: &Path| symlink(target, path).expect("make a link");
    let up: PathBuf = std::iter::repeat_n("..", 20).collect();
    let below = |path: &Path| path.strip_prefix("/").expect("an absolute path").to_path_buf();
    let node = |kind, minor| {
        mknod(path, kind, Mode::from_bits_truncate(0o666), makedev(1, minor)).expect("mknod");
    };
    // Opening the block device would say ENXIO: there are no RAM disks of that number.
    match thing {
        "absolute link" => link(sentinel),
        "absolute link to a file" => link(&sentinel.join("file")),
        "relative link" => link(&up.join(below(sentinel))),
        "link to something new" => link(&sentinel.join("new")),
        "dangling link" => link(Path::new("/no/such/place")),
        "loop" => link(path.file_name().expect("a name").as_ref()),
        "link into the runtime's root" => link(&Path::new("/proc/1/root").join(below(sentinel))),
        "link to a descriptor" => link(Path::new("/proc/self/fd/3")),
        "link to the runtime's program" => link(Path::new("/proc/self/exe")),
        "fifo" => node(SFlag::S_IFIFO, 0),
        "null device" => node(SFlag::S_IFCHR, 3),
        "other device" => node(SFlag::S_IFCHR, 1),
        "block device" => node(SFlag::S_IFBLK, 250),
        "socket" => node(SFlag::S_IFSOCK, 0),
        "file" => fs::write(path, "a file").expect("write"),
        "sparse file" => {
            let file = fs::File::create(path).expect("make a file");
            file.set_len(1 << 42).expect("make it large");
        }
        "chain of links" => make_chain(path, sentinel),
        "directory" => fs::create_dir(path).expect("make a directory"),
        other => panic!("what is a {other}?"),
    }
}

/// As many links as the kernel follows, and some more.
fn make_chain(path: &Path, sentinel: &Path) {
    let parent = path.parent().expect("a directory");
    let name = |number: usize| parent.join(format!("chain{number}"));
    symlink(name(0).file_name().expect("a name"), path).expect("make a link");
    for number in 0..50 {
        symlink(name(number + 1).file_name().expect("a name"), name(number)).expect("a link");
    }
    symlink(sentinel, name(50)).expect("make a link");
}

/// The types of what is mounted inside, without the root.
fn mounted(report: &Value) -> Vec<String> {
    let lines = report["mounts"].as_array().expect("mounts").iter().filter_map(Value::as_str);
    let kind = |line: &str| {
        let (_, after) = line.split_once(" - ").expect("a line of mountinfo");
        after.split(' ').next().expect("a type").to_string()
    };
    let mut types: Vec<_> = lines.map(kind).collect();
    types.sort_unstable();
    types
}

/// Runs the case with each thing at each path; `prepare` makes what else it needs.
fn attack(mut case: Case, paths: &[&str], prepare: impl Fn(&Case)) {
    let sentinel = Sentinel::new(case.dir.join("sentinel"));
    case.args(&["open", "/proc/sysrq-trigger", "w", "--", "report"]);
    case.set("/linux/readonlyPaths/-", json!("/proc/sysrq-trigger"));
    prepare(&case);
    let honest = look(&case).expect("it runs without an attack");
    let mut wrong = Vec::new();
    let mut started = 0;
    // A machine that says it is slow leaves two of three out, others for each path.
    let step = if std::env::var_os("SLOW").is_some() { 3 } else { 1 };
    for (index, path) in paths.iter().enumerate() {
        for thing in THINGS.iter().skip(index % step).step_by(step) {
            case.make_rootfs_again();
            prepare(&case);
            put(thing, &case.rootfs().join(path.trim_start_matches('/')), &sentinel.path);
            let outcome = look(&case);
            let mut say = |what: String| wrong.push(format!("{path} is a {thing}: {what}"));
            match outcome {
                Ok(mounts) if mounts == honest => started += 1,
                // What is not there need not be covered (BXM-31, BXM-32).
                Ok(mounts) if may_be_missing(path) && mounts.len() + 1 == honest.len() => {}
                Ok(mounts) => say(format!("{mounts:?} are mounted instead of {honest:?}")),
                Err(error) if is_clear(&error) => {}
                Err(error) => say(format!("unclear: {error}")),
            }
            sentinel.changes().into_iter().for_each(&mut say);
            case.leftovers().into_iter().for_each(&mut say);
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong, the first: {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(8)]
    );
    assert!(started > 0, "no attack was survived");
}

fn may_be_missing(path: &str) -> bool {
    path.starts_with("/closed") || path == "/hidden"
}

/// What is mounted inside, or the error.
fn look(case: &Case) -> Result<Vec<String>, String> {
    let output = case.run();
    if output.code != 0 {
        return Err(format!("{} {}{}", output.code, output.stderr, output.stdout));
    }
    let (trigger, report) = output.stdout.split_once('\n').expect("two answers");
    // Opening is enough; nobody writes.
    if trigger == "ok" {
        return Err("/proc/sysrq-trigger can be written".to_string());
    }
    Ok(mounted(&serde_json::from_str(report).map_err(|error| format!("{error}: {report}"))?))
}

/// One line from the runtime that names what was done to what.
pub fn is_clear(error: &str) -> bool {
    error.starts_with("1 error: ") && error.trim_end().lines().count() == 1
}

fn nothing_in_an_image_reaches_the_host() {
    attack(Case::new(&[]), &OWN_PATHS, |_| {});
}

fn nothing_in_an_image_without_mounts_reaches_the_host() {
    let mut case = Case::new(&[]);
    // The probe needs /proc to tell what it sees.
    case.set("/mounts", json!([{"destination": "/proc", "type": "proc", "source": "proc"}]));
    attack(case, &OWN_PATHS, |_| {});
}

/// Without sysfs these directories are the image's.
fn nothing_in_place_of_cgroups_reaches_the_host() {
    let mut case = Case::new(&[]);
    let proc = json!({"destination": "/proc", "type": "proc", "source": "proc"});
    case.set("/mounts", json!([proc, cgroup_mount(&["nosuid", "noexec", "nodev", "ro"])]));
    attack(case, &["/sys", "/sys/fs", "/sys/fs/cgroup"], |_| {});
}

fn nothing_on_the_way_to_a_mount_reaches_the_host() {
    attack_mounts(Case::new(&[]));
}

/// Where mount(2) is all there is: see `sandboxes`.
fn nothing_reaches_the_host_without_the_newer_mount_calls() {
    let mut case = Case::new(&[]);
    case.lacks(&MOUNT_CALLS);
    attack_mounts(case);
}

fn attack_mounts(mut case: Case) {
    let source = case.dir.join("source");
    fs::create_dir(&source).expect("make a directory");
    fs::write(source.join("file"), "").expect("write");
    let bind = |destination: &str, source: &Path| json!({"destination": destination, "source": source, "options": ["rbind"]});
    case.set("/mounts/-", bind("/mnt/tree/dir", &source));
    case.set("/mounts/-", bind("/mnt/tree/file", &source.join("file")));
    case.set(
        "/mounts/-",
        json!({"destination": "/mnt/tree/tmp", "type": "tmpfs", "source": "t",
            "options": ["tmpcopyup"]}),
    );
    case.set(
        "/linux/devices",
        json!([
        {"path": "/mnt/tree/node", "type": "c", "major": 1, "minor": 5, "uid": 7, "gid": 8}]),
    );
    case.set("/linux/readonlyPaths/-", json!("/closed"));
    case.set("/linux/maskedPaths/-", json!("/hidden"));
    case.set("/process/cwd", json!("/closed/here"));
    attack(case, &MOUNT_PATHS, |case| {
        for name in ["closed/here", "hidden"] {
            fs::create_dir_all(case.rootfs().join(name)).expect("make a directory");
        }
    });
}

fn nothing_in_an_image_reaches_the_host_from_a_user_namespace() {
    let mut case = Case::new(&[]);
    case.namespace("user", Some(json!({"type": "user"})));
    let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    case.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    attack(case, &OWN_PATHS, |_| {});
}

/// With a terminal more is looked at below `/dev`: CVE-2025-52565, CVE-2026-88264.
fn nothing_in_place_of_a_terminal_reaches_the_host() {
    let mut case = Case::new(&["wait"]);
    case.set("/process/terminal", json!(true));
    let mounts = case.config["mounts"].as_array_mut().expect("mounts");
    mounts.retain(|mount| mount["destination"] != "/dev");
    case.write_config();
    let sentinel = Sentinel::new(case.dir.join("sentinel"));
    let mut wrong = Vec::new();
    for path in ["/dev", "/dev/console", "/dev/pts", "/dev/pts/ptmx", "/dev/ptmx", "/dev/tty"] {
        for thing in THINGS {
            case.make_rootfs_again();
            put(thing, &case.rootfs().join(path.trim_start_matches('/')), &sentinel.path);
            let receiver = Receiver::new(&case.id);
            let output =
                case.runtime(&["create", "--console-socket", receiver.argument(), &case.id]);
            let mut say = |what: String| wrong.push(format!("{path} is a {thing}: {what}"));
            if output.code == 0 {
                case.runtime(&["delete", "--force", &case.id]).ok();
            } else if !is_clear(&format!("{} {}", output.code, output.stderr)) {
                say(format!("unclear: {output:?}"));
            }
            sentinel.changes().into_iter().for_each(&mut say);
            case.leftovers().into_iter().for_each(&mut say);
        }
    }
    assert_eq!(wrong, [""; 0]);
}

/// CVE-2026-88265: standard streams that are the null device become the container's own, and are
/// given to the program's user.
fn a_null_device_of_the_image_gives_nobody_a_file_of_the_host() {
    let mut case = Case::new(&["echo", "started"]);
    case.set("/mounts", json!([{"destination": "/proc", "type": "proc", "source": "proc"}]));
    case.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let sentinel = Sentinel::new(case.dir.join("sentinel"));
    for target in [sentinel.path.join("file"), "../../sentinel/file".into(), "/etc/passwd".into()] {
        for device in ["null", "zero", "tty"] {
            case.make_rootfs_again();
            symlink(&target, case.rootfs().join("dev").join(device)).expect("make a link");
            // Standard input is the host's null device.
            case.run().fails(1, &format!("/dev/{device}: another file is there already"));
            assert_eq!(sentinel.changes(), [""; 0]);
        }
    }
}
