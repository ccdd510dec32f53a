//! Docker daemons that one test has for itself: with settings of their own, killed and started
//! again beside running containers.

use std::fs;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::daemon::start_another;
use crate::docker::{self, IMAGE};
use crate::harness::{Background, Output};
use crate::sandbox::DIRECTORY;

/// A daemon that one test has for itself.
pub struct OwnDaemon {
    name: String,
    settings: Value,
    daemon: Child,
}

impl OwnDaemon {
    /// Starts one with these settings besides the usual ones, and makes the image.
    pub fn start(settings: Value) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("own-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let own = Self { daemon: start_another(&name, &settings), name, settings };
        own.docker(&["import", &format!("{DIRECTORY}/image.tar"), IMAGE]).ok();
        own
    }

    /// Kills the daemon.
    pub fn kill(&mut self) {
        self.daemon.kill().and_then(|()| self.daemon.wait()).expect("kill the daemon");
    }

    /// Starts it again.
    pub fn start_again(&mut self) {
        // The dead one has left it, and its number may be somebody's by now.
        let _ = fs::remove_file(format!("{DIRECTORY}/{}.pid", self.name));
        self.daemon = start_another(&self.name, &self.settings);
    }

    /// A command of the client.
    pub fn command(&self, words: &[&str]) -> Command {
        let host = format!("unix://{DIRECTORY}/{}.sock", self.name);
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
        let data = format!("{DIRECTORY}/{}-data", self.name);
        let _ = nix::mount::umount2(data.as_str(), nix::mount::MntFlags::MNT_DETACH);
        assert!(ended.is_ok() || std::thread::panicking(), "{ended:?}");
    }
}
