//! `tmpcopyup`: a new tmpfs begins with a copy of what it covers.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use nix::dir::{Dir, OwningIter};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmodat, fstat, futimens, mkdirat,
    mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, Whence, fchownat, lseek, symlinkat};

use crate::sys::stat::kind;

/// Copies the tree below the directory `from`, which is of the image, into the empty directory
/// `to`, with owners, modes, times and holes. No link is followed.
///
/// # Errors
/// The first file that cannot be read or made, by name.
pub(super) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let mut open = vec![Level::open(from, to, None)?];
    while let Some(level) = open.last_mut() {
        let Some(entry) = level.entries.next() else {
            level.finish().context("set the times of a directory")?;
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
    /// Those of the directory, which what is made in it changes; not those of the tmpfs itself.
    times: Option<[TimeSpec; 2]>,
}

impl Level {
    fn open(
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        times: Option<[TimeSpec; 2]>,
    ) -> Result<Self> {
        let directory =
            |fd| openat(fd, ".", OFlag::O_DIRECTORY | NO_FOLLOW, Mode::empty()).context("open .");
        let from = directory(from)?;
        let entries = Dir::from_fd(from.try_clone()?).context("read a directory")?.into_iter();
        Ok(Self { from, to: directory(to)?, entries, times })
    }

    fn finish(&self) -> nix::Result<()> {
        let Some([accessed, modified]) = &self.times else { return Ok(()) };
        futimens(&self.to, accessed, modified)
    }

    /// Copies one entry; returns the level below if it is a directory.
    fn copy(&self, name: &CStr) -> Result<Option<Self>> {
        let source = openat(&self.from, name, OFlag::O_PATH | NO_FOLLOW, Mode::empty())?;
        let stat = fstat(&source)?;
        let mode = Mode::from_bits_truncate(stat.st_mode);
        match kind(&stat) {
            SFlag::S_IFDIR => {
                mkdirat(&self.to, name, mode)?;
                self.give(name, &stat)?;
                let to = openat(&self.to, name, OFlag::O_DIRECTORY | NO_FOLLOW, Mode::empty())?;
                return Self::open(source.as_fd(), to.as_fd(), Some(times(&stat))).map(Some);
            }
            SFlag::S_IFLNK => symlinkat(readlinkat(&source, "")?.as_os_str(), &self.to, name)?,
            SFlag::S_IFREG => self.copy_content(name, &stat)?,
            kind => mknodat(&self.to, name, kind, mode, stat.st_rdev)?,
        }
        self.give(name, &stat)?;
        let [accessed, modified] = times(&stat);
        utimensat(&self.to, name, &accessed, &modified, UtimensatFlags::NoFollowSymlink)?;
        Ok(None)
    }

    fn copy_content(&self, name: &CStr, stat: &FileStat) -> Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | NO_FOLLOW;
        let from = openat(&self.from, name, flags, Mode::empty())?;
        let opened = fstat(&from)?;
        let same = (opened.st_dev, opened.st_ino) == (stat.st_dev, stat.st_ino);
        ensure!(same, "another file is there now");
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | NO_FOLLOW;
        let to = openat(&self.to, name, flags, Mode::from_bits_truncate(stat.st_mode))?;
        copy_data(&mut File::from(from), &mut File::from(to))?;
        Ok(())
    }

    /// Owner before mode, since a change of owner takes the set-id bits away (chown(2)).
    fn give(&self, name: &CStr, stat: &FileStat) -> Result<()> {
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        fchownat(&self.to, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        if kind(stat) != SFlag::S_IFLNK {
            let mode = Mode::from_bits_truncate(stat.st_mode);
            // The directory is ours alone until the tmpfs is attached: nothing in it is a link
            // that we did not make.
            fchmodat(&self.to, name, mode, FchmodatFlags::FollowSymlink)?;
        }
        Ok(())
    }
}

fn times(stat: &FileStat) -> [TimeSpec; 2] {
    let accessed = TimeSpec::new(stat.st_atime, stat.st_atime_nsec);
    [accessed, TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec)]
}

/// Copies what is not a hole: an image may have a file that is larger than any memory (lseek(2)).
fn copy_data(from: &mut File, to: &mut File) -> io::Result<()> {
    let mut end = 0;
    loop {
        let start = match lseek(&*from, end, Whence::SeekData) {
            Ok(start) => start,
            // Nothing but a hole is left.
            Err(Errno::ENXIO) => return to.set_len(from.metadata()?.len()),
            // The file system does not tell.
            Err(Errno::EINVAL) => return io::copy(from, to).map(drop),
            Err(errno) => return Err(errno.into()),
        };
        end = lseek(&*from, start, Whence::SeekHole)?;
        let [from_start, length] = [start, end - start].map(i64::unsigned_abs);
        from.seek(SeekFrom::Start(from_start))?;
        to.seek(SeekFrom::Start(from_start))?;
        io::copy(&mut Read::take(&mut *from, length), to)?;
    }
}
