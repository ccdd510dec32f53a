//! crictl, with which people look at the pods of a node and mend them: the same session with orlop
//! and with runc has to show the same.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::cri_engine::Engine;
use crate::cri_version::Version;
use crate::docker::{OURS, REFERENCE};
use crate::harness::terminal::{User, end};
use crate::harness::{Background, Output, reference};
use crate::tests;

tests! {
    a_container_from_start_to_end needs [Docker, Ctr, Cri],
    exec needs [Docker, Ctr, Cri],
    exec_with_a_terminal needs [Docker, Ctr, Cri],
    logs_and_stats needs [Docker, Ctr, Cri],
    update needs [Docker, Ctr, Cri],
    ports_are_forwarded needs [Docker, Ctr, Cri],
    programs_that_cannot_run needs [Docker, Ctr, Cri],
}

/// Serves a page and ends in a way of its own.
const SCRIPT: &str =
    "trap 'exit 7' TERM; httpd -h /test_dir; echo ready; while :; do sleep 1; done";

/// Does the same with orlop and runc, in both versions of containerd.
#[track_caller]
fn compared(program: &[&str], case: impl Fn(&Session) -> String) {
    for version in [Version::Packaged, Version::Second] {
        let engine = Engine::start(version);
        let run = |handler| {
            let session = Session::start(&engine, handler, program);
            session.masked(&case(&session))
        };
        let seen = run(OURS);
        if reference::runc().is_some() {
            assert_eq!(seen, run(REFERENCE));
        }
    }
}

/// The same with a container that runs.
#[track_caller]
fn compared_running(case: impl Fn(&Session) -> String) {
    compared(&["sh", "-c", SCRIPT], |session| {
        session.crictl(&["start", &session.container]).ok();
        // The program is there when it has said so.
        let mut logs = session.background(&["logs", "--follow", &session.container]);
        assert_eq!(logs.line(), "ready");
        logs.kill();
        case(session)
    });
}

/// A pod with a container that is not started.
struct Session<'e> {
    engine: &'e Engine,
    pod: String,
    container: String,
}

impl<'e> Session<'e> {
    #[track_caller]
    fn start(engine: &'e Engine, handler: &str, program: &[&str]) -> Self {
        let file = |kind: &str, value: serde_json::Value| -> PathBuf {
            let path = engine.directory().join(format!("{handler}-{kind}.json"));
            fs::write(&path, value.to_string()).expect("write a document");
            path
        };
        let logs = engine.directory().join(format!("{handler}-logs"));
        let pod_file = file(
            "pod",
            json!({
                "metadata": {"name": handler, "namespace": "tests", "uid": handler, "attempt": 1},
                "log_directory": logs,
                "linux": {},
            }),
        );
        let container_file = file(
            "container",
            json!({
                "metadata": {"name": "container"},
                "image": {"image": "docker.io/library/pods:latest"},
                "command": program,
                "log_path": "log",
                "linux": {"resources": {"memory_limit_in_bytes": 64 << 20}},
            }),
        );
        let mut session = Self { engine, pod: String::new(), container: String::new() };
        let [pod_file, container_file] =
            [&pod_file, &container_file].map(|path| path.to_str().expect("a path"));
        let id = session.crictl(&["runp", "--runtime", handler, pod_file]).ok();
        session.pod = id.trim().to_string();
        let id = session.crictl(&["create", &session.pod, container_file, pod_file]).ok();
        session.container = id.trim().to_string();
        session
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.engine.client("crictl");
        command.args(words);
        command
    }

    fn crictl(&self, words: &[&str]) -> Output {
        Output::of(&mut self.command(words))
    }

    fn background(&self, words: &[&str]) -> Background {
        let mut command = self.command(words);
        Background::start(
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()),
        )
    }

    /// State, exit code and reason.
    #[track_caller]
    fn status(&self) -> String {
        let template = "{{.status.state}} {{.status.exitCode}} {{.status.reason}}";
        let words = ["inspect", "--output", "go-template", "--template", template, &self.container];
        self.crictl(&words).ok()
    }

    /// Standard output of a program in the container.
    #[track_caller]
    fn exec(&self, program: &[&str]) -> String {
        self.crictl(&[&["exec", &self.container], program].concat()).ok()
    }

    /// What a command fails with, without the time.
    #[track_caller]
    fn error(&self, words: &[&str]) -> String {
        let output = self.crictl(words);
        assert_eq!(output.code, 1, "{output:#?}");
        let (_, message) = output.stderr.rsplit_once("msg=").unwrap_or(("", &output.stderr));
        message.to_string()
    }

    /// A text without what is another one's each time.
    fn masked(&self, text: &str) -> String {
        let names = [(&self.container, "CONTAINER"), (&self.pod, "POD")];
        let text = names.iter().fold(text.to_string(), |text, (id, name)| text.replace(*id, name));
        names.iter().fold(text, |text, (id, name)| text.replace(&id[..13], name))
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // The case may have removed it.
        self.crictl(&["rmp", "--force", &self.pod]);
    }
}

fn a_container_from_start_to_end() {
    compared_running(|session| {
        let id = session.container.as_str();
        let listed = session.crictl(&["ps"]).ok();
        let row = listed.lines().find(|line| line.starts_with(&id[..13])).expect("a row");
        assert!(row.contains("Running"), "{row}");
        let running = session.status();
        assert_eq!(running.trim(), "CONTAINER_RUNNING 0");
        session.crictl(&["stop", "--timeout", "30", id]).ok();
        let stopped = session.status();
        assert_eq!(stopped.trim(), "CONTAINER_EXITED 7 Error");
        session.crictl(&["rm", id]).ok();
        session.crictl(&["stopp", &session.pod]).ok();
        session.crictl(&["rmp", &session.pod]).ok();
        assert!(!session.crictl(&["pods", "--quiet"]).ok().contains(&session.pod));
        running + &stopped
    });
}

fn exec() {
    compared_running(|session| {
        let id = session.container.as_str();
        let seen = session.exec(&["sh", "-c", "echo out; id"]);
        assert!(seen.starts_with("out\nuid=0"), "{seen}");
        let failed = session.error(&["exec", id, "sh", "-c", "exit 42"]);
        assert!(failed.contains("exit code 42"), "{failed}");
        let late = session.error(&["exec", "--sync", "--timeout", "1", id, "sleep", "1000"]);
        assert!(late.contains("timeout"), "{late}");
        // What was too late is gone.
        let left = session.exec(&["sh", "-c", "ps | grep '[s]leep 1000' || echo none"]);
        assert_eq!(left, "none\n");
        seen + &failed
    });
}

fn exec_with_a_terminal() {
    compared_running(|session| {
        let mut user = User::new(20, 90);
        let mut command = session.command(&["exec", "-i", "-t", &session.container, "sh"]);
        let child = user.start(&mut command);
        user.screen.type_in("tty; stty size; exit 3\n");
        user.screen.wait_for("20 90");
        assert!(user.screen.text.contains("/dev/pts/0"), "{}", user.screen.text);
        user.screen.wait_for("exit code 3");
        assert_eq!(end(child), 1);
        String::new()
    });
}

fn logs_and_stats() {
    compared_running(|session| {
        let logs = session.crictl(&["logs", &session.container]).ok();
        assert_eq!(logs, "ready\n");
        let stats = session.crictl(&["stats", "--output", "json", &session.container]).ok();
        let stats: serde_json::Value = serde_json::from_str(&stats).expect("stats");
        let used = stats["stats"][0]["memory"]["workingSetBytes"]["value"].as_str();
        let used: u64 = used.and_then(|text| text.parse().ok()).expect("a number");
        assert!(used > 0 && used < 64 << 20, "{stats}");
        logs
    });
}

fn update() {
    compared_running(|session| {
        session.crictl(&["update", "--memory", "83886080", &session.container]).ok();
        let limit = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes || cat memory.max";
        let limit = session.exec(&["sh", "-c", limit]);
        assert_eq!(limit, "83886080\n");
        limit
    });
}

fn ports_are_forwarded() {
    compared_running(|session| {
        let mut forward = session.background(&["port-forward", &session.pod, "0:80"]);
        // Forwarding from 127.0.0.1:PORT -> 80
        let line = forward.line();
        let address = line.split_whitespace().nth(2).expect("an address");
        let mut stream = TcpStream::connect(address).expect("connect");
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("ask for a page");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("read a page");
        kill(Pid::from_raw(forward.pid()), Signal::SIGTERM).expect("end crictl");
        forward.wait();
        assert!(page.ends_with("served\n"), "{page}");
        String::new()
    });
}

fn programs_that_cannot_run() {
    let text = "executable file not found in $PATH";
    compared(&["nosuch"], |session| {
        let error = session.error(&["start", &session.container]);
        assert!(error.contains(text), "{error}");
        let status = session.status();
        assert_eq!(status.trim(), "CONTAINER_EXITED 128 StartError");
        // The shim names the runtime.
        error.replace("orlop create failed", "runc create failed") + &status
    });
    compared_running(|session| {
        let error = session.error(&["exec", &session.container, "nosuch"]);
        let (_, error) = error.split_once("OCI runtime exec failed").expect("the runtime's error");
        assert!(error.contains(text), "{error}");
        error.to_string()
    });
}
