//! `pause` and `resume`.

use anyhow::Result;

use super::status::{Command, allow};
use super::{Container, delete};

impl Container {
    /// Suspends all processes of the container.
    ///
    /// # Errors
    /// When the container is not running, or its processes cannot be stopped.
    pub fn pause(&self) -> Result<()> {
        allow(Command::Pause, self.status()?, &self.facts.id)?;
        self.facts.cgroups.freeze(delete::deadline())
    }

    /// Lets the processes of a paused container run on.
    ///
    /// # Errors
    /// When the container is not paused.
    pub fn resume(&self) -> Result<()> {
        allow(Command::Resume, self.status()?, &self.facts.id)?;
        self.facts.cgroups.unfreeze()
    }
}
