//! Engines as callers of the runtime: the options they begin with, their environment, and what
//! they leave open.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigHandler, Signal, signal};

use super::{Case, DEADLINE, Output, spawn};

/// How an engine calls.
#[derive(Debug)]
pub struct Engine {
    /// Options before the command.
    globals: &'static [&'static str],
    /// All of its environment.
    environment: &'static [(&'static str, &'static str)],
    /// Numbers of sockets that it leaks.
    leaks: &'static [i32],
    /// Where it calls from.
    directory: &'static str,
    /// What it does to itself before the runtime is executed.
    habit: Habit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    None,
    /// Whoever it starts is killed when it ends.
    EndsTogether,
    /// So, and in a process group of its own.
    EndsTogetherInGroup,
    /// SIGPIPE is ignored.
    IgnoresPipes,
}

const PATH: (&str, &str) = ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");

/// containerd's shim, for Docker and Kubernetes too.
pub const SHIM: Engine = Engine {
    globals: &["--root", "@state", "--log", "@bundle/log.json", "--log-format", "json"],
    environment: &[PATH, ("TMPDIR", "/tmp")],
    leaks: &[3, 4],
    directory: "@bundle",
    habit: Habit::EndsTogether,
};

/// BuildKit.
pub const BUILDKIT: Engine = Engine {
    globals: &["--log", "@bundle/runc-log.json", "--log-format", "json"],
    environment: &[PATH],
    leaks: &[],
    directory: "/",
    habit: Habit::EndsTogetherInGroup,
};

/// conmon, with the options that Podman has it pass on.
pub const CONMON: Engine = Engine {
    globals: &["--log-format=json", "--log", "@bundle/oci-log"],
    environment: &[("XDG_RUNTIME_DIR", ""), PATH],
    leaks: &[],
    directory: "@bundle",
    habit: Habit::IgnoresPipes,
};

/// Podman itself.
pub const PODMAN: Engine = Engine {
    globals: &[],
    environment: &[("XDG_RUNTIME_DIR", "")],
    leaks: &[],
    directory: "/",
    habit: Habit::None,
};

/// Buildah.
pub const BUILDAH: Engine = Engine {
    globals: &[],
    environment: &[PATH],
    leaks: &[3, 10, 11],
    directory: "@bundle",
    habit: Habit::None,
};

/// CRI-O.
pub const CRIO: Engine = Engine {
    globals: &["--root=@state"],
    environment: &[PATH, ("XDG_RUNTIME_DIR", "/run/user/0")],
    leaks: &[],
    directory: "/",
    habit: Habit::None,
};

/// An engine that has one container.
pub struct Caller<'a> {
    case: &'a Case,
    engine: &'static Engine,
    words: Vec<(&'static str, String)>,
}

impl<'a> Caller<'a> {
    /// The engine and its container, whose document is written now.
    pub fn new(engine: &'static Engine, case: &'a Case) -> Self {
        case.write_config();
        let path = |path: &std::path::Path| path.display().to_string();
        let words = vec![
            ("@id", case.id.clone()),
            ("@bundle", path(&case.dir)),
            ("@state", path(&case.state_root())),
        ];
        Self { case, engine, words }
    }

    /// From here on, a word of command lines stands for this.
    pub fn says(mut self, word: &'static str, text: &str) -> Self {
        self.words.push((word, text.to_string()));
        self
    }

    fn word(&self, word: &str) -> String {
        self.words.iter().fold(word.to_string(), |word, (name, text)| word.replace(name, text))
    }

    /// The runtime with a command line as the engine writes it: `@id`, `@bundle`, `@state`.
    #[expect(unsafe_code, reason = "pre_exec is how a child gets descriptors and signals")]
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(&self.case.runtime);
        command.args(self.engine.globals.iter().map(|word| self.word(word)));
        // No engine needs to name who makes cgroups once the container is there.
        let makes = ["create ", "run ", "restore "].iter().any(|name| line.starts_with(name));
        command.args((makes && self.case.by_systemd).then_some("--systemd-cgroup"));
        command.args(line.split_whitespace().map(|word| self.word(word)));
        command.env_clear().envs(self.engine.environment.iter().copied());
        command.current_dir(self.word(self.engine.directory));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let Engine { leaks, habit, .. } = self.engine;
        if *habit == Habit::EndsTogetherInGroup {
            command.process_group(0);
        }
        let (socket, _) = UnixStream::pair().expect("a pair of sockets");
        let prepare = move || {
            match habit {
                Habit::None => {}
                Habit::EndsTogether | Habit::EndsTogetherInGroup => set_pdeathsig(Signal::SIGKILL)?,
                Habit::IgnoresPipes => {
                    // SAFETY: no handler is installed.
                    unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) }?;
                }
            }
            for number in *leaks {
                // SAFETY: dup2(2) takes numbers only.
                unsafe { libc::dup2(socket.as_raw_fd(), 100) };
                // SAFETY: as above. What had the number is this child's copy of it.
                unsafe { libc::dup2(100, *number) };
            }
            Ok(())
        };
        // SAFETY: prctl(2), sigaction(2) and dup2(2) are safe between fork and exec.
        unsafe { command.pre_exec(prepare) };
        command
    }

    /// Runs the command line to its end.
    pub fn call(&self, line: &str) -> Output {
        Output::of(&mut self.command(line))
    }

    /// Runs one that succeeds.
    #[track_caller]
    pub fn ok(&self, line: &str) -> String {
        self.call(line).ok()
    }

    /// Runs one to which this text is written.
    #[track_caller]
    pub fn told(&self, line: &str, text: &str) {
        let mut child = spawn(self.command(line).stdin(Stdio::piped()));
        let mut pipe = child.stdin.take().expect("a pipe");
        pipe.write_all(text.as_bytes()).expect("write to the runtime");
        drop(pipe);
        assert!(child.wait().expect("wait").success(), "{line} fails");
    }

    /// Runs one that succeeds, and after whose end nobody has its streams.
    #[track_caller]
    pub fn lets_go(&self, line: &str) -> String {
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let mut command = self.command(line);
        command.stdout(writer.try_clone().expect("dup")).stderr(writer);
        let mut child = spawn(&mut command);
        drop(command);
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).expect("read a pipe");
            // Whoever waits in vain has failed already.
            let _ = sender.send(text);
        });
        let text = receiver.recv_timeout(DEADLINE).expect("somebody keeps the streams");
        assert!(child.wait().expect("wait").success(), "{line} fails: {text}");
        text
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        // Not all engines have a place of their own for containers.
        let output = self.call("delete --force @id");
        assert!(output.code == 0 || std::thread::panicking(), "{output:?}");
    }
}
