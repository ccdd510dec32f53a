//! Where mounts may go: what the document says, and what links of the image may make of it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use super::mount::{Kind, Mount, is_directory};
use crate::resolve::{Missing, Root, inside};
use crate::sys::stat::mount_id;

/// Files of procfs that may be replaced by a bind mount: what lxcfs and CRIU put there. Anything
/// else below `/proc` would let a volume stand in for a file that the runtime writes
/// (CVE-2019-16884).
const PROC_FILES: [&str; 10] = [
    "cpuinfo",
    "diskstats",
    "loadavg",
    "meminfo",
    "slabinfo",
    "stat",
    "swaps",
    "sys/crypto/fips_enabled",
    "sys/kernel/ns_last_pid",
    "uptime",
];

impl Mount {
    /// Only procfs may cover `/proc`, and only known files of it may be replaced (BXM-06).
    pub(super) fn check_destination(&self) -> Result<()> {
        ensure!(
            self.destination != Path::new("/"),
            "destination: a mount on / would replace the root file system"
        );
        let Ok(below) = self.destination.strip_prefix("/proc") else { return Ok(()) };
        let allowed = match &self.kind {
            Kind::Remount => true,
            // Whether the source of a bind is procfs is known once it is open.
            Kind::Bind { .. } if below.as_os_str().is_empty() => true,
            Kind::Bind { .. } => PROC_FILES.iter().any(|file| below == Path::new(file)),
            Kind::Fs { fstype, .. } => fstype == "proc" && below.as_os_str().is_empty(),
            Kind::Cgroup => false,
        };
        ensure!(
            allowed,
            "destination: {} cannot be mounted because it is inside /proc",
            self.destination.display()
        );
        Ok(())
    }

    /// Opens the destination, which is made if it is missing: a directory for a directory, an
    /// empty file for anything else. Says whether it was made.
    pub(super) fn open_destination(&self, root: &Root, directory: bool) -> Result<(OwnedFd, bool)> {
        let (target, made) = match self.open_as_named(root)? {
            Some(target) => (target, false),
            None => self.open_or_make(root, directory)?,
        };
        match (directory, is_directory(&target)?) {
            (true, false) => bail!("not a directory: the destination, but the source is one"),
            // The word of mount(2): Docker takes `is a directory` for a wrong program.
            (false, true) => bail!("not a directory: the source, but the destination is one"),
            _ => Ok((target, made)),
        }
    }

    /// Opens what is at the destination if no link says what that is, so that its name has been
    /// checked already.
    fn open_as_named(&self, root: &Root) -> Result<Option<OwnedFd>> {
        if self.is_plain_only() {
            return Ok(None);
        }
        match root.open_without_links(&self.destination) {
            Err(Errno::ELOOP | Errno::ENOENT | Errno::ENOSYS) => Ok(None),
            other => other.context("open the destination").map(Some),
        }
    }

    /// `/proc` and `/sys`, where no link and no mount may be in the way of those of the kernel:
    /// CVE-2019-19921, CVE-2023-27561.
    fn is_plain_only(&self) -> bool {
        let places = ["/proc", "/sys"].map(Path::new);
        self.is_of_the_kernel() && places.contains(&self.destination.as_path())
    }

    fn open_or_make(&self, root: &Root, directory: bool) -> Result<(OwnedFd, bool)> {
        let (path, kernel) = (&self.destination, self.is_of_the_kernel());
        let missing = if directory { Missing::MakeDirectory } else { Missing::MakeFile };
        let opened = match kernel {
            true if self.is_plain_only() => root.open_plain_or_make(path),
            true => root.open_last_plain_or_make(path),
            false => root.open_or_make(path, missing),
        };
        let (target, made) = match (opened, &self.kind) {
            (Err(Errno::ELOOP), Kind::Fs { fstype, .. }) if kernel => {
                bail!("filesystem \"{fstype}\" must be mounted on ordinary directory")
            }
            (other, _) => other.context("open the destination")?,
        };
        self.check_place(root, &target)?;
        Ok((target, made))
    }

    /// Opens what is mounted at the destination.
    pub(super) fn open_mounted(&self, root: &Root) -> Result<OwnedFd> {
        if let Some(found) = self.open_as_named(root)? {
            return Ok(found);
        }
        let found = root.open(&self.destination, OFlag::O_PATH).context("open the destination")?;
        self.check_place(root, &found)?;
        Ok(found)
    }

    /// Links of the image say where in the image a destination is. But they must not lead to where
    /// the document could not have had it: over the root, which programs that join would then
    /// enter, or into `/proc`. Nor to `/dev`, as the runtime makes and removes files there: those
    /// would be files of the volume (as in CVE-2026-41579).
    fn check_place(&self, root: &Root, target: &OwnedFd) -> Result<()> {
        let destination = self.destination.display();
        let place = Place::of(target.as_fd())?;
        ensure!(
            place != Place::of(root.as_fd())?,
            "destination: {destination} is on the top of rootfs, which a mount would replace"
        );
        if let Ok(dev) = root.open(Path::new("/dev"), OFlag::O_PATH) {
            ensure!(
                self.destination == Path::new("/dev") || place != Place::of(dev.as_fd())?,
                "destination: {destination} leads to /dev, where the runtime makes devices and links"
            );
        }
        let Ok(proc) = root.open(Path::new("/proc"), OFlag::O_PATH) else { return Ok(()) };
        let inside = fstatfs(&proc)?.filesystem_type() == PROC_SUPER_MAGIC
            && place.mount == mount_id(proc.as_fd())?;
        ensure!(
            !inside || self.destination.starts_with("/proc"),
            "destination: {destination} cannot be mounted because it is inside /proc"
        );
        Ok(())
    }
}

/// A file in one mount.
#[derive(PartialEq, Eq)]
struct Place {
    mount: u64,
    device: u64,
    inode: u64,
}

impl Place {
    fn of(file: BorrowedFd<'_>) -> Result<Self> {
        let stat = fstat(file).context("stat")?;
        let mount = mount_id(file).context("statx")?;
        Ok(Self { mount, device: stat.st_dev, inode: stat.st_ino })
    }
}

/// The path as the container sees it: from its root, with `.` and `..` taken out.
pub(super) fn clean(path: &Path) -> PathBuf {
    Path::new("/").join(inside(path))
}
