//! The state document of the specification, as hooks get it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::VERSION;

/// The status of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is being made (STA-05).
    Creating,
    /// It waits for `start` (STA-06).
    Created,
    /// Its program runs (STA-07).
    Running,
    /// Its processes are frozen (BXC-10).
    Paused,
    /// Its first process has ended (STA-08).
    Stopped,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

/// The members that the specification asks for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State<'a> {
    /// The version that this document follows.
    oci_version: &'static str,
    /// The name of the container.
    pub id: &'a str,
    /// Its status at this moment.
    pub status: Status,
    /// Its first process, as the reader counts; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// The absolute path of the bundle.
    pub bundle: &'a Path,
    /// The annotations of the config.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: &'a BTreeMap<String, String>,
}

impl<'a> State<'a> {
    /// Puts a document together.
    #[must_use]
    pub fn new(
        id: &'a str,
        status: Status,
        pid: Option<i32>,
        bundle: &'a Path,
        annotations: &'a BTreeMap<String, String>,
    ) -> Self {
        Self { oci_version: VERSION, id, status, pid, bundle, annotations }
    }

    /// The document as text.
    ///
    /// # Panics
    /// Never: there is nothing in it that JSON cannot hold, as paths come from JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers become JSON")
    }
}
