//! What is run: one root file system and the documents of engines, and the lower bound.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::measure::{Pace, Table};
use crate::runtime::{Runtime, run};
use crate::{compare, example};

/// Its container and its cgroup.
const ID: &str = "orlop-bench";

/// What has to be the same under each runtime for a comparison to be one.
const COMPARED: [&str; 9] = [
    "mounts",
    "cgroups",
    "dev",
    "fds",
    "/status/CapInh",
    "/status/CapPrm",
    "/status/CapEff",
    "/status/CapBnd",
    "/status/CapAmb",
];

/// A bundle whose document is written anew for each use.
pub struct Bundle {
    path: PathBuf,
    document: Value,
}

/// Compiles the lower bound.
pub fn compile_floor(directory: &Path) -> PathBuf {
    fs::create_dir_all(directory).expect("make a directory");
    let floor = directory.join("floor");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/floor.c");
    let mut cc = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".to_string()));
    let status = cc.args(["-O2", "-static", "-o"]).arg(&floor).arg(source).status();
    assert!(status.expect("run the C compiler").success(), "floor.c does not compile");
    floor
}

/// What `spec` writes, without a terminal.
pub fn spec(ours: &Runtime, directory: &Path) -> Value {
    let path = directory.join("config.json");
    let _ = fs::remove_file(&path);
    ours.time(directory, &["spec"], &directory.join("output"));
    let mut document: Value =
        serde_json::from_slice(&fs::read(path).expect("read a document")).expect("a document");
    document["process"]["terminal"] = json!(false);
    document
}

/// What Docker 28 writes, without what names files of its host.
pub fn docker() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/configs/docker28-default.json");
    let text = fs::read(path).expect("read a document");
    let mut document: Value = serde_json::from_slice(&text).expect("a document");
    document.as_object_mut().expect("an object").remove("hooks");
    document["linux"].as_object_mut().expect("an object").remove("seccomp");
    let mounts = document["mounts"].as_array_mut().expect("mounts");
    mounts.retain(|mount| !mount["source"].as_str().unwrap_or_default().starts_with('/'));
    document
}

impl Bundle {
    /// Makes the root file system.
    pub fn make(path: &Path, floor: &Path, mut document: Value) -> Self {
        let rootfs = path.join("rootfs");
        for directory in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
            fs::create_dir_all(rootfs.join(directory)).expect("make a directory");
        }
        for (from, to) in [(floor, "true"), (&example("probe"), "probe")] {
            fs::copy(from, rootfs.join("bin").join(to)).expect("copy a program");
        }
        fs::write(rootfs.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").expect("write");
        document["root"]["path"] = json!("rootfs");
        document["linux"]["cgroupsPath"] = json!(format!("/{ID}"));
        // One that older versions of all of them know.
        document["ociVersion"] = json!("1.0.2");
        Self { path: path.to_path_buf(), document }
    }

    fn set_args(&self, args: &[&str]) {
        let mut document = self.document.clone();
        document["process"]["args"] = json!(args);
        fs::write(self.path.join("config.json"), document.to_string()).expect("write");
    }

    fn output(&self) -> PathBuf {
        self.path.join("output")
    }

    /// Whether a program sees the same under both; prints what it does not.
    pub fn is_same(&self, ours: &Runtime, other: &Runtime) -> bool {
        let [ours, theirs] = [ours, other].map(|runtime| self.report(runtime));
        let [ours, theirs] = match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => compare::differences(&ours, &theirs),
            (ours, theirs) => {
                let errors = [ours.err(), theirs.err()].into_iter().flatten();
                errors.for_each(|error| println!("{} is not timed: {error}", other.name));
                return false;
            }
        };
        let mut same = true;
        for (whose, lines) in [("ours", ours), ("its own", theirs)] {
            let matters = |line: &&String| COMPARED.iter().any(|name| line.contains(name));
            for line in lines.iter().filter(matters) {
                println!("{}, only {whose}: {line}", other.name);
                same = false;
            }
        }
        if !same {
            println!("{} is not timed: it does something else", other.name);
        }
        same
    }

    /// What a program sees. Not by `run`, under which some give it other standard streams.
    fn report(&self, runtime: &Runtime) -> Result<Value, String> {
        self.set_args(&["/bin/probe", "report"]);
        let complaints = self.path.join("complaints");
        runtime.run(&self.path, &["create", "--pid-file", "pid", ID], &self.output())?;
        runtime.run(&self.path, &["start", ID], &complaints)?;
        wait_for_end(&self.path.join("pid"));
        runtime.run(&self.path, &["delete", ID], &complaints)?;
        let text = fs::read(self.output()).expect("read a report");
        serde_json::from_slice(&text).map_err(|error| format!("its report: {error}"))
    }

    /// Times each operation once.
    pub fn measure(&self, runtime: &Runtime, pace: Pace, only: &str, table: &mut Table) {
        let time = |words: &[&str]| {
            pace.wait();
            runtime.time(&self.path, words, &self.output())
        };
        self.set_args(&["/bin/true"]);
        if "run".contains(only) {
            table.add("run", &runtime.name, time(&["run", ID]));
        }
        if only == "run" {
            return;
        }
        let pid_file = self.path.join("pid");
        let create = time(&["create", "--pid-file", "pid", ID]);
        let state = time(&["state", ID]);
        let start = time(&["start", ID]);
        wait_for_end(&pid_file);
        let delete = time(&["delete", ID]);
        self.set_args(&["/bin/probe", "wait"]);
        runtime.time(&self.path, &["run", "--detach", ID], &self.output());
        let force = time(&["delete", "--force", ID]);
        for (operation, time) in [
            ("create", create),
            ("state", state),
            ("start", start),
            ("delete", delete),
            ("create + start + delete", create + start + delete),
            ("delete --force", force),
        ] {
            table.add(operation, &runtime.name, time);
        }
    }

    /// Times the lower bound of `run`.
    pub fn measure_floor(&self, floor: &Path, pace: Pace, table: &mut Table) {
        pace.wait();
        let time = run(Command::new(floor).arg(self.path.join("rootfs")), &self.output());
        table.add("run", "lower bound", time.expect("the lower bound works"));
    }
}

fn wait_for_end(pid_file: &Path) {
    let text = fs::read_to_string(pid_file).expect("read a pid");
    let pid = Pid::from_raw(text.trim().parse().expect("a pid"));
    if let Ok(process) = orlop::sys::process::pidfd_open(pid) {
        let timeout = PollTimeout::from(10_000_u16);
        let ended = poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], timeout);
        assert!(ended.expect("poll") > 0, "the program does not end");
    }
}
