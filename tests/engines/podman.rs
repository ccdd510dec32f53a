//! Podman with conmon, and the containers that go away with their test.
//!
//! Its settings are in `/etc/containers`, where `sandbox.rs` has put something that ends with the
//! test: what conmon starts at the end of a container has no other way to find them. Those of an
//! ordinary user are in his home directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::docker::{IMAGE, OURS, REFERENCE};
use crate::harness::host::{self, Needs};
use crate::harness::{Background, Output, reference, runtime, wait_until_gone};
use crate::machine::{self, Driver};
use crate::sandbox::{self, DIRECTORY};

/// Podman's name for the image that [`crate::daemon`] has made.
fn image() -> String {
    format!("localhost/{IMAGE}")
}

/// Writes the settings and takes over the image, if Podman is there.
pub fn prepare() {
    if Needs::Podman.missing().is_some() && Needs::Buildah.missing().is_some() {
        return;
    }
    write_settings();
    if Needs::Podman.missing().is_none() {
        let archive = format!("{DIRECTORY}/image.tar");
        podman(&["import", "--quiet", &archive, &image()]).ok();
    }
}

/// Waits until everything of Podman has ended, and removes the cgroup that it keeps for conmon.
pub fn finish() {
    let processes = host::processes_in_cgroup(&format!("{}/conmon", sandbox::cgroup()));
    processes.into_iter().for_each(wait_until_gone);
    for cgroup in sandbox::cgroups() {
        // It is there only if a container was.
        let _ = fs::remove_dir(cgroup.join("conmon"));
    }
}

fn write_settings() {
    let storage = format!(
        "[storage]\ndriver = \"overlay\"\ngraphroot = \"{DIRECTORY}/podman\"\n\
         runroot = \"{DIRECTORY}/podman-run\"\n"
    );
    let mut runtimes = format!("{OURS} = [\"{}\"]\n", runtime().display());
    if let Some(runc) = reference::runc() {
        runtimes += &format!("{REFERENCE} = [\"{}\"]\n", runc.display());
    }
    let containers = format!(
        "[containers]\nlog_driver = \"k8s-file\"\n[engine]\nruntime = \"{OURS}\"\nruntime_supports_json = [\"{OURS}\", \"{REFERENCE}\"]\n\
         cgroup_manager = \"{}\"\nevents_logger = \"file\"\n\
         tmp_dir = \"{DIRECTORY}/podman-tmp\"\n[engine.runtimes]\n{runtimes}\
         [network]\nnetwork_config_dir = \"{DIRECTORY}/podman-networks\"\n",
        machine::driver().name()
    );
    let directory = match machine::is_ordinary() {
        true => Path::new(&std::env::var_os("HOME").expect("HOME")).join(".config/containers"),
        false => PathBuf::from("/etc/containers"),
    };
    fs::create_dir_all(&directory).expect("make a directory");
    for (name, text) in [
        ("storage.conf", storage.as_str()),
        ("containers.conf", &containers),
        ("registries.conf", ""),
        ("policy.json", "{\"default\": [{\"type\": \"insecureAcceptAnything\"}]}"),
    ] {
        fs::write(directory.join(name), text).expect("write settings");
    }
}

/// A command of Podman.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new("podman");
    // What is set for Docker's client is not for Podman, which reads it as well.
    command.args(args).env_remove("DOCKER_CONFIG");
    // conmon notes want of memory in a file where it happens to be.
    command.current_dir(DIRECTORY);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs Podman to its end.
pub fn podman(args: &[&str]) -> Output {
    Output::of(&mut command(args))
}

/// A container, which need not exist yet.
pub struct Container {
    /// Its name.
    pub name: String,
    runtime: &'static str,
}

impl Container {
    /// A container of the runtime under test.
    pub fn new() -> Self {
        Self::of(OURS)
    }

    /// A container of runc, if there is one to compare with.
    pub fn reference() -> Option<Self> {
        reference::runc().map(|_| Self::of(REFERENCE))
    }

    fn of(runtime: &'static str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self { name: format!("{runtime}-{number}"), runtime }
    }

    /// `podman run` or `podman create`. Without an option about networks there is none.
    pub fn command(&self, verb: &str, options: &[&str], program: &[&str]) -> Command {
        let mut command = command(&["--runtime", self.runtime, verb, "--name", &self.name]);
        // An ordinary user may make cgroups only below those that he has.
        if !(machine::is_ordinary() && machine::driver() == Driver::Cgroupfs) {
            command.args(["--cgroup-parent", &sandbox::cgroup()]);
        }
        command.args(options);
        if !options.iter().any(|option| ["--network", "--pod"].contains(option)) {
            command.args(["--network", "none"]);
        }
        command.arg(image()).args(program);
        command
    }

    /// `podman run`, to its end.
    pub fn run(&self, options: &[&str], program: &[&str]) -> Output {
        Output::of(&mut self.command("run", options, program))
    }

    /// `podman run`, to its end, of a shell script.
    pub fn sh(&self, options: &[&str], script: &str) -> Output {
        self.run(options, &["sh", "-c", script])
    }

    /// `podman run --detach` of a shell script.
    #[track_caller]
    pub fn start(&self, options: &[&str], script: &str) {
        self.sh(&[options, &["--detach"]].concat(), script).ok();
    }

    /// A command of Podman on this container.
    pub fn podman(&self, words: &[&str]) -> Output {
        podman(&[words, &[&self.name]].concat())
    }

    /// A command in this container.
    pub fn exec(&self, options: &[&str], program: &[&str]) -> Output {
        podman(&[&["exec"], options, &[&self.name], program].concat())
    }

    /// `podman wait`: the exit status.
    #[track_caller]
    pub fn wait(&self) -> String {
        self.podman(&["wait"]).ok().trim().to_string()
    }

    /// A member of the document that `podman inspect` prints.
    #[track_caller]
    pub fn inspect(&self, member: &str) -> String {
        let format = format!("{{{{{member}}}}}");
        self.podman(&["inspect", "--format", &format]).ok().trim().to_string()
    }

    /// `podman logs --follow`
    pub fn follow(&self) -> Background {
        Background::start(&mut command(&["logs", "--follow", &self.name]))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let remove = || self.podman(&["rm", "--force", "--ignore", "--time", "0", "--volumes"]);
        // What conmon has started at the container's end may be about to unmount the same.
        let removed = (0..10).map(|_| remove()).find(|removed| removed.code == 0);
        let removed = removed.unwrap_or_else(remove);
        assert!(removed.code == 0 || std::thread::panicking(), "{}: {removed:#?}", self.name);
    }
}

/// Runs the same under both runtimes, compares what a user sees, and returns what ours did.
#[track_caller]
pub fn compared(options: &[&str], program: &[&str]) -> Output {
    let seen = Container::new().run(options, program);
    if let Some(reference) = Container::reference() {
        let wanted = reference.run(options, program);
        let same = (seen.code, &seen.stdout) == (wanted.code, &wanted.stdout);
        assert!(same, "{options:?} {program:?}: {seen:#?}, with runc {wanted:#?}");
    }
    seen
}

/// A group of containers.
pub struct Pod {
    /// Its name.
    pub name: &'static str,
    id: String,
}

impl Pod {
    /// Makes one whose first container sleeps.
    #[track_caller]
    pub fn new(name: &'static str) -> Self {
        let (parent, image) = (sandbox::cgroup(), image());
        let infra = ["--infra-image", &image, "--infra-command", "/bin/sleep 1000"];
        let words = ["pod", "create", "--name", name, "--cgroup-parent", &parent];
        let id = podman(&[&words[..], &infra].concat()).ok().trim().to_string();
        Self { name, id }
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let removed = podman(&["pod", "rm", "--force", "--time", "0", "--ignore", self.name]);
        for cgroup in sandbox::cgroups() {
            // Podman removes it from the hierarchies that have a controller.
            let _ = fs::remove_dir(cgroup.join(&self.id));
        }
        assert!(removed.code == 0 || std::thread::panicking(), "{}: {removed:#?}", self.name);
    }
}
