//! Hooks: programs of somebody else that run at given points of a container's life.
//!
//! Each gets the container's state on standard input and is watched until it ends or its time is
//! up. What it writes is kept for the error text, the last part of it; a hook that leaves a
//! process behind with its pipes open does not hold us up.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;
use oci_spec::runtime;
use serde::{Deserialize, Serialize};

use crate::sys::process::pidfd_open;
use crate::{error, log};

/// How much of each output stream an error text shows.
const TAIL: usize = 4096;

/// When hooks run, in the order of the lifecycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In the runtime's namespaces, before the root changes (deprecated, HOK-11).
    Prestart,
    /// In the runtime's namespaces, before the root changes.
    CreateRuntime,
    /// In the container's namespaces, before the root changes.
    CreateContainer,
    /// In the container, before the program is executed.
    StartContainer,
    /// In the runtime's namespaces, after the program was executed.
    Poststart,
    /// In the runtime's namespaces, after the container is gone.
    Poststop,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        })
    }
}

/// One hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    path: PathBuf,
    args: Vec<String>,
    env: Option<Vec<String>>,
    /// Seconds.
    timeout: Option<u64>,
}

/// All hooks of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooks {
    prestart: Vec<Hook>,
    create_runtime: Vec<Hook>,
    create_container: Vec<Hook>,
    start_container: Vec<Hook>,
    poststart: Vec<Hook>,
    poststop: Vec<Hook>,
}

impl Hooks {
    /// Takes over what a checked document says.
    #[must_use]
    pub fn from_spec(hooks: Option<&runtime::Hooks>) -> Self {
        let Some(hooks) = hooks else { return Self::default() };
        Self {
            prestart: list(hooks.prestart().as_ref()),
            create_runtime: list(hooks.create_runtime().as_ref()),
            create_container: list(hooks.create_container().as_ref()),
            start_container: list(hooks.start_container().as_ref()),
            poststart: list(hooks.poststart().as_ref()),
            poststop: list(hooks.poststop().as_ref()),
        }
    }

    /// The hooks of one kind, in their order.
    #[must_use]
    pub fn of(&self, kind: Kind) -> &[Hook] {
        match kind {
            Kind::Prestart => &self.prestart,
            Kind::CreateRuntime => &self.create_runtime,
            Kind::CreateContainer => &self.create_container,
            Kind::StartContainer => &self.start_container,
            Kind::Poststart => &self.poststart,
            Kind::Poststop => &self.poststop,
        }
    }

    /// Runs the hooks of one kind one after another; the first that fails ends it (HOK-25).
    ///
    /// `state` is the JSON document for their standard input.
    ///
    /// # Errors
    /// With the kind, the index, the arguments, how the hook ended, and what it wrote.
    pub fn run(&self, kind: Kind, state: &str, default_env: Environment<'_>) -> Result<()> {
        for (index, hook) in self.of(kind).iter().enumerate() {
            log::debug(|| format!("run {kind} hook #{index}: {hook}"));
            hook.run(state, default_env)
                .with_context(|| format!("error running {kind} hook #{index}"))?;
        }
        Ok(())
    }

    /// Runs the poststop hooks: a failure is a warning, and the others still run (LIF-20).
    pub fn run_poststop(&self, state: &str) {
        for (index, hook) in self.poststop.iter().enumerate() {
            if let Err(error) = hook.run(state, Environment::Inherited) {
                let error = error::line(&error);
                log::warn(format!("error running poststop hook #{index}: {error}"));
            }
        }
    }
}

fn list(hooks: Option<&Vec<runtime::Hook>>) -> Vec<Hook> {
    let convert = |hook: &runtime::Hook| {
        let args = hook.args().clone().filter(|args| !args.is_empty());
        Hook {
            path: hook.path().clone(),
            // Go's rule: without arguments the vector is the path alone (AMB-25).
            args: args.unwrap_or_else(|| vec![hook.path().to_string_lossy().into_owned()]),
            env: hook.env().clone(),
            timeout: hook.timeout().and_then(|timeout| u64::try_from(timeout).ok()),
        }
    };
    hooks.into_iter().flatten().map(convert).collect()
}

/// The environment of a hook that has no `env` of its own (BXH-02).
#[derive(Clone, Copy, Debug)]
pub enum Environment<'a> {
    /// The runtime's: hooks that run beside the runtime need its `PATH`.
    Inherited,
    /// Nothing: what the runtime's caller had is none of the container's business.
    Empty,
    /// The program's, also for a hook whose `env` is an empty array.
    Program(&'a [String]),
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.path.display(), self.args)
    }
}

impl Hook {
    fn run(&self, state: &str, default_env: Environment<'_>) -> Result<()> {
        let begin = Instant::now();
        let mut command = self.command(default_env);
        let child = command.spawn().with_context(|| format!("execute {self}"))?;
        let mut run = Running::new(child, state.as_bytes())?;
        let limit = self.timeout.map(Duration::from_secs);
        let ended = run.watch(limit.map(|limit| begin + limit)).with_context(|| self.to_string());
        let took = begin.elapsed().as_secs_f64();
        match ended? {
            Some(status) if status.success() => Ok(()),
            Some(status) => {
                bail!("{}, {}, {self}, after {took:.3}s", outcome(status), run.output())
            }
            None => {
                let limit = limit.unwrap_or_default().as_secs_f64();
                bail!("hook ran past specified timeout of {limit:.1}s, {}, {self}", run.output())
            }
        }
    }

    fn command(&self, default_env: Environment<'_>) -> Command {
        let mut command = Command::new(&self.path);
        let (name, args) = self.args.split_first().map_or(("", &[][..]), |(n, a)| (n.as_str(), a));
        command.arg0(name).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let env = match (&self.env, default_env) {
            (None, Environment::Inherited) => return command,
            (None, Environment::Empty) => &[],
            (None, Environment::Program(env)) => env,
            (Some(own), Environment::Program(env)) if own.is_empty() => env,
            (Some(own), _) => own.as_slice(),
        };
        command.env_clear();
        command.envs(env.iter().filter_map(|entry| entry.split_once('=')));
        command
    }
}

/// Go's words for how a process ended; runc's callers know them.
fn outcome(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "ended".to_string(),
    }
}

struct Running<'a> {
    child: Child,
    stdin: Option<ChildStdin>,
    state: &'a [u8],
    stdout: Tail<ChildStdout>,
    stderr: Tail<ChildStderr>,
}

impl<'a> Running<'a> {
    fn new(mut child: Child, state: &'a [u8]) -> Result<Self> {
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            bail!("a pipe of the hook is missing")
        };
        for pipe in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
            fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
                .context("prepare the hook's pipes")?;
        }
        Ok(Self {
            child,
            stdin: Some(stdin),
            state,
            stdout: Tail::new(stdout),
            stderr: Tail::new(stderr),
        })
    }

    /// Feeds and reads the hook until it ends. Returns nothing if `deadline` came first; the
    /// hook is killed and reaped then.
    fn watch(&mut self, deadline: Option<Instant>) -> Result<Option<ExitStatus>> {
        let pid = i32::try_from(self.child.id()).context("the hook's pid")?;
        let pidfd = pidfd_open(Pid::from_raw(pid)).context("watch the hook")?;
        loop {
            let ended = self.wait(pidfd.as_fd(), deadline)?;
            self.feed();
            self.stdout.read();
            self.stderr.read();
            match ended {
                Event::Ended => return self.child.wait().map(Some).context("reap the hook"),
                Event::TimeIsUp => {
                    self.child.kill().context("kill the hook")?;
                    self.child.wait().context("reap the hook")?;
                    return Ok(None);
                }
                Event::Pipe => {}
            }
        }
    }

    fn wait(&self, pidfd: BorrowedFd<'_>, deadline: Option<Instant>) -> Result<Event> {
        let mut fds = vec![PollFd::new(pidfd, PollFlags::POLLIN)];
        if let Some(stdin) = &self.stdin {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLOUT));
        }
        let outputs = [self.stdout.open_fd(), self.stderr.open_fd()];
        fds.extend(outputs.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        let timeout = match deadline {
            None => PollTimeout::NONE,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                // Rounded up, so that the loop does not turn in the last millisecond.
                let left = i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
        };
        match poll(&mut fds, timeout) {
            Ok(0) => return Ok(Event::TimeIsUp),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("wait for the hook"),
        }
        let ended = fds.first().and_then(PollFd::any).unwrap_or(false);
        Ok(if ended { Event::Ended } else { Event::Pipe })
    }

    /// Writes what the pipe takes. A hook need not read its input: EPIPE is no error.
    fn feed(&mut self) {
        let Some(stdin) = &mut self.stdin else { return };
        match stdin.write(self.state) {
            Ok(written) => self.state = self.state.get(written..).unwrap_or_default(),
            Err(error) if would_block(&error) => return,
            Err(_) => self.state = &[],
        }
        if self.state.is_empty() {
            self.stdin = None;
        }
    }

    fn output(&self) -> String {
        format!("stdout: {}, stderr: {}", self.stdout.text(), self.stderr.text())
    }
}

enum Event {
    Ended,
    TimeIsUp,
    Pipe,
}

fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// The last part of what comes out of a pipe.
struct Tail<P> {
    pipe: Option<P>,
    bytes: Vec<u8>,
}

impl<P: Read + AsFd> Tail<P> {
    fn new(pipe: P) -> Self {
        Self { pipe: Some(pipe), bytes: Vec::new() }
    }

    fn open_fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    fn read(&mut self) {
        let mut buffer = [0; TAIL];
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut buffer) {
                Err(error) if would_block(&error) => return,
                Ok(0) | Err(_) => self.pipe = None,
                Ok(count) => self.bytes.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            }
            let excess = self.bytes.len().saturating_sub(TAIL);
            self.bytes.drain(..excess);
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).trim_end().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str, timeout: Option<u64>) -> Hook {
        let args = ["sh", "-c", script].map(str::to_string).to_vec();
        Hook { path: "/bin/sh".into(), args, env: Some(vec!["A=b".to_string()]), timeout }
    }

    fn run(script: &str, timeout: Option<u64>) -> Result<(), String> {
        let run = hook(script, timeout).run("{\"a\": 1}", Environment::Empty);
        run.map_err(|error| error::line(&error))
    }

    #[test]
    fn how_hooks_end() {
        for (script, timeout, want) in [
            ("true", None, Ok(())),
            ("exec <&-; exec sleep 0", None, Ok(())),
            ("read x; test \"$x\" = '{\"a\": 1}'", None, Ok(())),
            ("test \"$A\" = b", Some(60), Ok(())),
            ("sleep 3 & true", None, Ok(())),
            (
                "echo out; echo err >&2; exit 3",
                None,
                Err("exit status 3, stdout: out, stderr: err"),
            ),
            ("kill -9 $$", None, Err("signal 9")),
            ("exec sleep 1000", Some(1), Err("hook ran past specified timeout of 1.0s")),
        ] {
            match (run(script, timeout), want) {
                (Ok(()), Ok(())) => {}
                (Err(got), Err(want)) => assert!(got.contains(want), "{script}: {got}"),
                (got, want) => panic!("{script}: got {got:?}, want {want:?}"),
            }
        }
    }

    #[test]
    fn long_input_and_output_do_not_block() {
        let state = "x".repeat(1_000_000);
        let noisy = hook("head -c 1000000 /dev/zero | tr '\\0' y; cat >/dev/null; exit 1", None);
        let error = error::line(&noisy.run(&state, Environment::Empty).unwrap_err());
        assert!(error.len() < 2 * TAIL, "{}", error.len());
        assert!(error.contains("yyyy"));
    }

    #[test]
    fn a_hook_that_is_not_there() {
        let missing = Hook { path: "/nonexistent".into(), ..hook("", None) };
        let error = error::line(&missing.run("", Environment::Empty).unwrap_err());
        assert!(error.starts_with("execute /nonexistent"), "{error}");
        assert!(error.ends_with("no such file or directory"), "{error}");
    }
}
