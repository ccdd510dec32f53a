//! `tmpcopyup`: a new tmpfs begins with a copy of what it covers.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use nix::dir::{Dir, OwningIter};
use nix::fcntl::AtFlags;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmodat, fstat, mkdirat, mknodat,
    utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat, symlinkat};

use crate::sys::stat::kind;

/// Copies the tree below the directory `from`, which is of the image, into the empty directory
/// `to`, with owners, modes and times. No link is followed.
///
/// # Errors
/// The first file that cannot be read or made, by name.
pub(super) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let mut open = vec![Level::open(from, to)?];
    while let Some(level) = open.last_mut() {
        let Some(entry) = level.entries.next() else {
            open.pop();
            continue;
        };
        let entry = entry.context("read a directory")?;
        let name = entry.file_name().to_owned();
        if name.as_c_str() == c"." || name.as_c_str() == c".." {
            continue;
        }
        let below = level.copy(&name).with_context(|| name.to_string_lossy().into_owned())?;
        open.extend(below);
    }
    Ok(())
}

const NO_FOLLOW: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_CLOEXEC);

struct Level {
    from: OwnedFd,
    to: OwnedFd,
    entries: OwningIter,
}

impl Level {
    fn open(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<Self> {
        let directory =
            |fd| openat(fd, ".", OFlag::O_DIRECTORY | NO_FOLLOW, Mode::empty()).context("open .");
        let from = directory(from)?;
        let entries = Dir::from_fd(from.try_clone()?).context("read a directory")?.into_iter();
        Ok(Self { from, to: directory(to)?, entries })
    }

    /// Copies one entry; returns the level below if it is a directory.
    fn copy(&self, name: &CStr) -> Result<Option<Self>> {
        let source = openat(&self.from, name, OFlag::O_PATH | NO_FOLLOW, Mode::empty())?;
        let stat = fstat(&source)?;
        let mode = Mode::from_bits_truncate(stat.st_mode);
        match kind(&stat) {
            SFlag::S_IFDIR => {
                mkdirat(&self.to, name, mode)?;
                self.finish(name, &stat)?;
                let to = openat(&self.to, name, OFlag::O_DIRECTORY | NO_FOLLOW, Mode::empty())?;
                return Self::open(source.as_fd(), to.as_fd()).map(Some);
            }
            SFlag::S_IFLNK => symlinkat(readlinkat(&source, "")?.as_os_str(), &self.to, name)?,
            SFlag::S_IFREG => self.copy_content(name, mode)?,
            kind => mknodat(&self.to, name, kind, mode, stat.st_rdev)?,
        }
        self.finish(name, &stat)?;
        Ok(None)
    }

    fn copy_content(&self, name: &CStr, mode: Mode) -> Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | NO_FOLLOW;
        let mut from = File::from(openat(&self.from, name, flags, Mode::empty())?);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | NO_FOLLOW;
        let mut to = File::from(openat(&self.to, name, flags, mode)?);
        io::copy(&mut from, &mut to)?;
        Ok(())
    }

    /// Owner before mode, since a change of owner takes the set-id bits away (chown(2)).
    fn finish(&self, name: &CStr, stat: &FileStat) -> Result<()> {
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        fchownat(&self.to, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        if kind(stat) != SFlag::S_IFLNK {
            let mode = Mode::from_bits_truncate(stat.st_mode);
            // The directory is ours alone until the tmpfs is attached: nothing in it is a link
            // that we did not make.
            fchmodat(&self.to, name, mode, FchmodatFlags::FollowSymlink)?;
        }
        let accessed = TimeSpec::new(stat.st_atime, stat.st_atime_nsec);
        let modified = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
        utimensat(&self.to, name, &accessed, &modified, UtimensatFlags::NoFollowSymlink)?;
        Ok(())
    }
}
