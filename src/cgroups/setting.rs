//! One value for one file of a cgroup: made by pure translation, written by the manager.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// What to write, where, and which member of the config asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// The name of the file in the cgroup's directory.
    pub file: String,
    /// Its new content.
    pub value: String,
    /// The JSON path below `linux.resources`.
    pub json: String,
    /// What it means that there is no such file.
    missing: Missing,
}

/// What it means that a kernel has no such file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Missing {
    /// The limit cannot be set.
    Error,
    /// There is nothing to limit.
    Nothing,
    /// Another file does the same, in a form of its own.
    Instead { file: String, value: String },
}

impl Setting {
    /// A setting that the member `json` asks for.
    pub(super) fn new(json: impl Into<String>, file: &str, value: impl fmt::Display) -> Self {
        let (file, value) = (file.to_string(), value.to_string());
        Self { file, value, json: json.into(), missing: Missing::Error }
    }

    /// There is nothing to do where `needless` and the kernel has no such file.
    pub(super) fn or_nothing(mut self, needless: bool) -> Self {
        if needless {
            self.missing = Missing::Nothing;
        }
        self
    }

    /// Another file and its value, where the kernel has not the first one.
    pub(super) fn or_instead(mut self, file: &str, value: impl fmt::Display) -> Self {
        let (file, value) = (file.to_string(), value.to_string());
        self.missing = Missing::Instead { file, value };
        self
    }

    /// Finds the file in the cgroup `directory`, if there is anything to write.
    fn resolve(&self, directory: &Path) -> Result<Option<Write>> {
        let json = &self.json;
        let write = |file: &String, value: &String| {
            let path = directory.join(file);
            let write = Write { path, value: value.clone(), json: json.clone() };
            write.path.exists().then_some(write)
        };
        let first = write(&self.file, &self.value);
        match &self.missing {
            _ if first.is_some() => Ok(first),
            Missing::Nothing => Ok(None),
            Missing::Instead { file, value } => match write(file, value) {
                Some(other) => Ok(Some(other)),
                None => self.is_missing(directory),
            },
            Missing::Error => self.is_missing(directory),
        }
    }

    /// A file that is not there mostly means that its controller is not.
    fn is_missing(&self, directory: &Path) -> Result<Option<Write>> {
        let Self { file, json, .. } = self;
        let what = if json.starts_with("unified") { "unified resource " } else { "" };
        let name = file.split('.').next().unwrap_or_default();
        let available = fs::read_to_string(directory.join("cgroup.controllers"));
        let absent = |list: String| !list.split_whitespace().any(|other| other == name);
        if name != "cgroup" && available.is_ok_and(absent) {
            bail!(
                "linux.resources.{json}: {what}{file:?} can't be set: controller {name:?} not \
                available in {}",
                directory.display()
            );
        }
        bail!("linux.resources.{json}: {what}{file:?} can't be set: this kernel does not have it")
    }
}

/// A setting for a file that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Write {
    /// The file.
    pub path: PathBuf,
    /// Its new content.
    pub value: String,
    /// The JSON path below `linux.resources`.
    pub json: String,
}

/// Finds the files for the settings of a cgroup.
///
/// # Errors
/// When one is missing that cannot be done without.
pub(super) fn resolve(settings: &[Setting], directory: &Path) -> Result<Vec<Write>> {
    let resolved = settings.iter().map(|setting| setting.resolve(directory));
    resolved.filter_map(Result::transpose).collect()
}

/// Writes all settings of a cgroup.
///
/// # Errors
/// Those of [`resolve`] and [`write_in_order`].
pub(super) fn apply(settings: &[Setting], directory: &Path) -> Result<()> {
    write_in_order(&resolve(settings, directory)?, &mut Vec::new())
}

/// Writes all values, and puts the index of each into `done`.
///
/// Some depend on each other: memory on memory with swap, a quota on its period and burst. Which
/// has to come first depends on the values they had. The kernel says EINVAL to one that comes too
/// early; it is tried again for as long as others succeed.
///
/// # Errors
/// Those of open(2) and write(2), with the JSON path, the value and the file.
pub(super) fn write_in_order(writes: &[Write], done: &mut Vec<usize>) -> Result<()> {
    let mut waiting: Vec<_> = (0..writes.len()).collect();
    loop {
        let (mut refused, mut reason) = (Vec::new(), None);
        for index in &waiting {
            let Write { path, value, json } = &writes[*index];
            match write(path, value).with_context(|| format!("linux.resources.{json}")) {
                Ok(()) => done.push(*index),
                Err(error) if is_invalid(&error) => {
                    refused.push(*index);
                    reason.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        match reason {
            None => return Ok(()),
            Some(reason) if refused.len() == waiting.len() => return Err(reason),
            Some(_) => waiting = refused,
        }
    }
}

fn is_invalid(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.raw_os_error() == Some(libc::EINVAL))
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
