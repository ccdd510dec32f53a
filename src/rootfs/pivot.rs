//! Changing the root: pivot_root(2), or moving the root where that cannot be.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, chroot, fchdir, pivot_root};

use super::calls::Calls;
use crate::host::mount_table;
use crate::resolve::Root;
use crate::sys;
use crate::sys::mount::Attributes;

const DIRECTORY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// Sets the propagation of every mount of the new namespace, so that what init mounts does not
/// reach the host.
///
/// # Errors
/// Those of mount_setattr(2).
pub(super) fn isolate(calls: &Calls, propagation: u64) -> Result<()> {
    let root = open("/", DIRECTORY, Mode::empty()).context("open /")?;
    let attributes = Attributes { propagation, ..Attributes::default() };
    calls.set(root.as_fd(), attributes, true).context("change propagation of /")
}

/// Opens the directory that is the root file system.
///
/// # Errors
/// Those of open(2).
pub(super) fn open_root(path: &Path) -> Result<Root> {
    let root = open(path, DIRECTORY, Mode::empty());
    root.map(Root::new).with_context(|| format!("open {}", path.display()))
}

/// Mounts the root file system, the directory `here` at `path`, on itself and returns the mount.
///
/// It is private if the mount it was made from is, see [`make_parent_private`], and else a slave
/// of it: host mounts below it then reach the container. None of the container's reach the host.
///
/// # Errors
/// Those of open_tree(2), mount_setattr(2) and move_mount(2).
pub(super) fn attach_root(calls: &Calls, here: &Root, path: &Path) -> Result<Root> {
    let tree = calls.copy(here.as_fd(), true).with_context(|| path.display().to_string())?;
    let attributes = Attributes { propagation: libc::MS_SLAVE, ..Attributes::default() };
    calls.set(tree.as_fd(), attributes, true).context("make it a slave")?;
    calls.attach(tree.as_fd(), here.as_fd()).context("attach it")?;
    Ok(Root::new(tree))
}

/// Makes the mount that holds `here`, the directory at `path`, private: pivot_root(2) wants the
/// parent of the new root not to be shared, and attaching the root below a shared mount would show
/// it on the host. What is bound from that mount is private as well then, as under runc.
///
/// The root of the mount is the first directory on the way up that the kernel takes for one.
///
/// # Errors
/// When that mount cannot be found or changed.
pub(super) fn make_parent_private(calls: &Calls, here: &Root, path: &Path) -> Result<()> {
    let mut here = here.as_fd().try_clone_to_owned().context("copy a descriptor")?;
    for _ in path.ancestors() {
        let private = Attributes { propagation: libc::MS_PRIVATE, ..Attributes::default() };
        match calls.set(here.as_fd(), private, false) {
            Err(Errno::EINVAL) => {}
            other => return other.context("make the parent mount private"),
        }
        here = openat(&here, "..", DIRECTORY, Mode::empty())
            .with_context(|| format!("open the directory above {}", path.display()))?;
    }
    bail!("the mount of {} cannot be found", path.display())
}

/// mountinfo writes blanks and backslashes as `\` and three octal digits (proc_pid_mountinfo(5)).
fn unescape(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let code = match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { tail.get(3..).unwrap_or_default() } else { tail };
    }
    OsString::from_vec(bytes).into()
}

/// Where the mount of a line of the mount table is, and its type.
fn parse_line(line: &[u8]) -> Option<(PathBuf, &[u8])> {
    let mut words = line.split(|byte| *byte == b' ');
    let point = unescape(words.nth(4)?);
    // The fields after the options end with a dash.
    words.find(|word| *word == b"-")?;
    Some((point, words.next()?))
}

/// Makes `root` the root of this mount namespace and takes the host's mounts away.
///
/// pivot_root(".", ".") puts the old root on top of the new one, so it needs no directory in the
/// image to go to. If mounts of the host are `shared` with it, they are made slaves before they
/// are taken away, so that nothing is unmounted on the host; else [`isolate`] has done so.
///
/// # Errors
/// Those of pivot_root(2) and umount2(2).
pub(super) fn pivot(calls: &Calls, root: &Root, shared: bool) -> Result<()> {
    let old = open("/", DIRECTORY, Mode::empty()).context("open /")?;
    fchdir(root.as_fd()).context("enter the root file system")?;
    match pivot_root(".", ".") {
        Err(Errno::EINVAL) => {
            bail!("pivot_root: invalid argument (on a ramdisk, --no-pivot is needed)")
        }
        other => other.context("pivot_root")?,
    }
    if shared {
        let attributes = Attributes { propagation: libc::MS_SLAVE, ..Attributes::default() };
        calls.set(old.as_fd(), attributes, true).context("make the old root a slave")?;
    }
    // Which of the two is the current directory now, the kernel does not promise.
    fchdir(&old).context("enter the old root")?;
    drop(old);
    umount2(".", MntFlags::MNT_DETACH).context("unmount the old root")?;
    chdir("/").context("enter the new root")
}

/// Moves `root` over the host's root and changes to it, for a host on a ramdisk, which cannot be
/// pivoted away from (`--no-pivot`).
///
/// The host's mounts stay below. Its procfs and sysfs would let a process of the container mount
/// its own ones without the masks (the kernel asks whether one is fully visible), so they are
/// unmounted first, or covered where they are locked.
///
/// # Errors
/// Those of umount2(2), mount(2) and chroot(2).
pub(super) fn move_root(root: &Root, path: &Path) -> Result<()> {
    for line in mount_table()?.split(|byte| *byte == b'\n') {
        let Some((point, fstype)) = parse_line(line) else { continue };
        if ![&b"proc"[..], b"sysfs"].contains(&fstype) || point.starts_with(path) {
            continue;
        }
        let private = MsFlags::MS_SLAVE | MsFlags::MS_REC;
        // A mount below one that is already gone is gone as well.
        let _ = mount(None::<&str>, &point, None::<&str>, private, None::<&str>);
        match umount2(&point, MntFlags::MNT_DETACH) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(Errno::EINVAL | Errno::EPERM) => cover(&point)?,
            Err(errno) => {
                return Err(errno).with_context(|| format!("unmount {}", point.display()));
            }
        }
    }
    fchdir(root.as_fd()).context("enter the root file system")?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .context("move the root file system to /")?;
    chroot(".").context("change the root")?;
    chdir("/").context("enter the new root")
}

fn cover(point: &Path) -> Result<()> {
    match mount(Some("tmpfs"), point, Some("tmpfs"), MsFlags::empty(), None::<&str>) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno).with_context(|| format!("cover {}", point.display())),
    }
}

/// Changes the root without a mount namespace of the container's own.
///
/// # Errors
/// Those of chroot(2).
pub(super) fn change_root(root: &Root) -> Result<()> {
    fchdir(root.as_fd()).context("enter the root file system")?;
    chroot(".").context("change the root")?;
    chdir("/").context("enter the new root")
}

/// Gives a mount that is attached nowhere a place below the old root, so that it goes away with
/// it: taking it away by itself would cost the kernel's wait for all readers of the mount table
/// once more. Where there is no such place, that is what happens.
pub(super) fn bury(mount: OwnedFd, place: &Path) {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    if let Ok(place) = open(place, flags, Mode::empty()) {
        let _ = sys::mount::move_mount(mount.as_fd(), place.as_fd());
    }
}

#[cfg(test)]
mod tests {
    use super::{parse_line, unescape};
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    #[test]
    fn paths_of_the_mount_table() {
        for (text, want) in [
            (&b"/a"[..], &b"/a"[..]),
            (b"/a\\040b", b"/a b"),
            (b"/a\\134b\\011", b"/a\\b\t"),
            (b"\\04", b"\\04"),
            (b"\\999", b"\\999"),
            (b"/\xff", b"/\xff"),
        ] {
            assert_eq!(unescape(text), Path::new(OsStr::from_bytes(want)), "{text:?}");
        }
    }

    #[test]
    fn lines_of_the_mount_table() {
        for (line, want) in [
            (&b"66 65 0:40 / /proc rw,relatime - proc proc rw"[..], Some(("/proc", &b"proc"[..]))),
            (b"1 2 0:3 / /s rw shared:1 master:2 - sysfs x rw", Some(("/s", b"sysfs"))),
            (b"1 2 0:3 / /s rw", None),
            (b"", None),
        ] {
            let want = want.map(|(point, fstype)| (point.into(), fstype));
            assert_eq!(parse_line(line), want, "{line:?}");
        }
    }
}
