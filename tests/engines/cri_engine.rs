//! containerd with its CRI plugin, which is what Kubernetes talks to: one for each test, that
//! nobody else's pods are in it.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use serde_json::json;

use crate::cri_images;
use crate::cri_version::Version;
use crate::daemon;
use crate::harness::{Output, copy_program, host, runtime, wait_until_gone};
use crate::sandbox::DIRECTORY;

/// A running containerd, which somebody starts again whenever it has ended.
pub struct Engine {
    version: Version,
    directory: PathBuf,
    stops: Arc<AtomicBool>,
    supervisor: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts one and imports the images.
    pub fn start(version: Version) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = PathBuf::from(format!("{DIRECTORY}/cri-{number}"));
        fs::create_dir_all(directory.join("bin")).expect("make a directory");
        mkfifo(&directory.join("seen"), Mode::S_IRWXU).expect("make a pipe");
        write_files(version, &directory, number);
        let stops = Arc::new(AtomicBool::new(false));
        let daemon = start_daemon(version, &directory);
        let (place, flag) = (directory.clone(), Arc::clone(&stops));
        let supervisor =
            Some(std::thread::spawn(move || supervise(version, &place, daemon, &flag)));
        let engine = Self { version, directory, stops, supervisor };
        engine.ctr(&["--namespace", "k8s.io", "images", "import", &cri_images::archive()]).ok();
        engine
    }

    /// Runs the upstream tests with these words, and ends if they do not.
    pub fn test(&self, handler: &str, words: &[&str]) -> Output {
        let place = self.directory.display();
        let mut command = Command::new(self.version.tests());
        command.current_dir(&self.directory).args(words).args([
            format!("-cri-endpoint=unix://{}", self.socket().display()),
            self.version.words(&place.to_string()),
            format!("-containerd-bin={}", self.name()),
            format!("-runtime-handler={handler}"),
            format!("-image-list={place}/images.toml"),
        ]);
        let path = std::env::var("PATH").unwrap_or_default();
        Output::of(command.env("PATH", format!("{place}/bin:{path}")))
    }

    /// Runs those of our own tests that have this name, and ends if they do not.
    pub fn own_test(&self, handler: &str, name: &str) -> Output {
        let mut command = Command::new(host::built_for_engines(host::POD_TESTS));
        command.current_dir(&self.directory).args([
            "-test.v".to_string(),
            format!("-test.run=^{name}$"),
            format!("-cri-endpoint=unix://{}", self.socket().display()),
            format!("-runtime-handler={handler}"),
            "-image=docker.io/library/pods:latest".to_string(),
        ]);
        Output::of(&mut command)
    }

    /// One of the clients that Kubernetes has for CRI, told where the daemon listens.
    pub fn client(&self, name: &str) -> Command {
        let endpoint = format!("unix://{}", self.socket().display());
        let mut command = Command::new(host::built_for_engines(name));
        command.current_dir(&self.directory);
        command.args(["--runtime-endpoint", &endpoint, "--image-endpoint", &endpoint]);
        command
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("containerd.sock")
    }

    /// Its process has the name of its directory.
    fn name(&self) -> String {
        self.directory.file_name().expect("a name").to_string_lossy().into_owned()
    }

    fn ctr(&self, words: &[&str]) -> Output {
        Output::of(Command::new("ctr").arg("--address").arg(self.socket()).args(words))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::SeqCst);
        let pid = fs::read_to_string(self.directory.join("pid")).ok();
        if let Some(pid) = pid.and_then(|text| text.parse().ok()) {
            // It may have ended of its own accord.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let ended = self.supervisor.take().map(JoinHandle::join);
        // A shim whose containerd ended before it had told the shim to end is there for ever.
        let socket = self.socket().display().to_string();
        for pid in daemon::processes_of("containerd-shim") {
            let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if words.contains(&socket) && kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok() {
                wait_until_gone(pid);
            }
        }
        assert!(ended.is_none_or(|ended| ended.is_ok()) || std::thread::panicking());
    }
}

/// Starts containerd, and notes its pid.
fn start_daemon(version: Version, directory: &Path) -> Child {
    let name = directory.file_name().expect("a name").to_string_lossy();
    let program = directory.join("bin").join(&*name).display().to_string();
    let daemon = daemon::start(
        &name,
        &[&program, "--config"],
        &version.settings(&directory.display().to_string()),
    );
    fs::write(directory.join("pid"), daemon.id().to_string()).expect("write a pid");
    daemon
}

/// Has containerd always run. When it was ended by a test, that one asks by `pidof` whether it is
/// gone, and it comes back only after the answer was that it is.
fn supervise(version: Version, directory: &Path, mut daemon: Child, stops: &AtomicBool) {
    loop {
        daemon.wait().expect("wait for containerd");
        if stops.load(Ordering::SeqCst) {
            return;
        }
        fs::write(directory.join("ended"), "").expect("write a file");
        let mut seen = File::open(directory.join("seen")).expect("open a pipe");
        seen.read_to_end(&mut Vec::new()).expect("read a pipe");
        daemon = start_daemon(version, directory);
    }
}

fn write_files(version: Version, directory: &Path, number: u32) {
    let place = directory.display();
    let name = directory.file_name().expect("a name");
    symlink(version.program(), directory.join("bin").join(name)).expect("make a link");
    // Tests ask the runtime of this name for its features.
    symlink(runtime(), directory.join("bin/runc")).expect("make a link");
    let pidof = format!(
        "#!/bin/sh\n[ -e {place}/ended ] || {{ cat {place}/pid; exit; }}\n\
         rm {place}/ended\n: >{place}/seen\nexit 1\n"
    );
    let draft = directory.join("pidof");
    fs::write(&draft, pidof).expect("write a script");
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).expect("chmod");
    copy_program(&draft, &directory.join("bin/pidof"));
    let networks = json!({"cniVersion": "0.4.0", "name": "pods", "plugins": [
        {"type": "bridge", "bridge": format!("pods{number}"), "isGateway": true, "ipam": {
            "type": "host-local",
            "dataDir": format!("{place}/addresses"),
            "ranges": [
                [{"subnet": format!("10.201.{number}.0/24")}],
                [{"subnet": format!("fd00:{number}::/64")}],
            ],
        }},
        {"type": "portmap", "capabilities": {"portMappings": true}},
        {"type": "loopback"},
    ]});
    fs::create_dir(directory.join("networks")).expect("make a directory");
    fs::write(directory.join("networks/pods.conflist"), networks.to_string()).expect("write");
    let name = |image: &str| format!("\"docker.io/library/{image}:latest\"");
    let images = format!(
        "alpine = {pods}\nbusybox = {pods}\npause = {pause}\nVolumeCopyUp = {volume}\n\
         VolumeOwnership = {volume}\n",
        pods = name("pods"),
        pause = name("pause"),
        volume = name("volume")
    );
    fs::write(directory.join("images.toml"), images).expect("write settings");
}

/// Removes the cgroup that the plugin has for all pods, unless somebody has pods in it.
pub fn finish() {
    for hierarchy in host::hierarchies() {
        // Not there, or not empty: it is somebody else's.
        let _ = fs::remove_dir(hierarchy.join("k8s.io"));
    }
}
