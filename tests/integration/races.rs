//! Another container exchanges what is at a path for a link, again and again, while the runtime
//! uses it: CVE-2019-19921, CVE-2021-30465, CVE-2024-45310, CVE-2025-31133, CVE-2025-52881.
//!
//! Each start works or fails with a clear error, and the host's files stay as they are.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use orlop::sys::mount::DESCRIPTOR_CALLS as MOUNT_CALLS;
use serde_json::json;

use crate::attacks::is_clear;
use crate::harness::Case;
use crate::harness::sentinel::Sentinel;
use crate::tests;

tests! {
    a_race_for_mounts_on_a_shared_volume needs [Root] unlike runc "fails otherwise",
    a_race_for_mounts_without_the_newer_calls needs [Root] unlike runc "fails otherwise",
    a_race_for_the_devices_of_an_image needs [Root] unlike runc "fails otherwise",
    a_race_for_proc_and_sys needs [Root] unlike runc "fails otherwise",
    a_race_for_hidden_and_read_only_paths needs [Root] unlike runc "fails otherwise",
    a_race_for_what_hides_files needs [Root] unlike runc "fails otherwise",
}

/// Starts of one test; there are six.
fn starts() -> usize {
    match (std::env::var_os("TORTURE"), std::env::var_os("SLOW")) {
        (Some(_), _) => 5_000,
        (None, Some(_)) => 50,
        (None, None) => 250,
    }
}

/// Exchanges each of `paths` with a link to `target` until it is dropped.
struct Racer {
    stop: &'static AtomicBool,
    exchanges: &'static AtomicUsize,
    thread: Option<thread::JoinHandle<()>>,
}

impl Racer {
    fn new(paths: &[PathBuf], target: &Path) -> Self {
        let links: Vec<_> = paths
            .iter()
            .map(|path| {
                let link = path.with_extension("link");
                symlink(target, &link).expect("make a link");
                (path.clone(), link)
            })
            .collect();
        let stop: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
        let exchanges: &'static AtomicUsize = Box::leak(Box::new(AtomicUsize::new(0)));
        let thread = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                for (path, link) in &links {
                    let flags = RenameFlags::RENAME_EXCHANGE;
                    renameat2(AT_FDCWD, path, AT_FDCWD, link, flags).expect("exchange");
                }
                exchanges.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { stop, exchanges, thread: Some(thread) }
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(thread::JoinHandle::join);
        assert!(thread::panicking() || ended.is_some_and(|ended| ended.is_ok()));
    }
}

/// Starts the container again and again while `paths` below its directory are exchanged.
fn race(case: &Case, paths: &[&str]) {
    race_for(case, paths, None, "ok");
}

/// As [`race`]; links lead to `target`, and what the program prints must not have the word `bad`
/// in it.
fn race_for(case: &Case, paths: &[&str], target: Option<&str>, bad: &str) {
    let sentinel = Sentinel::new(case.dir.join("sentinel"));
    let paths: Vec<_> = paths.iter().map(|path| case.dir.join(path)).collect();
    let racer = Racer::new(&paths, target.map_or(sentinel.path.as_path(), Path::new));
    let mut wrong = Vec::new();
    let mut started = 0;
    for number in 0..starts() {
        let output = case.run();
        match output.code {
            0 if !output.stdout.contains(bad) => started += 1,
            0 => wrong.push(format!("it could reach: {}", output.stdout)),
            code => {
                let error = format!("{code} {}{}", output.stderr, output.stdout);
                if !is_clear(&error) {
                    wrong.push(format!("unclear: {error}"));
                }
            }
        }
        let left = case.leftovers().into_iter().chain(sentinel.changes());
        wrong.extend(left.map(|what| format!("start {number}: {what}")));
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
    assert!(started > 0, "not one start succeeded");
    let exchanges = racer.exchanges.load(Ordering::Relaxed);
    assert!(exchanges > starts(), "the racer was slower than the runtime: {exchanges}");
}

fn a_race_for_mounts_on_a_shared_volume() {
    race_for_mounts(Case::new(&["echo", "started"]));
}

/// Where mount(2) is all there is: see `sandboxes`.
fn a_race_for_mounts_without_the_newer_calls() {
    let mut case = Case::new(&["echo", "started"]);
    case.lacks(&MOUNT_CALLS);
    race_for_mounts(case);
}

fn race_for_mounts(mut case: Case) {
    let volume = case.dir.join("volume");
    for name in ["tmp", "closed"] {
        fs::create_dir_all(volume.join("data").join(name)).expect("make a directory");
    }
    for mount in [
        json!({"destination": "/vol", "source": volume, "options": ["rbind"]}),
        json!({"destination": "/vol/data/tmp", "type": "tmpfs", "source": "t"}),
        json!({"destination": "/vol/data/made/here", "type": "tmpfs", "source": "t"}),
        json!({"destination": "/vol/data/file", "source": "/etc/passwd", "options": ["bind"]}),
    ] {
        case.set("/mounts/-", mount);
    }
    case.set("/process/cwd", json!("/vol/data/cwd"));
    case.set("/linux/readonlyPaths/-", json!("/vol/data/closed"));
    race(&case, &["volume/data"]);
}

fn a_race_for_the_devices_of_an_image() {
    let mut case = Case::new(&["echo", "started"]);
    case.set("/mounts", json!([{"destination": "/proc", "type": "proc", "source": "proc"}]));
    case.remove("/linux/maskedPaths");
    race(&case, &["rootfs/dev"]);
}

fn a_race_for_proc_and_sys() {
    let mut case = Case::new(&["open", "/proc/sysrq-trigger", "w"]);
    case.set("/linux/readonlyPaths/-", json!("/proc/sysrq-trigger"));
    race(&case, &["rootfs/proc", "rootfs/sys"]);
}

/// Whoever can exchange such a path can do so later, too: only the host has to be safe from it.
fn a_race_for_hidden_and_read_only_paths() {
    let mut case = Case::new(&["echo", "started"]);
    let volume = case.dir.join("volume");
    fs::create_dir_all(volume.join("data/closed")).expect("make a directory");
    fs::write(volume.join("data/secret"), "").expect("write a file");
    case.set("/mounts/-", json!({"destination": "/vol", "source": volume, "options": ["rbind"]}));
    case.set("/linux/maskedPaths/-", json!("/vol/data/secret"));
    case.set("/linux/readonlyPaths/-", json!("/vol/data/closed"));
    race(&case, &["volume/data"]);
}

/// CVE-2025-31133: files are hidden by the container's `/dev/null`, and that becomes a link to one
/// of them.
fn a_race_for_what_hides_files() {
    let mut case = Case::new(&["stat", "/proc/sysrq-trigger"]);
    case.set("/mounts", json!([{"destination": "/proc", "type": "proc", "source": "proc"}]));
    case.set("/linux/maskedPaths", json!(["/proc/sysrq-trigger", "/proc/keys"]));
    let null = case.rootfs().join("dev/null");
    mknod(&null, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(1, 3)).expect("mknod");
    race_for(&case, &["rootfs/dev/null"], Some("/proc/sysrq-trigger"), "file");
}
