//! `seccomp explain`

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::output;
use crate::cli::Seccomp;
use crate::seccomp::explain::{explain, profile, text};
use crate::seccomp::syscalls::Syscall;
use crate::spec;

/// Prints what the profile of a bundle does with calls, and which rule says so.
///
/// # Errors
/// When the document cannot be read, or a call is not known.
pub(super) fn run(args: &Seccomp) -> Result<i32> {
    let (bundle, names) = match args.words.as_slice() {
        [verb, bundle, names @ ..] if verb == "explain" => (Path::new(bundle), names),
        [verb, ..] => bail!("seccomp {verb}: there is only seccomp explain"),
        [] => bail!("seccomp: explain is missing"),
    };
    let known = |name: &String| Syscall::named(name).with_context(|| format!("no call {name:?}"));
    let names = names.iter().map(known).collect::<Result<Vec<_>>>()?;
    let document = spec::document(bundle)?;
    let seccomp = document.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let Some(seccomp) = seccomp else {
        output(if args.json { "[]\n" } else { "no linux.seccomp: all calls are allowed\n" })?;
        return Ok(0);
    };
    let explanations = explain(&profile(seccomp)?, &names);
    if args.json {
        output(&format!("{:#}\n", json!(explanations)))?;
    } else {
        output(&text(&explanations))?;
    }
    Ok(0)
}
