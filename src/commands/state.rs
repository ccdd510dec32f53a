//! `state`

use anyhow::{Context, Result};

use super::{Global, output};
use crate::cgroups;
use crate::cli::State;
use crate::container::Container;
use crate::container::status::Status;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// A container as runc shows it (BXC-08).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown<'a> {
    oci_version: &'static str,
    pub(super) id: &'a str,
    pub(super) pid: i32,
    pub(super) status: Status,
    pub(super) bundle: &'a Path,
    rootfs: &'a Path,
    pub(super) created: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    pub(super) owner: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<cgroups::Shown<'a>>,
}

impl<'a> Shown<'a> {
    /// A container that has stopped has no process: its pid is 0.
    ///
    /// # Errors
    /// When its status cannot be computed.
    pub(super) fn new(container: &'a Container, owner: String) -> Result<Self> {
        let facts = &container.facts;
        let status = container.status()?;
        let pid = facts.pid.filter(|_| status != Status::Stopped).unwrap_or(0);
        Ok(Self {
            oci_version: crate::spec::VERSION,
            id: &facts.id,
            pid,
            status,
            bundle: &facts.bundle,
            rootfs: &facts.rootfs,
            created: &facts.created,
            annotations: &facts.annotations,
            owner,
            cgroup: None,
        })
    }
}

/// Prints the state of a container.
///
/// # Errors
/// When there is none of that name.
pub(super) fn run(global: &Global, args: &State) -> Result<i32> {
    let container = global.store.look_up(&args.id)?;
    let mut shown = Shown::new(&container, String::new())?;
    shown.cgroup = Some(container.facts.cgroups.shown());
    output(&serde_json::to_string_pretty(&shown).context("encode the state")?)?;
    Ok(0)
}
