//! What a service manager hands over, and what it wants to hear: sd_listen_fds(3), sd_notify(3).

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Background, Case, DEADLINE, Output};
use crate::tests;

tests! {
    descriptors_to_listen_at_are_passed_on needs [Root],
    a_detached_run_waits_until_the_program_is_ready needs [Root],
    start_waits_until_the_program_is_ready needs [Root],
    an_attached_run_passes_readiness_on needs [Root]
        unlike runc "tells pid 0",
    a_program_that_is_never_ready_holds_nobody_up needs [Root],
    readiness_comes_out_of_a_user_namespace needs [Root],
}

/// They come before others that are preserved.
fn descriptors_to_listen_at_are_passed_on() {
    let case = Case::new(&["report"]);
    case.write_config();
    let script = "export LISTEN_PID=$$ LISTEN_FDS=1; exec 3</etc/passwd 4</etc/group; exec \"$@\"";
    let run = |options: &[&str], script: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(&case.runtime).current_dir(&case.dir);
        command.arg("--root").arg(case.state_root()).arg("run").args(options).arg(&case.id);
        serde_json::from_str::<Value>(&Output::of(&mut command).ok()).expect("a report")
    };
    let report = run(&["--preserve-fds", "1"], script);
    assert_eq!(report["env"]["LISTEN_FDS"], "1");
    assert_eq!(report["env"]["LISTEN_PID"], "1");
    let open = report["fds"].as_array().expect("descriptors");
    assert_eq!(open[3..], ["3 /etc/passwd", "4 /etc/group"], "{open:?}");
    // Those of somebody else are not meant.
    let report = run(&[], &script.replace("$$", "1"));
    assert_eq!(report["env"]["LISTEN_FDS"], Value::Null);
    assert_eq!(report["fds"].as_array().expect("descriptors").len(), 3);
}

/// A service manager.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(case: &Case) -> Self {
        let path = std::env::temp_dir().join(format!("{}.notify", case.id));
        let socket = UnixDatagram::bind(&path).expect("bind a socket");
        socket.set_read_timeout(Some(DEADLINE)).expect("set a deadline");
        Self { socket, path }
    }

    fn start(&self, case: &Case, words: &[&str]) -> Background {
        case.write_config();
        let mut command = case.command(words);
        Background::start(command.env("NOTIFY_SOCKET", &self.path))
    }

    /// The next message; a descriptor that came with it is closed.
    #[track_caller]
    fn hears(&self) -> String {
        let mut message = [0; 4096];
        let size = self.socket.recv(&mut message).expect("nothing was said");
        String::from_utf8_lossy(&message[..size]).trim_end().to_string()
    }

    #[track_caller]
    fn hears_of(&self, case: &Case) {
        assert_eq!(self.hears(), "READY=1");
        assert_eq!(self.hears(), format!("MAINPID={}", case.pid()));
        assert_eq!(self.hears(), "BARRIER=1");
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Says something else first.
const NOTIFYING: [&str; 6] =
    ["notify", "STATUS=soon", "--", "notify", "X=y\nREADY=1\nSTATUS=up", "--"];

fn notifying(more: &[&str]) -> Case {
    Case::new(&[&NOTIFYING[..], more].concat())
}

fn a_detached_run_waits_until_the_program_is_ready() {
    let case = notifying(&["wait"]);
    let manager = Manager::new(&case);
    let mut run = manager.start(&case, &["run", "--detach", &case.id]);
    manager.hears_of(&case);
    assert_eq!(run.wait(), 0);
    // It is a matter of the first process alone.
    let env = case.exec(&["report"]).ok();
    assert!(!env.contains("NOTIFY_SOCKET"), "{env}");
}

fn start_waits_until_the_program_is_ready() {
    let case = notifying(&["wait"]);
    let manager = Manager::new(&case);
    let mut create = manager.start(&case, &["create", &case.id]);
    assert_eq!(create.wait(), 0);
    let mut start = manager.start(&case, &["start", &case.id]);
    manager.hears_of(&case);
    assert_eq!(start.wait(), 0);
}

fn an_attached_run_passes_readiness_on() {
    let case = notifying(&["wait-for", "15"]);
    let manager = Manager::new(&case);
    let mut run = manager.start(&case, &["run", &case.id]);
    manager.hears_of(&case);
    assert_eq!(run.line(), "ready");
    case.kill("TERM").ok();
    assert_eq!(run.line(), "15");
    assert_eq!(run.wait(), 0);
}

fn a_program_that_is_never_ready_holds_nobody_up() {
    let case = Case::new(&["notify", "STATUS=never"]);
    let manager = Manager::new(&case);
    for words in [&["run", "--detach", "--keep", &case.id][..], &["run", &case.id]] {
        let mut run = manager.start(&case, words);
        assert_eq!(run.wait(), 0);
        case.runtime(&["delete", "--force", &case.id]).ok();
    }
}

fn readiness_comes_out_of_a_user_namespace() {
    let mut case = notifying(&["wait"]);
    crate::namespaces::give_to(&case, 100_000, 100_000);
    case.namespace("user", Some(json!({"type": "user"})));
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    case.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    let manager = Manager::new(&case);
    let mut run = manager.start(&case, &["run", "--detach", &case.id]);
    manager.hears_of(&case);
    assert_eq!(run.wait(), 0);
}
