//! Paths below a root, one component at a time: where a sandbox lacks openat2, and where a component
//! has to be made.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use super::{DIRECTORY_MODE, Missing, PROC_ROOT_INODE};
use crate::sys::stat::{kind, mount_id};

/// Links on one path, as the kernel counts them: `MAXSYMLINKS`.
const LINKS: usize = 40;

/// Mode of an empty file made for a mount point; runc's.
const FILE_MODE: Mode = Mode::from_bits_truncate(0o644);

/// [`super::open_beneath`] without openat2.
///
/// # Errors
/// As there, and EAGAIN when something else is there by the second look.
pub(super) fn step_by_step(dir: BorrowedFd<'_>, name: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let mut above = openat(dir, ".", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    let mount = mount_id(above.as_fd())?;
    let mut components = name.components().peekable();
    while let Some(component) = components.next() {
        let Component::Normal(component) = component else { return Err(Errno::EXDEV) };
        let here = openat(&above, component, PEEK, Mode::empty())?;
        if kind(&fstat(&here)?) == SFlag::S_IFLNK {
            return Err(Errno::ELOOP);
        }
        if mount_id(here.as_fd())? != mount {
            return Err(Errno::EXDEV);
        }
        if components.peek().is_none() {
            return reopen(here, above.as_fd(), component, flags);
        }
        above = here;
    }
    openat(&above, ".", flags | OFlag::O_CLOEXEC, Mode::empty())
}

/// Looks at what is there, whatever it is.
pub(super) const PEEK: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Opens with `flags` what `found`, an `O_PATH` descriptor, was found to be: `name` in `above`.
///
/// # Errors
/// EAGAIN when something else is there by now, else those of openat(2).
fn reopen(
    found: OwnedFd,
    above: BorrowedFd<'_>,
    name: &OsStr,
    flags: OFlag,
) -> nix::Result<OwnedFd> {
    if flags.contains(OFlag::O_PATH) {
        return Ok(found);
    }
    let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let opened = openat(above, name, flags, Mode::empty())?;
    let (stat, wanted) = (fstat(&opened)?, fstat(&found)?);
    let same = (stat.st_dev, stat.st_ino) == (wanted.st_dev, wanted.st_ino)
        && mount_id(opened.as_fd())? == mount_id(found.as_fd())?;
    if same { Ok(opened) } else { Err(Errno::EAGAIN) }
}

/// Resolves `path` below `root` one component at a time, making what is missing, and opens it
/// with `flags`.
///
/// # Errors
/// ELOOP after too many links or at a magic link, ENOTDIR below a file, else those of openat(2),
/// mkdirat(2) and readlinkat(2).
pub(super) fn walk(
    root: BorrowedFd<'_>,
    path: &Path,
    missing: Missing,
    flags: OFlag,
) -> nix::Result<OwnedFd> {
    let mut walk = Walk { root, open: Vec::new(), links: 0 };
    let mut todo = components(path);
    while let Some(component) = todo.pop() {
        if component == ".." {
            walk.open.pop();
            continue;
        }
        let here = walk.step(&component, todo.is_empty(), missing)?;
        let stat = fstat(&here)?;
        let last_link = todo.is_empty() && flags.contains(OFlag::O_NOFOLLOW);
        match kind(&stat) {
            SFlag::S_IFLNK if !last_link => todo.extend(walk.follow(&here)?),
            SFlag::S_IFDIR => walk.open.push(here),
            _ if todo.is_empty() => return reopen(here, walk.here(), &component, flags),
            _ => return Err(Errno::ENOTDIR),
        }
    }
    openat(walk.here(), ".", flags | OFlag::O_CLOEXEC, Mode::empty())
}

/// The components of a path, last one first; a leading slash and `.` say nothing here.
fn components(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter(|component| matches!(component, Component::Normal(_) | Component::ParentDir))
        .map(|component| component.as_os_str().to_owned())
        .collect()
}

struct Walk<'a> {
    root: BorrowedFd<'a>,
    /// The directories between the root and here.
    open: Vec<OwnedFd>,
    links: usize,
}

impl Walk<'_> {
    fn here(&self) -> BorrowedFd<'_> {
        self.open.last().map_or(self.root, AsFd::as_fd)
    }

    fn step(&self, name: &OsStr, last: bool, missing: Missing) -> nix::Result<OwnedFd> {
        let here = self.here();
        match openat(here, name, PEEK, Mode::empty()) {
            Err(Errno::ENOENT) if missing == Missing::Fail => return Err(Errno::ENOENT),
            Err(Errno::ENOENT) => {}
            other => return other,
        }
        if last && missing == Missing::MakeFile {
            let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            match openat(here, name, flags, FILE_MODE) {
                Ok(_) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno),
            }
        } else {
            match mkdirat(here, name, DIRECTORY_MODE) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        openat(here, name, PEEK, Mode::empty())
    }

    /// Reads the link `link` and returns its components; an absolute one goes back to the root.
    fn follow(&mut self, link: &OwnedFd) -> nix::Result<Vec<OsString>> {
        self.links += 1;
        // Links at the root of procfs (`self`, `mounts`) are ordinary; those below lead anywhere.
        let magic = fstatfs(link)?.filesystem_type() == PROC_SUPER_MAGIC
            && fstat(self.here())?.st_ino != PROC_ROOT_INODE;
        if magic || self.links > LINKS {
            return Err(Errno::ELOOP);
        }
        let target = readlinkat(link, "")?;
        if Path::new(&target).is_absolute() {
            self.open.clear();
        }
        Ok(components(Path::new(&target)))
    }
}
