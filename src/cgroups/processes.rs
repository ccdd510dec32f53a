//! The processes of a container, found by its cgroup: for signals to all of them.
//!
//! v2 tells when a cgroup became empty, by an event of `cgroup.events`. v1 has no such event
//! that could be waited for, so there the processes themselves are waited for, by pidfd.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use super::Record;
use super::setting::write;
use crate::sys::process::{pidfd_open, pidfd_send_signal};

/// Refuses an existing cgroup that has processes or is frozen (BXG-22): the container would share
/// its limits with them, or never start.
pub(super) fn check_unused(directory: &Path) -> Result<()> {
    let count = list_below(directory)?.len();
    ensure!(
        count == 0,
        "{}: container's cgroup is not empty: {count} process(es) found",
        directory.display()
    );
    let frozen = is_frozen(directory);
    ensure!(!frozen, "{}: container's cgroup unexpectedly frozen", directory.display());
    Ok(())
}

fn is_frozen(directory: &Path) -> bool {
    let content = |file: &str| fs::read_to_string(directory.join(file)).unwrap_or_default();
    content("cgroup.freeze").trim() == "1"
        || matches!(content("freezer.state").trim(), "FROZEN" | "FREEZING")
}

/// The pids in the cgroup and those below it.
fn list_below(directory: &Path) -> Result<Vec<Pid>> {
    let mut pids = Vec::new();
    let mut todo = vec![directory.to_path_buf()];
    while let Some(directory) = todo.pop() {
        let file = directory.join("cgroup.procs");
        match fs::read_to_string(&file) {
            Ok(text) => {
                pids.extend(text.lines().filter_map(|line| line.parse().ok()).map(Pid::from_raw))
            }
            // It vanished meanwhile, or it is threaded: its processes are listed above it.
            Err(error) if is_gone(&error) || error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
            Err(error) => return Err(error).with_context(|| format!("read {}", file.display())),
        }
        todo.extend(subdirectories(&directory)?);
    }
    Ok(pids)
}

pub(super) fn subdirectories(directory: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("read {}", directory.display());
    let entries = match fs::read_dir(directory) {
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        other => other.with_context(context)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.with_context(context)?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// ENODEV is what reading a file of a removed cgroup gives.
fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

impl Record {
    /// The pids of all processes of the container.
    ///
    /// # Errors
    /// Those of reading the cgroup.
    pub fn processes(&self) -> Result<Vec<Pid>> {
        self.any_directory().map_or(Ok(Vec::new()), list_below)
    }

    /// A process is in every hierarchy, so one of them tells. That of the freezer is the one
    /// whose files are needed as well.
    fn any_directory(&self) -> Option<&Path> {
        self.directory("freezer").or(self.groups.first().map(|place| place.directory.as_path()))
    }

    /// There is a cgroup of the container, whether a process is in it or not.
    #[must_use]
    pub fn exist(&self) -> bool {
        self.any_directory().is_some_and(Path::exists)
    }

    /// Kills all processes of the container, those it forks meanwhile included, and waits until
    /// the last one is gone.
    ///
    /// # Errors
    /// Those of reading and writing files of the cgroup, or when `deadline` comes first.
    pub fn end_all(&self, deadline: Instant) -> Result<()> {
        let Some(directory) = self.any_directory() else { return Ok(()) };
        let kill = directory.join("cgroup.kill");
        if self.v2 && kill.exists() {
            // Linux 5.14: every fork fails from here on (cgroup-v2).
            gone_is_fine(write(&kill, "1"))?;
            return wait_until_empty(directory, deadline);
        }
        while !list_below(directory)?.is_empty() {
            let frozen = Frozen::new(directory, self.v2);
            let pids = list_below(directory)?;
            let pidfds: Vec<_> = pids.iter().filter_map(|pid| pidfd_open(*pid).ok()).collect();
            for pidfd in &pidfds {
                match pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(errno) => return Err(errno).context("kill the container's processes"),
                }
            }
            drop(frozen);
            for pidfd in &pidfds {
                wait(pidfd, PollFlags::POLLIN, deadline)
                    .context("wait for the container's processes")?;
            }
        }
        Ok(())
    }

    /// The container's processes are frozen.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.any_directory().is_some_and(is_frozen)
    }

    /// Thaws the container's processes, whether they are frozen or not.
    pub fn thaw(&self) {
        let Some(directory) = self.any_directory() else { return };
        let (file, thawed) = freezer(self.v2).1;
        // Gone, or no such controller: then nothing is frozen.
        let _ = write(&directory.join(file), thawed);
    }

    /// The kernel killed a process of the container for want of memory; `None` when its cgroup
    /// cannot tell any more.
    #[must_use]
    pub fn oom_killed(&self) -> Option<bool> {
        let file = if self.v2 { MEMORY_EVENTS } else { "memory.oom_control" };
        oom_kills(&self.directory("memory")?.join(file)).map(|count| count > 0)
    }

    /// Sends a signal to all processes that there are now.
    ///
    /// # Errors
    /// Those of reading the cgroup and of pidfd_send_signal(2).
    pub fn signal_all(&self, number: i32) -> Result<()> {
        self.processes()?.into_iter().try_for_each(|pid| signal(pid, number))
    }
}

/// Tells, on v2, what happened for want of memory in a cgroup and below it.
pub(super) const MEMORY_EVENTS: &str = "memory.events";

/// How many processes the kernel has killed for want of memory, as such a file counts.
pub(super) fn oom_kills(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
}

fn signal(pid: Pid, number: i32) -> Result<()> {
    let sent = pidfd_open(pid).and_then(|pidfd| pidfd_send_signal(pidfd.as_fd(), number));
    match sent {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno).with_context(|| format!("send signal {number} to {pid}")),
    }
}

/// Waits for the event that a cgroup of v2 has become empty.
fn wait_until_empty(directory: &Path, deadline: Instant) -> Result<()> {
    let events = directory.join("cgroup.events");
    let context = || format!("read {}", events.display());
    loop {
        let mut text = String::new();
        let mut file = match File::open(&events) {
            Err(error) if is_gone(&error) => return Ok(()),
            other => other.with_context(context)?,
        };
        match file.read_to_string(&mut text) {
            Err(error) if is_gone(&error) => return Ok(()),
            other => other.with_context(context)?,
        };
        if !text.lines().any(|line| line == "populated 1") {
            return Ok(());
        }
        wait(&file.into(), PollFlags::POLLPRI, deadline).context("wait for an empty cgroup")?;
    }
}

pub(super) fn wait(fd: &OwnedFd, events: PollFlags, deadline: Instant) -> Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let millis = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
        let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd.as_fd(), events)], timeout) {
            Ok(0) => bail!("time is up"),
            Err(Errno::EINTR) => {}
            other => return other.map(drop).context("poll"),
        }
    }
}

fn gone_is_fine(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.downcast_ref::<std::io::Error>().is_some_and(is_gone) => Ok(()),
        other => other,
    }
}

/// A frozen cgroup that is thawed in any case, so that no process is left asleep for ever.
///
/// Freezing keeps processes from forking while they are signalled one by one. It is asked for and
/// not waited for: the child of a process that had not stopped yet is found in the next round.
struct Frozen {
    file: PathBuf,
    thawed: &'static str,
}

/// The file of the freezer with the value that freezes, and with the one that thaws.
fn freezer(v2: bool) -> ((&'static str, &'static str), (&'static str, &'static str)) {
    match v2 {
        true => (("cgroup.freeze", "1"), ("cgroup.freeze", "0")),
        false => (("freezer.state", "FROZEN"), ("freezer.state", "THAWED")),
    }
}

impl Frozen {
    fn new(directory: &Path, v2: bool) -> Option<Self> {
        let ((file, frozen), (_, thawed)) = freezer(v2);
        let file = directory.join(file);
        write(&file, frozen).ok()?;
        Some(Self { file, thawed })
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // The cgroup may be gone with its last process.
        let _ = write(&self.file, self.thawed);
    }
}
