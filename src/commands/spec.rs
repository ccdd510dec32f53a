//! `spec`

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::unistd::{getegid, geteuid};

use crate::cli::Spec;
use crate::host::Cgroups;
use crate::spec::CONFIG;
use crate::spec::template::{For, document};

/// Writes a `config.json` to start from.
///
/// # Errors
/// When there is one already, or it cannot be written.
pub(super) fn run(args: &Spec) -> Result<i32> {
    let whom = match args.rootless {
        true => For::Rootless { uid: geteuid().as_raw(), gid: getegid().as_raw() },
        false => For::Root,
    };
    let path = args.bundle.as_deref().unwrap_or(Path::new("")).join(CONFIG);
    let text = document(whom, Cgroups::read(false)?.is_v2());
    let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("File {CONFIG} exists. Remove it first")
        }
        other => other.with_context(|| format!("make {}", path.display()))?,
    };
    file.write_all(text.as_bytes()).with_context(|| format!("write {}", path.display()))?;
    Ok(0)
}
