//! Pausing: the freezer of v1, `cgroup.freeze` of v2.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::poll::PollFlags;

use super::Record;
use super::processes::wait;
use super::setting::write;
use crate::log;

/// How often freezing a cgroup of v1 is asked for before it is thawed for a moment.
const TRIES: u32 = 25;

impl Record {
    /// Freezes all processes of the container, and returns when the last one stands still.
    ///
    /// # Errors
    /// When the host has no freezer, or `deadline` comes first; nothing is frozen then.
    pub fn freeze(&self, deadline: Instant) -> Result<()> {
        let directory = self.freezer()?;
        let frozen = match self.v2 {
            true => freeze_v2(directory, deadline),
            false => freeze_v1(directory, deadline),
        };
        frozen.inspect_err(|_| self.thaw()).context("freeze the container's processes")
    }

    /// Lets the container's processes run on.
    ///
    /// # Errors
    /// Those of writing to the freezer's file.
    pub fn unfreeze(&self) -> Result<()> {
        let (file, thawed) = if self.v2 { ("cgroup.freeze", "0") } else { (STATE, "THAWED") };
        write(&self.freezer()?.join(file), thawed).context("thaw the container's processes")
    }

    fn freezer(&self) -> Result<&Path> {
        self.directory("freezer").context("freezer not supported: this host has no such cgroup")
    }
}

/// The kernel tells by an event of `cgroup.events` that the last process has stopped.
fn freeze_v2(directory: &Path, deadline: Instant) -> Result<()> {
    write(&directory.join("cgroup.freeze"), "1").context("freezer not supported")?;
    let path = directory.join("cgroup.events");
    let context = || format!("read {}", path.display());
    let mut events = File::open(&path).with_context(context)?;
    loop {
        let mut text = String::new();
        events.rewind().and_then(|()| events.read_to_string(&mut text)).with_context(context)?;
        if text.lines().any(|line| line == "frozen 1") {
            return Ok(());
        }
        let fd = events.try_clone().context("copy a descriptor")?.into();
        wait(&fd, PollFlags::POLLPRI, deadline).context("wait for a frozen cgroup")?;
    }
}

const STATE: &str = "freezer.state";

/// Freezing is asked for again and again: v1 has no event for its end, and processes that are
/// being made meanwhile keep it from coming. When that goes on, they get a moment to finish.
fn freeze_v1(directory: &Path, deadline: Instant) -> Result<()> {
    let path = directory.join(STATE);
    let mut pause = Duration::from_micros(10);
    for tries in 1_u32.. {
        write(&path, "FROZEN")?;
        let state =
            fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        match state.trim() {
            "FROZEN" => {
                log::debug(|| format!("frozen at attempt {tries}"));
                break;
            }
            "FREEZING" if Instant::now() < deadline => {}
            "FREEZING" => bail!("unable to freeze"),
            other => bail!("unexpected state {other} while freezing"),
        }
        if tries % TRIES == 0 {
            write(&path, "THAWED")?;
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
    Ok(())
}
