//! `start`: steps 6 to 9 of the lifecycle.

use std::os::fd::AsFd;

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::status::{Command, Status, allow};
use super::{Container, delete};
use crate::error::Remote;
use crate::handshake::gate::{self, Outcome, Outside};
use crate::hooks::Kind;
use crate::spec::state::State;

impl Container {
    /// Lets init execute the program, waits until it has, and runs the poststart hooks.
    ///
    /// # Errors
    /// When the container is not `created`, has no program, or a hook fails; in the last case it
    /// is gone afterwards (LIF-13, LIF-16).
    pub fn start(self) -> Result<Self> {
        allow(Command::Start, self.status()?, &self.facts.id)?;
        self.check_startable()?;
        let gate = gate::open(self.directory.as_fd())?;
        self.finish_start(gate)
    }

    /// A container can be made without a program (STR-04).
    ///
    /// # Errors
    /// When it was.
    pub fn check_startable(&self) -> Result<()> {
        let has_process = self.facts.has_process;
        ensure!(has_process, "cannot start a container without a process in its config");
        Ok(())
    }

    /// The second half of `start`, behind the open gate.
    ///
    /// The lock is given back before anything that may take long, so that a container can be
    /// killed while a hook hangs.
    ///
    /// # Errors
    /// Those of [`Container::start`] that concern init and hooks.
    pub fn finish_start(self, gate: Outside) -> Result<Self> {
        self.directory.unlock()?;
        match gate.outcome()? {
            Outcome::Executed => {}
            Outcome::Died => bail!("the container's init died before it executed the program"),
            Outcome::Failed(chain) => {
                let remote = Remote::new(chain).context("an error without a text")?;
                return Err(self.end_after(anyhow!(remote)));
            }
        }
        let facts = &self.facts;
        let pid = facts.pid;
        let state = State::new(&facts.id, Status::Running, pid, &facts.bundle, &facts.annotations);
        match facts.hooks.run_beside(Kind::Poststart, &state.to_json()) {
            Ok(()) => Ok(self),
            Err(error) => Err(self.end_after(error)),
        }
    }

    /// Ends the container because of `error`, and returns that.
    #[must_use]
    pub fn end_after(self, error: anyhow::Error) -> anyhow::Error {
        match delete::force(self) {
            Ok(()) => error,
            Err(also) => error.context(format!("delete the container: {also:#}")),
        }
    }
}
