//! Making file systems.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Error, Result};
use nix::errno::Errno;

use crate::host::in_user_namespace;
use crate::sys::mount;

/// A new file system.
pub(super) struct NewFs<'a> {
    /// The kernel's name of its type.
    pub fstype: &'a str,
    /// What mountinfo shows as its source; may be empty.
    pub source: &'a str,
    /// Words about its superblock.
    pub flags: &'a [&'a str],
    /// Words for the file system; each may itself be a list with commas.
    pub data: &'a [String],
    /// `MOUNT_ATTR_*` of its mount.
    pub attributes: u64,
    /// What SELinux sees all of its files with.
    pub label: Option<&'a str>,
}

/// Bytes that fsconfig(2) takes for one value; mount(2) takes a page for all together.
const ROOM: usize = 255;

impl NewFs<'_> {
    /// A value is too long for fsconfig(2): the layers of an overlay.
    pub(super) fn is_long(&self) -> bool {
        let value = |word: &str| word.split_once('=').map_or(0, |(_, value)| value.len());
        self.source.len() > ROOM || self.parameters().any(|word| value(word) > ROOM)
    }

    /// The parameters among the data, one after another: the data of mount(2) is separated by
    /// commas.
    pub(super) fn parameters(&self) -> impl Iterator<Item = &str> {
        self.data.iter().flat_map(|word| word.split(',')).filter(|word| !word.is_empty())
    }

    /// Makes it, and a mount of it that is attached nowhere.
    ///
    /// # Errors
    /// Those of fsopen(2), fsconfig(2) and fsmount(2), with the parameter that was refused.
    pub(super) fn make(&self) -> Result<OwnedFd> {
        let string = |text: &str| CString::new(text).context("a NUL byte");
        let fstype = self.fstype;
        let fs = mount::fsopen(&string(fstype)?).with_context(|| format!("fsopen {fstype}"));
        let fs = fs.map_err(|error| self.explain(error))?;
        let set = |key: &str, value: Option<&str>| -> Result<()> {
            let key = string(key)?;
            match value {
                Some(value) => mount::fsconfig_string(fs.as_fd(), &key, &string(value)?)?,
                None => mount::fsconfig_flag(fs.as_fd(), &key)?,
            }
            Ok(())
        };
        // As mount(2) does for a type such as `fuse.sshfs`.
        if let Some((_, subtype)) = fstype.split_once('.') {
            set("subtype", Some(subtype)).with_context(|| format!("subtype {subtype:?}"))?;
        }
        if !self.source.is_empty() {
            let source = self.source;
            set("source", Some(source)).with_context(|| format!("source {source:?}"))?;
        }
        for word in self.flags {
            set(word, None).with_context(|| format!("option {word:?}"))?;
        }
        for word in self.parameters() {
            match word.split_once('=') {
                Some((key, value)) => set(key, Some(value)),
                None => set(word, None),
            }
            .with_context(|| format!("option {word:?}"))?;
        }
        if let Some(label) = self.label {
            // Not among the words: a label may have commas of its own.
            set("context", Some(label)).with_context(|| format!("linux.mountLabel: {label:?}"))?;
        }
        let made = || -> Result<OwnedFd> {
            mount::fsconfig_create(fs.as_fd()).with_context(|| format!("make the {fstype}"))?;
            mount::fsmount(fs.as_fd(), self.attributes).context("fsmount")
        };
        made().map_err(|error| self.explain(error))
    }

    /// In a user namespace the kernel lets nobody see more of procfs and sysfs than he sees already
    /// (`mount_too_revealing` in fs/namespace.c), nor that of a namespace which he has no rights to.
    pub(super) fn explain(&self, error: Error) -> Error {
        let namespace = match self.fstype {
            "proc" => "pid",
            "sysfs" => "network",
            _ => return error,
        };
        if error.downcast_ref::<Errno>() != Some(&Errno::EPERM) || !in_user_namespace() {
            return error;
        }
        let fstype = self.fstype;
        error.context(format!(
            "in a user namespace, {fstype} can be mounted only for a {namespace} namespace that \
            belongs to it, and only where a {fstype} can be seen that has nothing mounted over its \
            parts"
        ))
    }
}
