//! Notices that a container ran out of memory.
//!
//! v1 has an eventfd for that, v2 an event of `memory.events`. Both can be waited for by poll(2).

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::Record;
use super::setting::write;

/// Where the notices come in.
#[derive(Debug)]
pub enum Watch {
    /// The eventfd, and the file by which it was asked for: when that is gone, the eventfd tells
    /// the end of the cgroup.
    V1(EventFd, PathBuf),
    /// `memory.events`, and how many processes the kernel had killed.
    V2(File, u64),
}

impl Record {
    /// Asks for notices, where there is a controller of memory.
    ///
    /// # Errors
    /// Those of opening and writing files of the cgroup.
    pub fn watch_oom(&self) -> Result<Option<Watch>> {
        let Some(directory) = self.directory("memory") else { return Ok(None) };
        let path = directory.join(if self.v2 { "memory.events" } else { "memory.oom_control" });
        if !path.exists() {
            return Ok(None);
        }
        let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        if self.v2 {
            let mut watch = Watch::V2(file, 0);
            watch.count()?;
            return Ok(Some(watch));
        }
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_value_and_flags(0, flags).context("make an eventfd")?;
        let control = directory.join("cgroup.event_control");
        write(&control, &format!("{} {}", event.as_fd().as_raw_fd(), file.as_raw_fd()))?;
        Ok(Some(Watch::V1(event, control)))
    }
}

impl Watch {
    /// What to wait for.
    #[must_use]
    pub fn flags(&self) -> PollFlags {
        match self {
            Self::V1(..) => PollFlags::POLLIN,
            Self::V2(..) => PollFlags::POLLPRI,
        }
    }

    /// How often it happened since this was last asked. It is 0 when the cgroup is gone.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn count(&mut self) -> Result<u64> {
        match self {
            Self::V1(event, control) => match event.read() {
                // The kernel counts what it says while nobody listens; runc tells it once.
                Ok(_) => Ok(u64::from(control.exists())),
                Err(Errno::EAGAIN) => Ok(0),
                Err(errno) => Err(errno).context("read an eventfd"),
            },
            Self::V2(file, before) => {
                let mut text = String::new();
                match file.rewind().and_then(|()| file.read_to_string(&mut text)) {
                    Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(0),
                    other => other.context("read memory.events")?,
                };
                let count = killed(&text);
                let new = count.saturating_sub(*before);
                *before = count;
                Ok(new)
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::V1(event, _) => event.as_fd(),
            Self::V2(file, _) => file.as_fd(),
        }
    }
}

fn killed(text: &str) -> u64 {
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn events() {
        let text = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n";
        for (text, want) in [(text, 2), ("", 0), ("oom 3\n", 0)] {
            assert_eq!(super::killed(text), want);
        }
    }
}
