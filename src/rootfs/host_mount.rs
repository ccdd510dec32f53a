//! The mount of a root file system on the host, made only for a container that has no mount
//! namespace of its own.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

use crate::sys::stat::mount_id;

/// Where the mount is, and what was there before: an engine may have mounted the root file
/// system there itself, and that mount is not ours to take away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostMount {
    path: PathBuf,
    /// The id of the mount that the path was on.
    below: u64,
}

impl HostMount {
    pub(super) fn before(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_path_buf(), below: mount_at(path)? })
    }

    /// Unmounts what was mounted since, and everything below it.
    ///
    /// # Errors
    /// Those of umount2(2).
    pub fn undo(&self) -> Result<()> {
        let context = || format!("unmount {}", self.path.display());
        match mount_at(&self.path) {
            Ok(id) if id != self.below => {}
            // Never mounted, or the directory is gone, which it could not be while mounted.
            _ => return Ok(()),
        }
        match umount2(&self.path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno).with_context(context),
        }
    }
}

fn mount_at(path: &Path) -> Result<u64> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let fd = open(path, flags, Mode::empty());
    let fd = fd.with_context(|| format!("open {}", path.display()))?;
    mount_id(fd.as_fd()).with_context(|| format!("look for the mount of {}", path.display()))
}
