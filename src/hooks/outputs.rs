//! Files that get what hooks write: crun's annotations `run.oci.hooks.stdout` and
//! `run.oci.hooks.stderr`.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

const STDOUT: &str = "run.oci.hooks.stdout";
const STDERR: &str = "run.oci.hooks.stderr";

/// The files by name, absolute on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outputs {
    stdout: Option<PathBuf>,
    stderr: Option<PathBuf>,
}

impl Outputs {
    /// Takes over the annotations.
    ///
    /// # Errors
    /// For a relative path: each command of the runtime has a working directory of its own.
    pub(super) fn from_annotations(annotations: &BTreeMap<String, String>) -> Result<Self> {
        let path = |name: &str| {
            let Some(path) = annotations.get(name).map(PathBuf::from) else { return Ok(None) };
            ensure!(path.is_absolute(), "annotations.{name:?}: {path:?} is not an absolute path");
            Ok(Some(path))
        };
        Ok(Self { stdout: path(STDOUT)?, stderr: path(STDERR)? })
    }

    /// Opens them at their ends, and makes those that are not there.
    ///
    /// # Errors
    /// Those of open(2), with the annotation.
    pub(super) fn open(&self) -> Result<Files> {
        let open = |name: &str, path: &Option<PathBuf>| {
            path.as_ref().map(|path| {
                let mut options = OpenOptions::new();
                // A FIFO without a reader is an error rather than a reason to wait.
                options.append(true).create(true).mode(0o600).custom_flags(libc::O_NONBLOCK);
                let file = options.open(path);
                file.with_context(|| format!("annotations.{name:?}: open {}", path.display()))
            })
        };
        Ok(Files {
            stdout: open(STDOUT, &self.stdout).transpose()?,
            stderr: open(STDERR, &self.stderr).transpose()?,
        })
    }
}

/// The open files.
#[derive(Debug, Default)]
pub struct Files {
    stdout: Option<File>,
    stderr: Option<File>,
}

impl Files {
    pub(super) fn stdout(&self) -> Option<&File> {
        self.stdout.as_ref()
    }

    pub(super) fn stderr(&self) -> Option<&File> {
        self.stderr.as_ref()
    }
}
