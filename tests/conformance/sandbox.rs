//! Where the suite's programs run: one PID namespace for all of them, mounts for each.
//!
//! The program starts itself again: as the first process of a PID namespace, so that nothing
//! survives it, and from there for each test, to make mounts and execute the suite's program.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::wait;
use nix::unistd::Pid;

use crate::harness::{Output, host, runtime};
use crate::output::{self, Outcome};

/// Tells the second process that it is that.
const INSIDE: &str = "ORLOP_CONFORMANCE_INSIDE";

/// Tells the third one which program it is to become.
const PROGRAM: &str = "ORLOP_CONFORMANCE_PROGRAM";

/// Cgroups that the suite asks for, and whose parents it leaves.
const CGROUPS: [&str; 2] = ["cgrouptest", "testdir"];

/// The suite's programs, and the two files that they look for where they run.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/conformance")
}

/// The program that this process is to become.
pub fn program() -> Option<PathBuf> {
    std::env::var_os(PROGRAM).map(PathBuf::from)
}

/// This is the first process of the PID namespace.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// The programs, one for each test.
pub fn programs() -> Vec<PathBuf> {
    let entries = fs::read_dir(directory()).into_iter().flatten().flatten();
    let mut programs: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_none() && !path.ends_with("runtimetest"))
        .collect();
    programs.sort();
    programs
}

/// Runs this program in a PID namespace.
pub fn run_inside() -> ExitCode {
    unshare(CloneFlags::CLONE_NEWPID).expect("make a PID namespace");
    let mut command = Command::new(std::env::current_exe().expect("the path of the test"));
    command.args(std::env::args_os().skip(1)).env(INSIDE, "1");
    let status = command.status().expect("run this program in a PID namespace");
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Makes this process's own mounts.
pub fn enter() {
    prctl::set_pdeathsig(Signal::SIGKILL).expect("end with the parent");
    own_mounts();
    new_mount("proc", "/proc");
}

fn own_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).expect("make a mount namespace");
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("keep mounts here");
}

fn new_mount(kind: &str, at: &str) {
    let flags = MsFlags::empty();
    mount(Some("conformance"), at, Some(kind), flags, None::<&str>)
        .unwrap_or_else(|error| panic!("mount {kind} at {at}: {error}"));
}

/// Becomes a program of the suite, with a place for bundles and for the runtime's state that end
/// with its mounts.
pub fn execute(program: &Path) -> ExitCode {
    own_mounts();
    new_mount("tmpfs", "/run");
    fs::create_dir("/run/bundles").expect("make a directory");
    let mut command = Command::new(program);
    command.current_dir(directory()).env_remove(PROGRAM);
    command.env("TMPDIR", "/run/bundles").env("RUNTIME", runtime());
    let error = command.exec();
    println!("{}: {error}", program.display());
    ExitCode::FAILURE
}

/// Runs a program of the suite. Returns what it made of the runtime, and its output.
pub fn run(program: &Path) -> (Outcome, String) {
    let mut command = Command::new(std::env::current_exe().expect("the path of the test"));
    command.env(PROGRAM, program);
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| Output::of(&mut command)));
    end_all();
    let Ok(ended) = ended else {
        let failed = [String::from("hangs")].into();
        return (Outcome { failed }, format!("{} does not end", program.display()));
    };
    let outcome = output::read(&ended.stdout, ended.code);
    (outcome, format!("{}{}exit code {}", ended.stdout, ended.stderr, ended.code))
}

/// Ends what a test has left in the PID namespace, whose first process this is.
fn end_all() {
    // Nobody may be left.
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    while wait().is_ok() {}
}

/// Removes the cgroups that were made for the suite, of which only empty ones can be.
pub fn remove_cgroups() {
    for hierarchy in host::hierarchies() {
        for name in CGROUPS {
            let cgroup = hierarchy.join(name);
            for path in [cgroup.join("cgrouptest"), cgroup] {
                // It need not be there.
                let _ = fs::remove_dir(path);
            }
        }
    }
}
