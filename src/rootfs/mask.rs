//! Hiding paths and making them read-only.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;

use super::calls::Calls;
use super::fault;
use super::mount::is_directory;
use super::new_fs::NewFs;
use crate::resolve::Root;
use crate::sys::mount::{Attributes, MOUNT_ATTR_RDONLY};
use crate::sys::stat;

/// Makes each path read-only for the container; missing ones are skipped (BXM-32).
///
/// Mounts below stay as they are: lxcfs puts a writable file below `/proc/sys`.
///
/// # Errors
/// Those of the mount calls, with the path.
pub(super) fn make_read_only(calls: &Calls, root: &Root, paths: &[String]) -> Result<()> {
    for (index, path) in paths.iter().enumerate() {
        let Some(target) = find(root, path)? else { continue };
        if fault::skips(|| format!("linux.readonlyPaths[{index}]")) {
            continue;
        }
        let attributes = Attributes { set: MOUNT_ATTR_RDONLY, ..Attributes::default() };
        let again = || find(root, path)?.context("it is gone");
        calls
            .cover_with_itself(&target, attributes, again)
            .with_context(|| format!("linux.readonlyPaths: make {path} read-only"))?;
    }
    Ok(())
}

/// Hides each path; missing ones are skipped (BXM-31).
///
/// A file is covered by the null device, a directory by an empty read-only tmpfs. All of them
/// share one of each.
///
/// # Errors
/// Those of making the mounts, or a `/dev/null` that is not the null device (CVE-2025-31133).
pub(super) fn hide(
    calls: &Calls,
    root: &Root,
    paths: &[String],
    label: Option<&str>,
) -> Result<()> {
    let mut cover = Cover { calls, root, label, file: None, directory: None };
    for (index, path) in paths.iter().enumerate() {
        if paths[..index].contains(path) {
            continue;
        }
        let Some(target) = find(root, path)? else { continue };
        if fault::skips(|| format!("linux.maskedPaths[{index}]")) {
            continue;
        }
        cover.over(&target).with_context(|| format!("linux.maskedPaths: hide {path}"))?;
    }
    Ok(())
}

/// Opens what is there now, if anything is.
pub(super) fn find(root: &Root, path: &str) -> Result<Option<OwnedFd>> {
    match root.open(Path::new(path), OFlag::O_PATH) {
        Ok(found) => Ok(Some(found)),
        // A file in place of a directory on the way: there is nothing of that name.
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(errno).with_context(|| format!("open {path}")),
    }
}

struct Cover<'a> {
    calls: &'a Calls,
    root: &'a Root,
    label: Option<&'a str>,
    file: Option<OwnedFd>,
    directory: Option<OwnedFd>,
}

impl Cover<'_> {
    fn over(&mut self, target: &OwnedFd) -> Result<()> {
        let calls = self.calls;
        let directory = is_directory(target)?;
        let Some(cover) = (if directory { self.directory.as_ref() } else { Some(self.file()?) })
        else {
            // The first directory gets the tmpfs itself: before Linux 6.15 a mount that is
            // attached nowhere cannot be copied.
            let data = ["nr_blocks=1", "nr_inodes=1"].map(str::to_string);
            let empty = NewFs {
                fstype: "tmpfs",
                source: "tmpfs",
                flags: &["ro"],
                data: &data,
                attributes: MOUNT_ATTR_RDONLY,
                label: self.label,
            };
            self.directory = calls.new_fs_at(&empty, target)?;
            return Ok(());
        };
        calls.bind(cover.as_fd(), target.as_fd())
    }

    fn file(&mut self) -> Result<&OwnedFd> {
        if self.file.is_none() {
            let null = self.root.open(Path::new("/dev/null"), OFlag::O_PATH | OFlag::O_NOFOLLOW);
            let null = null.context("open /dev/null")?;
            ensure!(is_null(&null)?, "/dev/null in the container is not the null device");
            self.file = Some(null);
        }
        self.file.as_ref().context("the null device")
    }
}

/// The file is the null device.
pub(super) fn is_null(file: &OwnedFd) -> Result<bool> {
    Ok(stat::is_null(&fstat(file).context("stat")?))
}
