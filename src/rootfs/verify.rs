//! The last look: what keeps the container in is looked at once more, through descriptors and by
//! other calls than those that made it. That a call returned 0 is no proof (a fallback that went
//! unnoticed gave a container the host's root: crun issues 2262 and 2264).

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{FsType, PROC_SUPER_MAGIC, SYSFS_MAGIC, TMPFS_MAGIC, fstatfs};
use nix::sys::statvfs::FsFlags;

use super::mount::{Kind, Mount};
use super::{Rootfs, Tree, mask};
use crate::procfs::Procfs;
use crate::sys::mount::{
    Attributes, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY,
    list_mounts,
};
use crate::sys::stat::{mount_id, unique_mount_id};

/// Attributes, and the flags as which statfs(2) shows them.
const FLAGS: [(u64, FsFlags); 4] = [
    (MOUNT_ATTR_RDONLY, FsFlags::ST_RDONLY),
    (MOUNT_ATTR_NOSUID, FsFlags::ST_NOSUID),
    (MOUNT_ATTR_NODEV, FsFlags::ST_NODEV),
    (MOUNT_ATTR_NOEXEC, FsFlags::ST_NOEXEC),
];

/// Looks whether the root, the mounts, and the masked and read-only paths are what was asked for.
///
/// # Errors
/// The first that is not in force, with its JSON path.
pub(super) fn verify(rootfs: &Rootfs, tree: &Tree, procfs: &Procfs) -> Result<()> {
    let ids = Ids::read(procfs).context("list the mounts")?;
    root(rootfs, tree, &ids)?;
    let all: Vec<_> = tree.attached(rootfs).collect();
    for (index, (mount, attached)) in all.iter().enumerate() {
        let later = all.get(index + 1..).unwrap_or_default();
        mount.context(mounted(mount, attached, later, &ids, procfs))?;
    }
    kernel_file_systems(rootfs, tree)?;
    null_device(rootfs, tree)?;
    for path in &rootfs.masked {
        let Some(found) = mask::find(&tree.root, path)? else { continue };
        ensure!(is_hidden(&found)?, "linux.maskedPaths: {path} is not hidden");
    }
    for path in rootfs.read_only_paths.iter().filter(|path| !is_masked(path, &rootfs.masked)) {
        let Some(found) = mask::find(&tree.root, path)? else { continue };
        ensure!(has(&found, FsFlags::ST_RDONLY)?, "linux.readonlyPaths: {path} is writable");
    }
    Ok(())
}

fn root(rootfs: &Rootfs, tree: &Tree, ids: &Ids) -> Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let here = open("/", flags, Mode::empty()).context("open /")?;
    let same = ids.of(here.as_fd())? == ids.of(tree.root.as_fd())?;
    ensure!(same, "root.path: / is not the container's root file system");
    if rootfs.read_only {
        ensure!(has(&here, FsFlags::ST_RDONLY)?, "root.readonly: / is writable");
    }
    Ok(())
}

fn mounted(
    mount: &Mount,
    attached: &OwnedFd,
    later: &[(&Mount, &OwnedFd)],
    ids: &Ids,
    procfs: &Procfs,
) -> Result<()> {
    let id = ids.of(attached.as_fd())?;
    ensure!(ids.attached.contains(&id), "it is not attached");
    for (other, found) in later.iter().filter(|(other, _)| other.kind == Kind::Remount) {
        let whole_tree = other.options.recursive != Attributes::default();
        if whole_tree || ids.of(found.as_fd())? == id {
            // That one says what is in force now.
            return Ok(());
        }
    }
    if mount.kind == Kind::Cgroup && mount.options.read_only() {
        hierarchies(attached, procfs)?;
    }
    let recursive = mount.options.recursive;
    let wanted = mount.options.set & !recursive.clear | recursive.set;
    if FLAGS.iter().all(|(attribute, _)| wanted & attribute == 0) {
        // A server that does not answer is nothing to wait for (FUSE, NFS).
        return Ok(());
    }
    let flags = fstatfs(attached).context("statfs")?.flags();
    for (attribute, flag) in FLAGS {
        let missing = wanted & attribute != 0 && !flags.contains(flag);
        ensure!(!missing, "{flag:?} is not in force");
    }
    Ok(())
}

/// The hierarchies of cgroup v1 are mounts of their own below the one that is listed.
fn hierarchies(view: &OwnedFd, procfs: &Procfs) -> Result<()> {
    let view = mount_id(view.as_fd()).context("statx")?.to_string();
    for line in mount_table(procfs)?.lines() {
        let Some((head, tail)) = line.split_once(" - ") else { continue };
        let mut words = head.split(' ').skip(1);
        let below = words.next() == Some(&view) && tail.starts_with("cgroup");
        let (point, options) = (words.nth(2), words.next().unwrap_or_default());
        let writable = below && !options.split(',').any(|option| option == "ro");
        ensure!(!writable, "{} is writable", point.unwrap_or_default());
    }
    Ok(())
}

fn mount_table(procfs: &Procfs) -> Result<String> {
    procfs.read(&format!("{}/mountinfo", procfs.own_directory()?))
}

/// What a program trusts to come from the kernel does, and is what was mounted there, or the
/// read-only copy of that.
fn kernel_file_systems(rootfs: &Rootfs, tree: &Tree) -> Result<()> {
    for (path, magic) in [("/proc", PROC_SUPER_MAGIC), ("/sys", SYSFS_MAGIC)] {
        let at = tree.attached(rootfs).filter(|(mount, _)| mount.destination == Path::new(path));
        let Some((mount, attached)) = at.last().filter(|(mount, _)| mount.is_of_the_kernel())
        else {
            continue;
        };
        if is_masked(path, &rootfs.masked) {
            continue;
        }
        let found = tree.root.open(Path::new(path), OFlag::O_PATH | OFlag::O_NOFOLLOW);
        let looked = found.context("open it").and_then(|found| {
            let root = |file: &OwnedFd| fstat(file).map(|stat| (stat.st_dev, stat.st_ino));
            let same = root(&found)? == root(attached)?;
            ensure!(same && is(&found, magic)?, "something else is there");
            Ok(())
        });
        mount.context(looked)?;
    }
    Ok(())
}

/// What hides files and takes the place of standard streams is what the document says: by default
/// the null device.
fn null_device(rootfs: &Rootfs, tree: &Tree) -> Result<()> {
    let path = Path::new("/dev/null");
    let Some(device) = rootfs.devices.iter().find(|device| device.path == path) else {
        return Ok(());
    };
    if is_masked("/dev/null", &rootfs.masked) {
        return Ok(());
    }
    let found = tree.root.open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW);
    let found = device.context(found.context("open it"))?;
    device.context(device.check(&found))
}

/// Covered by the null device, or by an empty directory that stays empty.
fn is_hidden(found: &OwnedFd) -> Result<bool> {
    Ok(mask::is_null(found)? || (is(found, TMPFS_MAGIC)? && has(found, FsFlags::ST_RDONLY)?))
}

/// The path, or one above it, is masked.
fn is_masked(path: &str, masked: &[String]) -> bool {
    masked.iter().any(|masked| Path::new(path).starts_with(masked))
}

fn has(file: &OwnedFd, flag: FsFlags) -> Result<bool> {
    Ok(fstatfs(file).context("statfs")?.flags().contains(flag))
}

fn is(file: &OwnedFd, magic: FsType) -> Result<bool> {
    Ok(fstatfs(file).context("statfs")?.filesystem_type() == magic)
}

/// The mounts below the root.
struct Ids {
    attached: HashSet<u64>,
    /// By listmount(2) and numbers that are never used again; else by the mount table.
    unique: bool,
}

impl Ids {
    fn read(procfs: &Procfs) -> Result<Self> {
        match list_mounts() {
            Ok(list) => Ok(Self { attached: list.into_iter().collect(), unique: true }),
            Err(Errno::ENOSYS | Errno::EPERM) => {
                let table = mount_table(procfs)?;
                let first = |line: &str| line.split(' ').next().and_then(|id| id.parse().ok());
                Ok(Self { attached: table.lines().filter_map(first).collect(), unique: false })
            }
            Err(errno) => Err(errno).context("listmount"),
        }
    }

    fn of(&self, file: BorrowedFd<'_>) -> Result<u64> {
        let id = if self.unique { unique_mount_id(file) } else { mount_id(file) };
        id.context("statx")
    }
}
