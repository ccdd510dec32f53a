//! `/dev`: device nodes, links, and `ptmx`.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, major, makedev, minor, mknodat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, symlinkat, unlinkat};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

use super::calls::Calls;
use super::fault;
use super::mount::is_directory;
use crate::resolve::{Missing, Root};
use crate::spec::defaults;
use crate::sys::stat::kind;

/// A device node or FIFO that the container gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    /// Its path inside the container, and on the host if it is bound from there.
    pub path: PathBuf,
    kind: SFlag,
    major: u64,
    minor: u64,
    mode: Mode,
    uid: u32,
    gid: u32,
    /// The JSON path for error texts.
    json: String,
}

/// When the host's node is bound in place of one that is made.
#[derive(Debug)]
pub(super) enum Bind {
    /// Nobody may make devices in a user namespace.
    Always,
    /// As before; the copy was made while the host's could be seen.
    Copy(OwnedFd),
    /// A sandbox may forbid it as well.
    IfDenied,
    /// The host's cannot be seen any more.
    Never,
}

const PTMX: &str = "/dev/ptmx";

impl Device {
    /// The default devices, each replaced by a configured one with the same path, and the other
    /// configured ones. `/dev/ptmx` is not among them: it becomes a link, and a node bound there
    /// could not be removed for that.
    #[must_use]
    pub(super) fn list(configured: &[LinuxDevice]) -> Vec<Self> {
        let mut list: Vec<_> = defaults::DEVICES.iter().map(Self::default_device).collect();
        for (index, device) in configured.iter().enumerate() {
            let device = Self::from_spec(index, device);
            if device.path == Path::new(PTMX) {
                continue;
            }
            let mut defaults = list.iter_mut().take(defaults::DEVICES.len());
            match defaults.find(|other| other.path == device.path) {
                Some(other) => *other = device,
                None => list.push(device),
            }
        }
        list
    }

    fn default_device(device: &defaults::Device) -> Self {
        Self {
            path: device.path.into(),
            kind: SFlag::S_IFCHR,
            major: device.major,
            minor: device.minor,
            mode: Mode::from_bits_truncate(0o666),
            uid: 0,
            gid: 0,
            json: "default device".to_string(),
        }
    }

    fn from_spec(index: usize, device: &LinuxDevice) -> Self {
        let kind = match device.typ() {
            LinuxDeviceType::B => SFlag::S_IFBLK,
            LinuxDeviceType::P => SFlag::S_IFIFO,
            LinuxDeviceType::A | LinuxDeviceType::C | LinuxDeviceType::U => SFlag::S_IFCHR,
        };
        let fifo = kind == SFlag::S_IFIFO;
        let number = |number: i64| if fifo { 0 } else { number.unsigned_abs() };
        Self {
            path: device.path().clone(),
            kind,
            major: number(device.major()),
            minor: number(device.minor()),
            // Docker writes the file type bits of the host's node along (BXD-10).
            mode: Mode::from_bits_truncate(device.file_mode().unwrap_or(0o666) & 0o777),
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
            json: format!("linux.devices[{index}]"),
        }
    }

    /// Makes the node below `root`, or binds that of the host.
    ///
    /// # Errors
    /// When something else is at its path (DEV-05), or it can be neither made nor bound.
    pub(super) fn make(&self, calls: &Calls, root: &Root, bind: Bind) -> Result<()> {
        if fault::skips(|| format!("device {}", self.path.display())) {
            return Ok(());
        }
        let make = || {
            let parent = root.open_parent(&self.path, Missing::MakeDirectory);
            let (dir, name) = parent.context("open its directory")?;
            match bind {
                Bind::Always if self.is_bound() => self.bind(calls, &dir, name),
                Bind::Copy(node) => {
                    let target = open_mount_point(&dir, name)?;
                    calls.attach(node.as_fd(), target.as_fd()).context("attach it")
                }
                other => self.make_node(calls, &dir, name, matches!(other, Bind::IfDenied)),
            }
        };
        self.context(make())
    }

    /// Adds what every error of this device says first.
    pub(super) fn context<T>(&self, result: Result<T>) -> Result<T> {
        result.with_context(|| format!("{}: {}", self.json, self.path.display()))
    }

    /// In a user namespace. A FIFO is no device: everybody may make one.
    pub(super) fn is_bound(&self) -> bool {
        self.kind != SFlag::S_IFIFO
    }

    fn make_node(&self, calls: &Calls, dir: &OwnedFd, name: &OsStr, or_bind: bool) -> Result<()> {
        let number = makedev(self.major, self.minor);
        match mknodat(dir, name, self.kind, self.mode, number) {
            Ok(()) => self.give_away(dir, name),
            Err(Errno::EEXIST) => self.check_existing(dir, name),
            Err(Errno::EPERM) if or_bind => self.bind(calls, dir, name),
            Err(errno) => Err(errno).context("mknod"),
        }
    }

    fn give_away(&self, dir: &OwnedFd, name: &OsStr) -> Result<()> {
        if (self.uid, self.gid) == (0, 0) {
            return Ok(());
        }
        let (uid, gid) = (Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)));
        fchownat(dir, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)
            .with_context(|| format!("give it to {}:{}", self.uid, self.gid))
    }

    fn check_existing(&self, dir: &OwnedFd, name: &OsStr) -> Result<()> {
        let stat = fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).context("stat")?;
        ensure!(self.is(&stat), "another file is there already");
        Ok(())
    }

    /// Looks whether `found` is this device.
    ///
    /// # Errors
    /// When it is another file.
    pub(super) fn check(&self, found: &OwnedFd) -> Result<()> {
        ensure!(self.is(&fstat(found).context("stat")?), "another file is there");
        Ok(())
    }

    fn is(&self, stat: &FileStat) -> bool {
        let kind = kind(stat);
        let number = (major(stat.st_rdev), minor(stat.st_rdev));
        kind == self.kind && (kind == SFlag::S_IFIFO || number == (self.major, self.minor))
    }

    fn bind(&self, calls: &Calls, dir: &OwnedFd, name: &OsStr) -> Result<()> {
        let node = self.open_of_host()?;
        calls.bind(node.as_fd(), open_mount_point(dir, name)?.as_fd())
    }

    /// Opens the host's node.
    pub(super) fn open_of_host(&self) -> Result<OwnedFd> {
        let node = open(&self.path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
            .context("open the host's node")?;
        let stat = fstat(&node).context("stat the host's node")?;
        ensure!(self.is(&stat), "the host has another device there");
        Ok(node)
    }
}

/// Opens a file to mount on, which is made if it is missing. Opening a device could do anything,
/// so what is there already is not opened for its content.
fn open_mount_point(dir: &OwnedFd, name: &OsStr) -> Result<OwnedFd> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(dir, name, flags, Mode::from_bits_truncate(0o644)) {
        Err(Errno::EEXIST) => {
            openat(dir, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
        }
        other => other,
    }
    .context("open the file to bind to")
}

/// Shows the program's terminal as `/dev/console` (DDV-07).
///
/// # Errors
/// When a link is there (CVE-2026-88264), or it cannot be mounted.
pub(super) fn mount_console(calls: &Calls, root: &Root, terminal: BorrowedFd<'_>) -> Result<()> {
    let (dir, name) = root.open_parent(Path::new("/dev/console"), Missing::MakeDirectory)?;
    let target = open_mount_point(&dir, name)?;
    ensure!(kind(&fstat(&target)?) != SFlag::S_IFLNK, "it is a symbolic link");
    calls.bind(terminal, target.as_fd())
}

/// Opens the container's own `/dev`, which is made if it is missing. A link of the image could make
/// a directory of a volume of it (CVE-2026-41579).
///
/// # Errors
/// When it is a link or no directory, and those of mkdirat(2).
pub(super) fn open_own(root: &Root) -> Result<OwnedFd> {
    let dev = match root.open_last_plain_or_make(Path::new("/dev")) {
        Err(Errno::ELOOP) => bail!("/dev is a symbolic link"),
        other => other.context("open /dev")?.0,
    };
    ensure!(is_directory(&dev)?, "/dev is not a directory");
    Ok(dev)
}

/// Makes the links in `dev` whose targets exist, and leaves those alone that are there.
///
/// # Errors
/// Those of symlinkat(2).
pub(super) fn make_links(root: &Root, dev: &OwnedFd) -> Result<()> {
    for (path, target) in defaults::LINKS {
        let exists = root.open(Path::new(target), OFlag::O_PATH | OFlag::O_NOFOLLOW).is_ok();
        let Some(name) = Path::new(path).file_name().filter(|_| exists) else { continue };
        match symlinkat(target, dev, name) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno).with_context(|| format!("make the link {path}")),
        }
    }
    link_ptmx(dev)
}

/// `/dev/ptmx` opens a terminal of the container's own devpts, whatever the image has there.
fn link_ptmx(dev: &OwnedFd) -> Result<()> {
    match unlinkat(dev, "ptmx", UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(Errno::EISDIR) => bail!("/dev/ptmx is a directory"),
        Err(errno) => return Err(errno).context("remove /dev/ptmx"),
    }
    symlinkat("pts/ptmx", dev, "ptmx").context("make the link /dev/ptmx")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn configured_devices_replace_defaults() {
        let configured: Vec<LinuxDevice> = serde_json::from_value(json!([
            {"path": "/dev/zero", "type": "u", "major": 1, "minor": 5, "fileMode": 8630},
            {"path": "/dev//ptmx", "type": "c", "major": 5, "minor": 2},
            {"path": "/run/pipe", "type": "p", "fileMode": 384, "uid": 5, "major": 9}]))
        .unwrap();
        let list = Device::list(&configured);
        assert_eq!(list.len(), defaults::DEVICES.len() + 1);
        let zero = list.iter().find(|device| device.path == Path::new("/dev/zero")).unwrap();
        assert_eq!((zero.kind, zero.mode.bits()), (SFlag::S_IFCHR, 0o666));
        assert_eq!(zero.json, "linux.devices[0]");
        let pipe = list.last().unwrap();
        assert_eq!((pipe.kind, pipe.mode.bits(), pipe.major), (SFlag::S_IFIFO, 0o600, 0));
        assert_eq!(pipe.uid, 5);
    }
}
