//! One value for one file of a cgroup: made by pure translation, written by the manager.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

/// What to write, where, and which member of the config asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// The name of the file in the cgroup's directory.
    pub file: String,
    /// Its new content.
    pub value: String,
    /// The JSON path below `linux.resources`.
    pub json: &'static str,
}

impl Setting {
    /// A setting that the member `json` asks for.
    pub(super) fn new(json: &'static str, file: &str, value: impl fmt::Display) -> Self {
        Self { file: file.to_string(), value: value.to_string(), json }
    }

    /// Writes the value in the cgroup `directory`.
    ///
    /// # Errors
    /// Those of open(2) and write(2), with the JSON path, the value and the file.
    pub(super) fn write(&self, directory: &Path) -> Result<()> {
        let Self { file, value, json } = self;
        write(&directory.join(file), value).with_context(|| format!("linux.resources.{json}"))
    }
}

/// Writes `value` to the file of a cgroup in one write(2). The file is never made.
///
/// # Errors
/// Those of open(2) and write(2), with both.
pub(super) fn write(file: &Path, value: &str) -> Result<()> {
    let write = || OpenOptions::new().write(true).open(file)?.write_all(value.as_bytes());
    write().with_context(|| format!("write {value:?} to {}", file.display()))
}

/// Writes each of `values` in a write(2) of its own, which is what files take that hold a list.
///
/// # Errors
/// Those of open(2) and write(2), with the value and the file.
pub(super) fn write_each(file: &Path, values: &[String]) -> Result<()> {
    let mut open = OpenOptions::new()
        .write(true)
        .open(file)
        .with_context(|| format!("open {}", file.display()))?;
    for value in values {
        open.write_all(value.as_bytes())
            .with_context(|| format!("write {value:?} to {}", file.display()))?;
    }
    Ok(())
}

/// The word for no limit: negative numbers mean it in the config (MEM-01), v2 writes `max`.
pub(super) fn or_max(limit: i64) -> String {
    if limit < 0 { "max".to_string() } else { limit.to_string() }
}
