//! Hooks: programs of somebody else that run at given points of a container's life.
//!
//! Each gets the container's state on standard input and is watched until it ends or its time is
//! up. What it writes is kept for the error text, the last part of it; a hook that leaves a
//! process behind with its pipes open does not hold us up.

mod outcome;
mod outputs;
mod running;

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use oci_spec::runtime;
use serde::{Deserialize, Serialize};

use self::outcome::outcome;
use self::outputs::Outputs;
use self::running::Running;
use crate::{error, log};

pub use self::outputs::Files;

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
    #[serde(default)]
    outputs: Outputs,
}

impl Hooks {
    /// Takes over what a checked document says.
    ///
    /// # Errors
    /// For an annotation that does not name a file for their output.
    pub fn from_spec(
        hooks: Option<&runtime::Hooks>,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let Some(hooks) = hooks else { return Ok(Self::default()) };
        Ok(Self {
            outputs: Outputs::from_annotations(annotations)?,
            prestart: list(hooks.prestart().as_ref()),
            create_runtime: list(hooks.create_runtime().as_ref()),
            create_container: list(hooks.create_container().as_ref()),
            start_container: list(hooks.start_container().as_ref()),
            poststart: list(hooks.poststart().as_ref()),
            poststop: list(hooks.poststop().as_ref()),
        })
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

    /// There are hooks that run before the root changes, and expect the host's.
    #[must_use]
    pub fn any_before_root(&self) -> bool {
        let kinds = [Kind::Prestart, Kind::CreateRuntime, Kind::CreateContainer];
        kinds.into_iter().any(|kind| !self.of(kind).is_empty())
    }

    /// Runs the hooks of one kind one after another; the first that fails ends it (HOK-25).
    ///
    /// `state` is the JSON document for their standard input; `files` get what they write.
    ///
    /// # Errors
    /// With the kind, the index, the arguments, how the hook ended, and what it wrote.
    pub fn run(
        &self,
        kind: Kind,
        state: &str,
        default_env: Environment<'_>,
        files: &Files,
    ) -> Result<()> {
        for (index, hook) in self.of(kind).iter().enumerate() {
            log::debug(|| format!("run {kind} hook #{index}: {hook}"));
            hook.run(state, default_env, files)
                .with_context(|| format!("error running {kind} hook #{index}"))?;
        }
        Ok(())
    }

    /// As [`Hooks::run`], in the runtime's namespaces, where the files for their output are found.
    ///
    /// # Errors
    /// Those of opening these files, and of the hooks.
    pub fn run_beside(&self, kind: Kind, state: &str) -> Result<()> {
        if self.of(kind).is_empty() {
            return Ok(());
        }
        self.run(kind, state, Environment::Inherited, &self.open_outputs()?)
    }

    /// Opens the files that get what hooks write.
    ///
    /// # Errors
    /// Those of open(2), with the annotation.
    pub fn open_outputs(&self) -> Result<Files> {
        self.outputs.open()
    }

    /// Runs the poststop hooks: a failure is a warning, and the others still run (LIF-20).
    pub fn run_poststop(&self, state: &str) {
        if self.poststop.is_empty() {
            return;
        }
        let files = self.open_outputs().unwrap_or_else(|error| {
            log::warn(error::line(&error));
            Files::default()
        });
        for (index, hook) in self.poststop.iter().enumerate() {
            if let Err(error) = hook.run(state, Environment::Inherited, &files) {
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
    fn run(&self, state: &str, default_env: Environment<'_>, files: &Files) -> Result<()> {
        let begin = Instant::now();
        let mut command = self.command(default_env);
        let child = command.spawn().with_context(|| format!("execute {self}"))?;
        let mut run = Running::new(child, state.as_bytes(), files)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str, timeout: Option<u64>) -> Hook {
        let args = ["sh", "-c", script].map(str::to_string).to_vec();
        Hook { path: "/bin/sh".into(), args, env: Some(vec!["A=b".to_string()]), timeout }
    }

    fn run(script: &str, timeout: Option<u64>) -> Result<(), String> {
        let run = hook(script, timeout).run("{\"a\": 1}", Environment::Empty, &Files::default());
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
            ("kill -9 $$", None, Err("signal: killed")),
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
        let error =
            error::line(&noisy.run(&state, Environment::Empty, &Files::default()).unwrap_err());
        assert!(error.len() < 2 * running::TAIL, "{}", error.len());
        assert!(error.contains("yyyy"));
    }

    #[test]
    fn a_hook_that_is_not_there() {
        let missing = Hook { path: "/nonexistent".into(), ..hook("", None) };
        let error =
            error::line(&missing.run("", Environment::Empty, &Files::default()).unwrap_err());
        assert!(error.starts_with("execute /nonexistent"), "{error}");
        assert!(error.ends_with("no such file or directory"), "{error}");
    }
}
