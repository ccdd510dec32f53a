//! mount(2), for machines without the calls that work on descriptors.
//!
//! The image's paths stay out of it: what is mounted and where to are names in the directory
//! `/proc/self/fd`, links by which the kernel goes to an open file and nowhere else. As mount(2)
//! returns no descriptor, a new mount is made in a place of the host that no image can reach, in
//! a mount namespace that nobody else sees; it is opened there, finished, and moved.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::statfs::fstatfs;
use nix::unistd::{chdir, fchdir};

use super::new_fs::NewFs;
use crate::procfs::Procfs;
use crate::sys::mount::{
    Attributes, MOUNT_ATTR__ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NOSYMFOLLOW, MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
};
use crate::sys::stat::{kind, mount_id};

/// Attributes and their flags of mount(2), which are those of statfs(2) for all but the last.
const FLAGS: [(u64, u64, u64); 6] = [
    (MOUNT_ATTR_RDONLY, libc::MS_RDONLY, libc::ST_RDONLY),
    (MOUNT_ATTR_NOSUID, libc::MS_NOSUID, libc::ST_NOSUID),
    (MOUNT_ATTR_NODEV, libc::MS_NODEV, libc::ST_NODEV),
    (MOUNT_ATTR_NOEXEC, libc::MS_NOEXEC, libc::ST_NOEXEC),
    (MOUNT_ATTR_NODIRATIME, libc::MS_NODIRATIME, libc::ST_NODIRATIME),
    (MOUNT_ATTR_NOSYMFOLLOW, MS_NOSYMFOLLOW, ST_NOSYMFOLLOW),
];

/// Linux 5.10; the C library does not have it.
const MS_NOSYMFOLLOW: u64 = 0x100;
const ST_NOSYMFOLLOW: u64 = 0x2000;
const ST_NOATIME: u64 = 0x400;
const ST_RELATIME: u64 = 0x1000;

/// Words about the superblock and their flags.
const SUPERBLOCK: [(&str, u64); 5] = [
    ("ro", libc::MS_RDONLY),
    ("sync", libc::MS_SYNCHRONOUS),
    ("dirsync", libc::MS_DIRSYNC),
    ("lazytime", libc::MS_LAZYTIME),
    ("mand", libc::MS_MANDLOCK),
];

const PLACE: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// A directory and a file that every procfs has: mounts are made there before they are moved.
const STAGE: [&str; 2] = ["fs", "version"];

/// What mount(2) needs to work on open files.
#[derive(Debug)]
pub(super) struct Paths {
    /// `/proc/self/fd`
    descriptors: OwnedFd,
    /// `/proc` of this mount namespace.
    stage: Procfs,
}

impl Paths {
    /// `procfs` shows this process.
    ///
    /// # Errors
    /// When there is no procfs.
    pub(super) fn new(procfs: &Procfs) -> Result<Self> {
        let own = format!("{}/fd", procfs.own_directory()?);
        let descriptors = procfs.open_file(&own, OFlag::O_PATH | OFlag::O_DIRECTORY)?.into();
        Ok(Self { descriptors, stage: Procfs::open()? })
    }

    /// Calls mount(2) with open files for paths, and leaves the working directory at `/`.
    fn call(
        &self,
        source: Option<&str>,
        place: BorrowedFd<'_>,
        fstype: Option<&str>,
        flags: u64,
        data: Option<&str>,
    ) -> nix::Result<()> {
        fchdir(&self.descriptors)?;
        let done = mount(source, &*name(place), fstype, MsFlags::from_bits_retain(flags), data);
        chdir("/")?;
        done
    }

    /// Shows what is at `from` at `place` as well.
    ///
    /// # Errors
    /// Those of mount(2).
    pub(super) fn bind(
        &self,
        from: BorrowedFd<'_>,
        place: BorrowedFd<'_>,
        recursive: bool,
    ) -> nix::Result<()> {
        let flags = libc::MS_BIND | if recursive { libc::MS_REC } else { 0 };
        self.call(Some(&name(from)), place, None, flags, None)
    }

    /// Makes a file system at `place`.
    ///
    /// # Errors
    /// Those of mount(2).
    pub(super) fn mount_fs(&self, fs: &NewFs<'_>, place: BorrowedFd<'_>) -> Result<()> {
        let words = fs.flags.iter().filter_map(|word| SUPERBLOCK.iter().find(|row| row.0 == *word));
        let flags = words.fold(of_attributes(fs.attributes), |flags, (_, bit)| flags | bit);
        // Quotes, as a label may have commas of its own (SELinux takes them off).
        let label = fs.label.map(|label| format!("context=\"{label}\""));
        let data = fs.parameters().chain(label.as_deref()).collect::<Vec<_>>().join(",");
        let source = if fs.source.is_empty() { "none" } else { fs.source };
        self.call(Some(source), place, Some(fs.fstype), flags, Some(&data))
            .with_context(|| format!("mount the {} with {data:?}", fs.fstype))
            .map_err(|error| fs.explain(error))
    }

    /// Makes a file system, to be attached.
    ///
    /// # Errors
    /// Those of mount(2).
    pub(super) fn new_fs(&self, fs: &NewFs<'_>) -> Result<OwnedFd> {
        self.stage(true, |place| self.mount_fs(fs, place))
    }

    /// Copies the mount of `from`, to be attached.
    ///
    /// # Errors
    /// Those of mount(2).
    pub(super) fn copy(&self, from: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd> {
        let directory = kind(&fstat(from).context("stat")?) == SFlag::S_IFDIR;
        let bind = |place: BorrowedFd<'_>| self.bind(from, place, recursive).context("bind it");
        self.stage(directory, bind)
    }

    /// Has something mounted aside and returns the mount.
    fn stage(
        &self,
        directory: bool,
        make: impl FnOnce(BorrowedFd<'_>) -> Result<()>,
    ) -> Result<OwnedFd> {
        let [for_directories, for_files] = STAGE;
        let name = if directory { for_directories } else { for_files };
        let open = || {
            openat(&self.stage, name, PLACE, Mode::empty())
                .with_context(|| format!("open /proc/{name}"))
        };
        // Nothing that is mounted there may reach the host, and from a shared mount nothing can
        // be moved away.
        self.call(None, self.stage.as_fd(), None, libc::MS_PRIVATE, None)
            .context("make /proc private")?;
        let place = open()?;
        make(place.as_fd())?;
        let made = open()?;
        ensure!(mount_id(made.as_fd())? != mount_id(place.as_fd())?, "it is not at /proc/{name}");
        Ok(made)
    }

    /// Moves a mount.
    ///
    /// # Errors
    /// Those of mount(2).
    pub(super) fn attach(&self, mount: BorrowedFd<'_>, place: BorrowedFd<'_>) -> nix::Result<()> {
        self.call(Some(&name(mount)), place, None, libc::MS_MOVE, None)
    }

    /// Changes what mount_setattr(2) would.
    ///
    /// # Errors
    /// Those of mount(2); ENOSYS for attributes of a whole tree, which mount(2) does not change.
    pub(super) fn set(
        &self,
        mount: BorrowedFd<'_>,
        attributes: Attributes,
        recursive: bool,
    ) -> nix::Result<()> {
        let Attributes { set, clear, propagation } = attributes;
        if set | clear != 0 {
            if recursive {
                return Err(Errno::ENOSYS);
            }
            let now = of_statfs(fstatfs(mount)?.flags().bits());
            let flags = of_attributes(now & !clear | set);
            self.call(None, mount, None, libc::MS_REMOUNT | libc::MS_BIND | flags, None)?;
        }
        if propagation != 0 {
            let flags = propagation | if recursive { libc::MS_REC } else { 0 };
            self.call(None, mount, None, flags, None)?;
        }
        Ok(())
    }
}

/// The name of an open file in `/proc/self/fd`.
fn name(file: BorrowedFd<'_>) -> String {
    file.as_raw_fd().to_string()
}

/// The flags of mount(2) for attributes. A mode of access times is always among them, since a
/// remount without one keeps the old one.
fn of_attributes(attributes: u64) -> u64 {
    let times = match attributes & MOUNT_ATTR__ATIME {
        MOUNT_ATTR_NOATIME => libc::MS_NOATIME,
        MOUNT_ATTR_STRICTATIME => libc::MS_STRICTATIME,
        _ => libc::MS_RELATIME,
    };
    let rows = FLAGS.iter().filter(|(attribute, ..)| attributes & attribute != 0);
    rows.fold(times, |flags, (_, flag, _)| flags | flag)
}

/// The attributes for what statfs(2) says about a mount.
fn of_statfs(bits: u64) -> u64 {
    let times = match bits {
        _ if bits & ST_NOATIME != 0 => MOUNT_ATTR_NOATIME,
        _ if bits & ST_RELATIME != 0 => 0,
        _ => MOUNT_ATTR_STRICTATIME,
    };
    let rows = FLAGS.iter().filter(|(_, _, bit)| bits & bit != 0);
    rows.fold(times, |attributes, (attribute, ..)| attributes | attribute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_and_flags() {
        for (attributes, flags, statfs) in [
            (0, libc::MS_RELATIME, ST_RELATIME),
            (MOUNT_ATTR_NOATIME, libc::MS_NOATIME, ST_NOATIME),
            (MOUNT_ATTR_STRICTATIME, libc::MS_STRICTATIME, 0),
            (
                MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSYMFOLLOW,
                libc::MS_RELATIME | libc::MS_RDONLY | MS_NOSYMFOLLOW,
                ST_RELATIME | libc::ST_RDONLY | ST_NOSYMFOLLOW,
            ),
            (
                MOUNT_ATTR_NODIRATIME | MOUNT_ATTR_NOEXEC,
                libc::MS_RELATIME | libc::MS_NODIRATIME | libc::MS_NOEXEC,
                ST_RELATIME | libc::ST_NODIRATIME | libc::ST_NOEXEC,
            ),
        ] {
            assert_eq!(of_attributes(attributes), flags, "{attributes:x}");
            assert_eq!(of_statfs(statfs), attributes, "{statfs:x}");
        }
    }
}
