//! Time namespaces: time_namespaces(7), Linux 5.6.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;

use anyhow::{Context, Result};
use nix::fcntl::OFlag;
use nix::sched::setns;
use oci_spec::runtime::Linux;

use crate::procfs::Procfs;

/// How far a clock of the container is ahead of the host's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offset {
    /// `monotonic` or `boottime`.
    pub clock: String,
    /// Whole seconds, negative to go back.
    pub secs: i64,
    /// Nanoseconds added to them, below one second.
    pub nanosecs: u32,
}

impl Offset {
    pub(super) fn from_spec(linux: &Linux) -> Vec<Self> {
        let offsets = linux.time_offsets().iter().flatten();
        let offsets = offsets.map(|(clock, offset)| Self {
            clock: clock.clone(),
            secs: offset.secs().unwrap_or(0),
            nanosecs: offset.nanosecs().unwrap_or(0),
        });
        offsets.collect()
    }
}

/// The file that takes the offsets of a time namespace made by this process for its children.
///
/// It has to be opened before the process changes its ids or hides from others: both make it not
/// dumpable, which gives its files in procfs to the host's root (proc(5)).
///
/// # Errors
/// Those of opening it.
pub fn open_offsets(procfs: &Procfs, offsets: &[Offset]) -> Result<Option<File>> {
    if offsets.is_empty() {
        return Ok(None);
    }
    let own = procfs.own_directory()?;
    procfs.open_file(&format!("{own}/timens_offsets"), OFlag::O_WRONLY).map(Some)
}

/// Sets the offsets of the time namespace that this process has made for its children, and moves
/// the process itself there.
///
/// The offsets can be set only while the namespace has no process.
///
/// # Errors
/// ERANGE when a clock would run backwards past zero.
pub fn enter(procfs: &Procfs, file: Option<File>, offsets: &[Offset]) -> Result<()> {
    if let Some(mut file) = file {
        let text = offsets.iter().fold(String::new(), |mut text, offset| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{} {} {}", offset.clock, offset.secs, offset.nanosecs);
            text
        });
        file.write_all(text.as_bytes()).context("linux.timeOffsets: set them")?;
    }
    let namespace = procfs.open_namespace(&procfs.own_directory()?, "time_for_children")?;
    setns(namespace, super::Kind::Time.clone_flag()).context("enter the new time namespace")
}
