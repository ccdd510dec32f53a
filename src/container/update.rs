//! `update`: new limits for a container that was created.

use anyhow::Result;
use oci_spec::runtime::LinuxResources;

use super::Container;
use super::status::{Command, allow};
use crate::cgroups::rdt::Schemas;
use crate::log;

impl Container {
    /// Changes limits: all of them or none.
    ///
    /// # Errors
    /// When the container has stopped, or one of the limits cannot be set.
    pub fn update(&self, resources: &LinuxResources, schemas: &Schemas) -> Result<()> {
        allow(Command::Update, self.status()?, &self.facts.id)?;
        let rdt = schemas.plan(self.facts.rdt.as_ref())?;
        let update = self.facts.cgroups.plan_update(resources)?;
        update.warnings.iter().for_each(log::warn);
        update.apply()?;
        rdt.map_or(Ok(()), |rdt| rdt.apply()).inspect_err(|_| update.undo_all())
    }
}
