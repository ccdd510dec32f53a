//! Docker daemons that one test has for itself: with settings of their own, killed and started
//! again beside running containers.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::daemon::{docker_settings, ready_socket, wait_until_ready};
use crate::docker::{self, IMAGE};
use crate::harness::{Background, Output, spawn};
use crate::sandbox::DIRECTORY;

/// A daemon in a network namespace of its own, at the containerd of all.
pub struct OwnDaemon {
    directory: String,
    daemon: Child,
}

impl OwnDaemon {
    /// Starts one with these settings besides the usual ones, and makes the image.
    pub fn start(settings: &Value) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("own-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let directory = format!("{DIRECTORY}/{name}");
        fs::create_dir(&directory).expect("make a directory");
        let mut all = docker_settings(&directory);
        for (member, value) in [
            ("bridge", json!("none")),
            ("iptables", json!(false)),
            ("containerd-namespace", json!(name)),
        ] {
            all[member] = value;
        }
        for (member, value) in settings.as_object().expect("settings") {
            all[member] = value.clone();
        }
        fs::write(format!("{directory}/dockerd.conf"), all.to_string()).expect("write settings");
        let own = Self { daemon: start(&directory), directory };
        own.docker(&["import", &format!("{DIRECTORY}/image.tar"), IMAGE]).ok();
        own
    }

    /// Kills the daemon.
    pub fn kill(&mut self) {
        self.daemon.kill().and_then(|()| self.daemon.wait()).expect("kill the daemon");
    }

    /// Starts it again.
    pub fn start_again(&mut self) {
        self.daemon = start(&self.directory);
    }

    /// A command of the client.
    pub fn command(&self, words: &[&str]) -> Command {
        let host = format!("unix://{}/docker.sock", self.directory);
        docker::command(&[&["--host", &host], words].concat())
    }

    /// Runs the client to its end.
    pub fn docker(&self, words: &[&str]) -> Output {
        Output::of(&mut self.command(words))
    }

    /// `docker run --detach` of a shell script, in a container of that name.
    #[track_caller]
    pub fn run(&self, name: &str, options: &[&str], script: &str) {
        let words = [&["run", "--detach", "--name", name, "--network", "none"], options].concat();
        self.docker(&[&words[..], &[IMAGE, "sh", "-c", script]].concat()).ok();
    }

    /// A member of the document that `docker inspect` prints.
    #[track_caller]
    pub fn inspect(&self, name: &str, member: &str) -> String {
        let format = format!("{{{{{member}}}}}");
        self.docker(&["inspect", "--format", &format, name]).ok().trim().to_string()
    }

    /// `docker logs --follow`
    pub fn follow(&self, name: &str) -> Background {
        Background::start(&mut self.command(&["logs", "--follow", name]))
    }
}

/// Starts the daemon of that directory and waits until it is ready.
fn start(directory: &str) -> Child {
    let notify = format!("{directory}/notify");
    // The one before is dead.
    let _ = fs::remove_file(&notify);
    let _ = fs::remove_file(format!("{directory}/dockerd.pid"));
    let ready = ready_socket(&notify);
    let log = format!("{directory}/log");
    let file = fs::File::options().create(true).append(true).open(&log).expect("open a log");
    // Without a bridge of its own a daemon removes that of another.
    let mut command = Command::new("unshare");
    command.args(["--net", "dockerd", "--config-file"]).arg(format!("{directory}/dockerd.conf"));
    command.env("NOTIFY_SOCKET", &notify).stdin(Stdio::null());
    command.stdout(file.try_clone().expect("copy a descriptor")).stderr(file);
    let daemon = spawn(&mut command);
    wait_until_ready(&ready, &log);
    daemon
}

impl Drop for OwnDaemon {
    fn drop(&mut self) {
        let all = self.docker(&["ps", "--all", "--quiet"]).stdout;
        let names: Vec<_> = all.split_whitespace().collect();
        if !names.is_empty() {
            self.docker(&[&["rm", "--force", "--volumes"][..], &names].concat());
        }
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.daemon.id()).expect("a pid"));
        // So it unmounts what it has mounted.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let ended = self.daemon.wait();
        // One that came after one that was killed leaves what that had mounted.
        let data = format!("{}/data", self.directory);
        let _ = nix::mount::umount2(data.as_str(), nix::mount::MntFlags::MNT_DETACH);
        assert!(ended.is_ok() || std::thread::panicking(), "{ended:?}");
    }
}
