//! The mount calls as the rest of this module uses them: by descriptors, or, where those calls
//! are not to be had, by mount(2).
//!
//! mount_setattr(2) is Linux 5.12, and sandboxes answer ENOSYS to any of the newer calls. Either
//! all of them are used or none: see [`Paths`].

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat};

use super::by_path::Paths;
use super::new_fs::NewFs;
use crate::procfs::Procfs;
use crate::sys::mount::{self, Attributes};
use crate::sys::stat::mount_id;

/// How mounts are made, attached and changed.
#[derive(Debug)]
pub(super) enum Calls {
    /// By descriptors: a mount is attached nowhere until it is finished.
    Descriptors {
        /// Nobody else sees what is mounted: what these calls have no room for, mount(2) may do.
        alone: bool,
    },
    /// By mount(2).
    Paths(Paths),
}

impl Calls {
    /// By descriptors, where others may see what is attached.
    pub(super) const AMONG_OTHERS: Self = Self::Descriptors { alone: false };

    /// Finds out what this machine has. `own_namespace` says that nobody else sees what is mounted.
    ///
    /// # Errors
    /// When only mount(2) is there and cannot be used.
    pub(super) fn find(procfs: &Procfs, own_namespace: bool) -> Result<Self> {
        if mount::descriptor_calls_exist() {
            return Ok(Self::Descriptors { alone: own_namespace });
        }
        ensure!(
            own_namespace,
            "without a mount namespace the calls of Linux 5.12 are needed (mount_setattr)"
        );
        Paths::new(procfs).map(Self::Paths)
    }

    /// Makes a file system and a mount of it, to be attached.
    ///
    /// # Errors
    /// Those of fsopen(2), fsconfig(2) and fsmount(2), with the parameter that was refused, or of
    /// mount(2).
    pub(super) fn new_fs(&self, fs: &NewFs<'_>) -> Result<OwnedFd> {
        match self {
            Self::Descriptors { alone: true } if fs.is_long() => {
                Paths::new(&Procfs::open()?)?.new_fs(fs)
            }
            Self::Descriptors { .. } => fs.make(),
            Self::Paths(paths) => paths.new_fs(fs),
        }
    }

    /// Makes a file system at `place`; the result is its mount, where that is known.
    ///
    /// # Errors
    /// As [`Calls::new_fs`].
    pub(super) fn new_fs_at(&self, fs: &NewFs<'_>, place: &OwnedFd) -> Result<Option<OwnedFd>> {
        match self {
            Self::Descriptors { .. } => {
                let made = fs.make()?;
                mount::move_mount(made.as_fd(), place.as_fd()).context("move_mount")?;
                Ok(Some(made))
            }
            Self::Paths(paths) => paths.mount_fs(fs, place.as_fd()).map(|()| None),
        }
    }

    /// Copies the mount of `from`, to be attached; with `recursive` also what is below it.
    ///
    /// # Errors
    /// Those of open_tree(2) or mount(2).
    pub(super) fn copy(&self, from: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd> {
        match self {
            Self::Descriptors { .. } => {
                mount::open_tree_clone(from, c"", recursive).context("open_tree")
            }
            Self::Paths(paths) => paths.copy(from, recursive),
        }
    }

    /// As [`Calls::copy`] for a path of the host.
    ///
    /// # Errors
    /// Those of open(2) and [`Calls::copy`], with the path.
    pub(super) fn copy_host_path(&self, path: &Path, recursive: bool) -> Result<OwnedFd> {
        let from = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
            .with_context(|| format!("open {}", path.display()))?;
        self.copy(from.as_fd(), recursive).with_context(|| path.display().to_string())
    }

    /// Attaches a mount that was made or copied here.
    ///
    /// # Errors
    /// Those of move_mount(2) or mount(2).
    pub(super) fn attach(&self, mount: BorrowedFd<'_>, place: BorrowedFd<'_>) -> nix::Result<()> {
        match self {
            Self::Descriptors { .. } => mount::move_mount(mount, place),
            Self::Paths(paths) => paths.attach(mount, place),
        }
    }

    /// Shows the file `from` at `place` as well.
    ///
    /// # Errors
    /// Those of open_tree(2) and move_mount(2), or of mount(2).
    pub(super) fn bind(&self, from: BorrowedFd<'_>, place: BorrowedFd<'_>) -> Result<()> {
        match self {
            Self::Descriptors { .. } => {
                let copy = mount::open_tree_clone(from, c"", false).context("open_tree")?;
                mount::move_mount(copy.as_fd(), place).context("move_mount")
            }
            Self::Paths(paths) => paths.bind(from, place, false).context("bind it"),
        }
    }

    /// Changes attributes of `mount` and, with `recursive`, of all below it.
    ///
    /// # Errors
    /// Those of mount_setattr(2) or mount(2); ENOSYS where only one mount after the other could be
    /// changed.
    pub(super) fn set(
        &self,
        mount: BorrowedFd<'_>,
        attributes: Attributes,
        recursive: bool,
    ) -> nix::Result<()> {
        match self {
            Self::Descriptors { .. } => mount::mount_setattr(mount, attributes, recursive),
            Self::Paths(paths) => paths.set(mount, attributes, recursive),
        }
    }

    /// Covers `place` with a copy of itself and all below it, of which the topmost mount has these
    /// attributes. `again` opens the same place once more.
    ///
    /// # Errors
    /// Those of the calls, and when something else is at the place by then.
    pub(super) fn cover_with_itself(
        &self,
        place: &OwnedFd,
        attributes: Attributes,
        again: impl FnOnce() -> Result<OwnedFd>,
    ) -> Result<()> {
        let Self::Paths(paths) = self else {
            let copy = mount::open_tree_clone(place.as_fd(), c"", true).context("open_tree")?;
            mount::mount_setattr(copy.as_fd(), attributes, false).context("mount_setattr")?;
            return mount::move_mount(copy.as_fd(), place.as_fd()).context("move_mount");
        };
        paths.bind(place.as_fd(), place.as_fd(), true).context("bind it on itself")?;
        let found = again()?;
        let file = |fd| fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
        let same = file(&found)? == file(place)?;
        let covered = mount_id(found.as_fd())? != mount_id(place.as_fd())?;
        ensure!(same && covered, "something else is there now");
        paths.set(found.as_fd(), attributes, false).context("remount it")
    }
}
