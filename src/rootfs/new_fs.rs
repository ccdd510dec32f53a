//! Making file systems.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Error, Result};
use nix::errno::Errno;

use crate::host::in_user_namespace;
use crate::sys::mount;

/// Makes a file system and a detached mount of it with `attributes`; SELinux sees all of its files
/// with `label`.
///
/// # Errors
/// Those of fsopen(2), fsconfig(2) and fsmount(2), with the parameter that was refused.
pub(super) fn new_fs<'a>(
    fstype: &str,
    source: &str,
    flags: impl IntoIterator<Item = &'a str>,
    data: &[String],
    attributes: u64,
    label: Option<&str>,
) -> Result<OwnedFd> {
    let string = |text: &str| CString::new(text).context("a NUL byte");
    let fs = mount::fsopen(&string(fstype)?).with_context(|| format!("fsopen {fstype}"));
    let fs = fs.map_err(|error| explain(fstype, error))?;
    let set = |key: &str, value: Option<&str>| -> Result<()> {
        let key = string(key)?;
        match value {
            Some(value) => mount::fsconfig_string(fs.as_fd(), &key, &string(value)?)?,
            None => mount::fsconfig_flag(fs.as_fd(), &key)?,
        }
        Ok(())
    };
    if !source.is_empty() {
        set("source", Some(source)).with_context(|| format!("source {source:?}"))?;
    }
    for word in flags {
        set(word, None).with_context(|| format!("option {word:?}"))?;
    }
    // A word may itself be a list: the data of mount(2) is separated by commas.
    for word in data.iter().flat_map(|word| word.split(',')).filter(|word| !word.is_empty()) {
        match word.split_once('=') {
            Some((key, value)) => set(key, Some(value)),
            None => set(word, None),
        }
        .with_context(|| format!("option {word:?}"))?;
    }
    if let Some(label) = label {
        // Not among the words: a label may have commas of its own.
        set("context", Some(label)).with_context(|| format!("linux.mountLabel: {label:?}"))?;
    }
    let made = || -> Result<OwnedFd> {
        mount::fsconfig_create(fs.as_fd()).with_context(|| format!("make the {fstype}"))?;
        mount::fsmount(fs.as_fd(), attributes).context("fsmount")
    };
    made().map_err(|error| explain(fstype, error))
}

/// In a user namespace the kernel lets nobody see more of procfs and sysfs than he sees already
/// (`mount_too_revealing` in fs/namespace.c), nor that of a namespace which he has no rights to.
fn explain(fstype: &str, error: Error) -> Error {
    let namespace = match fstype {
        "proc" => "pid",
        "sysfs" => "network",
        _ => return error,
    };
    if error.downcast_ref::<Errno>() != Some(&Errno::EPERM) || !in_user_namespace() {
        return error;
    }
    error.context(format!(
        "in a user namespace, {fstype} can be mounted only for a {namespace} namespace that belongs \
        to it, and only where a {fstype} can be seen that has nothing mounted over its parts"
    ))
}
