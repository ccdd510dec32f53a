//! The runtime's own way into procfs.
//!
//! Writing to a path below `/proc` is the classic confused deputy: with a link or a mount in
//! the way, an AppArmor label or a sysctl value goes to `/proc/sysrq-trigger` instead
//! (CVE-2019-16884, CVE-2021-30465, CVE-2025-52881). So the root of procfs is opened once, on
//! the host, before any container exists; it is checked to be procfs and its root; and what is
//! below it is reached from that descriptor only, in one step that follows no link and enters
//! no other mount.

use std::fmt::Display;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{NSFS_MAGIC, PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::Pid;

use crate::resolve;

/// An open procfs, known to be one.
#[derive(Debug)]
pub struct Procfs {
    root: OwnedFd,
}

impl Procfs {
    /// Opens the host's `/proc`.
    ///
    /// # Errors
    /// When something else is mounted there.
    pub fn open() -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let root = open("/proc", flags, Mode::empty()).context("open /proc")?;
        let is_proc = fstatfs(&root).context("statfs /proc")?.filesystem_type() == PROC_SUPER_MAGIC;
        if !is_proc || fstat(&root).context("stat /proc")?.st_ino != resolve::PROC_ROOT_INODE {
            bail!("/proc is not a proc file system");
        }
        Ok(Self { root })
    }

    /// A directory in its place, for what the kernel of no test machine shows.
    #[cfg(test)]
    pub(crate) fn fake(directory: &std::path::Path) -> Self {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Self { root: open(directory, flags, Mode::empty()).expect("open the directory") }
    }

    /// Opens `name`, a path below the root without links in it.
    ///
    /// # Errors
    /// Those of openat2(2); ELOOP or EXDEV mean that something was put in the way.
    pub fn open_file(&self, name: &str, flags: OFlag) -> Result<File> {
        resolve::open_beneath(self.root.as_fd(), name, flags)
            .map(File::from)
            .with_context(|| format!("open /proc/{name}"))
    }

    /// Writes `value` to `name` in one write(2), as most of these files want it.
    ///
    /// # Errors
    /// Those of opening and writing.
    pub fn write(&self, name: &str, value: impl Display) -> Result<()> {
        let value = value.to_string();
        let mut file = self.open_file(name, OFlag::O_WRONLY)?;
        file.write_all(value.as_bytes()).with_context(|| match value.lines().count() {
            0 | 1 => format!("write {value:?} to /proc/{name}"),
            lines => format!("write {lines} lines, {} bytes, to /proc/{name}", value.len()),
        })
    }

    /// Reads `name` whole. Names of files, as in the mount table, need not be UTF-8; what is not
    /// is replaced.
    ///
    /// # Errors
    /// Those of opening and reading.
    pub fn read(&self, name: &str) -> Result<String> {
        let mut text = Vec::new();
        self.open_file(name, OFlag::O_RDONLY)?
            .read_to_end(&mut text)
            .with_context(|| format!("read /proc/{name}"))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The name of the caller's own directory, a number as this procfs counts processes.
    ///
    /// # Errors
    /// When the caller is not visible in the PID namespace of this procfs.
    pub fn own_directory(&self) -> Result<String> {
        let name = readlinkat(&self.root, "self").context("read the link /proc/self")?;
        name.into_string().ok().context("/proc/self is not a number")
    }

    /// Opens the namespace `file` of the process whose directory is `process`.
    ///
    /// Its name is a link that only the kernel can follow, so the last step follows it and the
    /// result is checked to be a namespace.
    ///
    /// # Errors
    /// Those of openat2(2) and openat(2).
    pub fn open_namespace(&self, process: &str, file: &str) -> Result<OwnedFd> {
        let name = format!("{process}/ns");
        let dir = self.open_file(&name, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let found = openat(&dir, file, flags, Mode::empty())
            .with_context(|| format!("open /proc/{name}/{file}"))?;
        if fstatfs(&found)?.filesystem_type() != NSFS_MAGIC {
            bail!("/proc/{name}/{file} is not a namespace");
        }
        Ok(found)
    }

    /// What the kernel knows of the process `pid`; `None` when there is none.
    ///
    /// # Errors
    /// When `/proc/PID/stat` is there and cannot be read or understood.
    pub fn stat(&self, pid: Pid) -> Result<Option<Stat>> {
        let name = format!("{pid}/stat");
        let mut file = match resolve::open_beneath(self.root.as_fd(), &name, OFlag::O_RDONLY) {
            Ok(fd) => File::from(fd),
            Err(nix::errno::Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(errno).with_context(|| format!("open /proc/{name}")),
        };
        let mut text = Vec::new();
        match file.read_to_end(&mut text) {
            // The process was reaped between open and read.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
            other => other.with_context(|| format!("read /proc/{name}"))?,
        };
        Stat::parse(&String::from_utf8_lossy(&text))
            .map(Some)
            .with_context(|| format!("/proc/{name} has an unknown form"))
    }
}

impl AsFd for Procfs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

// Flags of include/linux/sched.h: the process ends, by a signal.
const PF_EXITING: u64 = 0x4;
const PF_SIGNALED: u64 = 0x400;
/// Signal 1 has the lowest bit.
const SIGKILL_BIT: u64 = 1 << (libc::SIGKILL - 1);

/// The fields of `/proc/PID/stat` that tell whether a process is still the same and alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// `R`, `S`, `Z`, …: proc_pid_stat(5).
    pub state: char,
    /// Clock ticks between boot and the start of the process: with the pid it names one
    /// process for as long as the machine runs.
    pub start_time: u64,
    /// SIGKILL is on its way or has arrived.
    pub killed: bool,
}

impl Stat {
    /// The process has ended: a zombie, or dead.
    #[must_use]
    pub fn ended(self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    /// The command name is in parentheses and may hold any byte, so fields count from the last
    /// closing one.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        // The state is field 3; 9 are the flags, 22 the time, 31 the signals pending for the thread.
        let flags = fields.nth(9 - 4)?.parse::<u64>().ok()?;
        let start_time = fields.nth(22 - 10)?.parse().ok()?;
        let pending = fields.nth(31 - 23).and_then(|bits| bits.parse::<u64>().ok());
        let killed = flags & (PF_EXITING | PF_SIGNALED) != 0
            || pending.is_some_and(|bits| bits & SIGKILL_BIT != 0);
        Some(Self { state, start_time, killed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines() {
        let tail = "1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0";
        for (text, want) in [
            (format!("7 (cat) R {tail} 4242 9"), Some(('R', 4242))),
            (format!("7 (a) b) (c) Z {tail} 1 9"), Some(('Z', 1))),
            ("7 (cat) R 1 1".to_string(), None),
            ("no line".to_string(), None),
        ] {
            let got = Stat::parse(&text).map(|stat| (stat.state, stat.start_time));
            assert_eq!(got, want, "{text}");
        }
        for (flags, pending, want) in
            [(0x0040_0100, 0, false), (0, 256, true), (0, 1, false), (0x404, 0, true)]
        {
            let text = format!(
                "7 (cat) R 1 1 1 0 -1 {flags} 1 2 3 4 5 6 7 8 20 0 1 0 4242 1 2 3 4 5 6 7 8 {pending} 0"
            );
            assert_eq!(Stat::parse(&text).map(|stat| stat.killed), Some(want), "{text}");
        }
    }

    #[test]
    fn links_and_parents_are_refused() {
        let proc = Procfs::open().unwrap();
        for name in ["self/stat", "../etc/passwd", "/proc/1/stat", "1/root/etc"] {
            assert!(proc.open_file(name, OFlag::O_RDONLY).is_err(), "{name}");
        }
        assert!(proc.open_file("version", OFlag::O_RDONLY).is_ok());
    }
}
