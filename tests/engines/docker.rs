//! Docker's client, and containers that go away with their test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::harness::{Background, Output, reference};
use crate::sandbox::DIRECTORY;

/// The image of all containers.
pub const IMAGE: &str = "box";

/// The name by which the daemon knows the runtime under test.
pub const OURS: &str = "orlop";

/// The name by which the daemon knows runc.
pub const REFERENCE: &str = "reference";

/// The client: the distribution's goes with its daemon, one elsewhere may be much newer.
fn client() -> PathBuf {
    let packaged = Path::new("/usr/bin/docker");
    if packaged.exists() { packaged.to_path_buf() } else { PathBuf::from("docker") }
}

/// A command of the client.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(client());
    command.args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the client to its end.
pub fn docker(args: &[&str]) -> Output {
    Output::of(&mut command(args))
}

/// A container, which need not exist yet.
pub struct Container {
    /// Its name.
    pub name: String,
    runtime: &'static str,
    daemon: Daemon,
}

/// Whose container it is: the name of a daemon, which its socket has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Daemon(pub &'static str);

impl Daemon {
    /// The one that most tests use.
    const FIRST: Self = Self("docker");

    /// A command of the client to this daemon.
    pub fn command(self, args: &[&str]) -> Command {
        let mut command = command(args);
        command.env("DOCKER_HOST", format!("unix://{DIRECTORY}/{}.sock", self.0));
        command
    }
}

impl Container {
    /// A container of the runtime under test.
    pub fn new() -> Self {
        Self::of(OURS, Daemon::FIRST)
    }

    /// One of another daemon.
    pub fn by(daemon: Daemon) -> Self {
        Self::of(OURS, daemon)
    }

    /// A container of runc, if there is one to compare with.
    pub fn reference() -> Option<Self> {
        reference::runc().map(|_| Self::of(REFERENCE, Daemon::FIRST))
    }

    fn of(runtime: &'static str, daemon: Daemon) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self { name: format!("{runtime}-{number}"), runtime, daemon }
    }

    /// `docker run` with options and a command.
    pub fn command(&self, options: &[&str], program: &[&str]) -> Command {
        self.making("run", options, program)
    }

    fn making(&self, verb: &str, options: &[&str], program: &[&str]) -> Command {
        let words = [verb, "--name", &self.name, "--runtime", self.runtime];
        let mut command = self.daemon.command(&words);
        command.args(options).arg(IMAGE).args(program);
        command
    }

    /// `docker run`, to its end.
    pub fn run(&self, options: &[&str], program: &[&str]) -> Output {
        Output::of(&mut self.command(options, program))
    }

    /// `docker run`, to its end, of a shell script.
    pub fn sh(&self, options: &[&str], script: &str) -> Output {
        self.run(options, &["sh", "-c", script])
    }

    /// `docker run --detach` of a shell script.
    #[track_caller]
    pub fn start(&self, options: &[&str], script: &str) {
        let options = [options, &["--detach"]].concat();
        self.sh(&options, script).ok();
    }

    /// `docker create` of a shell script.
    #[track_caller]
    pub fn create(&self, options: &[&str], script: &str) {
        Output::of(&mut self.making("create", options, &["sh", "-c", script])).ok();
    }

    /// A command of the client on this container.
    pub fn docker(&self, words: &[&str]) -> Output {
        Output::of(&mut self.daemon.command(&[words, &[&self.name]].concat()))
    }

    /// `docker exec` in this container.
    pub fn exec(&self, options: &[&str], program: &[&str]) -> Output {
        let words = [&["exec"], options, &[&self.name], program].concat();
        Output::of(&mut self.daemon.command(&words))
    }

    /// `docker wait`: the exit status, as soon as there is one.
    #[track_caller]
    pub fn wait(&self) -> String {
        self.docker(&["wait"]).ok().trim().to_string()
    }

    /// A member of the document that `docker inspect` prints.
    #[track_caller]
    pub fn inspect(&self, member: &str) -> String {
        let format = format!("{{{{{member}}}}}");
        self.docker(&["inspect", "--format", &format]).ok().trim().to_string()
    }

    /// How it ended, as Docker remembers it: status, exit status, and whether memory ran out.
    /// Nothing if there is no such container.
    #[track_caller]
    pub fn outcome(&self) -> String {
        let format = "{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}";
        self.docker(&["inspect", "--format", format]).stdout.trim().to_string()
    }

    /// `docker logs --follow`
    pub fn follow(&self) -> Background {
        Background::start(&mut self.daemon.command(&["logs", "--follow", &self.name]))
    }

    /// `docker events` of one kind: each is a line, also those from before the client came.
    pub fn events(&self, event: &str) -> Background {
        let filters = [format!("container={}", self.name), format!("event={event}")];
        let [name, event] = filters.each_ref().map(String::as_str);
        let words = ["events", "--since", "0", "--filter", name, "--filter", event];
        let format = "{{.Status}}{{with .Actor.Attributes.exitCode}} {{.}}{{end}}";
        Background::start(self.daemon.command(&words).args(["--format", format]))
    }

    /// Its first process.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        self.inspect(".State.Pid").parse().expect("a pid")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let removed = self.docker(&["rm", "--force", "--volumes"]);
        let gone = removed.code == 0 || removed.stderr.contains("No such container");
        assert!(gone || std::thread::panicking(), "remove {}: {removed:#?}", self.name);
    }
}

/// Runs the same under both runtimes, compares what a user sees, and returns what ours did.
#[track_caller]
pub fn compared(options: &[&str], program: &[&str]) -> Output {
    compared_by(Daemon::FIRST, options, program)
}

/// [`compared`] by another daemon.
#[track_caller]
pub fn compared_by(daemon: Daemon, options: &[&str], program: &[&str]) -> Output {
    let ours = Container::by(daemon);
    let seen = ours.run(options, program);
    if reference::runc().is_some() {
        let reference = Container::of(REFERENCE, daemon);
        let wanted = reference.run(options, program);
        let result = |output: &Output, container: &Container| {
            (output.code, output.stdout.clone(), container.outcome())
        };
        let same = result(&seen, &ours) == result(&wanted, &reference);
        let outcomes = format!("{:?}, {:?}", ours.outcome(), reference.outcome());
        assert!(same, "{options:?} {program:?}: {seen:#?}, with runc {wanted:#?} ({outcomes})");
    }
    seen
}

/// [`compared`] with a shell script.
#[track_caller]
pub fn compared_sh(options: &[&str], script: &str) -> Output {
    compared(options, &["sh", "-c", script])
}
