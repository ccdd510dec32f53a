//! `events`: what a container uses, and that it ran out of memory.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Container;
use super::status::Status;
use crate::cgroups::oom::Watch;
use crate::cgroups::rdt;
use crate::cgroups::stats::Stats;
use crate::log;

/// What can be told of a container.
#[derive(Debug)]
pub enum Event {
    /// What it has used.
    Stats(Box<Stats>),
    /// The kernel killed a process of it for want of memory.
    OutOfMemory,
}

impl Container {
    /// What the container has used.
    ///
    /// # Errors
    /// When the container is not running, or its counters cannot be read.
    pub fn stats(&self) -> Result<Event> {
        self.watched()?;
        self.read_stats()
    }

    /// Calls `tell` with what the container has used each time when `interval` has passed, and
    /// when it runs out of memory, until it ends.
    ///
    /// # Errors
    /// When the container is not running, or what `tell` returns.
    pub fn events(
        &self,
        interval: Duration,
        tell: &mut dyn FnMut(Event) -> Result<()>,
    ) -> Result<()> {
        let init = self.watched()?;
        let mut oom = self.facts.cgroups.watch_oom()?;
        let mut next = Instant::now() + interval;
        loop {
            let ended = wait(&init, oom.as_ref(), next)?;
            // Its last process may have been the one that was killed.
            let count = oom.as_mut().map_or(Ok(0), Watch::count)?;
            (0..count).try_for_each(|_| tell(Event::OutOfMemory))?;
            if ended {
                return Ok(());
            }
            if Instant::now() >= next {
                match self.read_stats() {
                    Ok(stats) => tell(stats)?,
                    // It may be ending, which is seen in the next round.
                    Err(error) => log::warn(format!("{error:#}")),
                }
                next = Instant::now() + interval;
            }
        }
    }

    fn watched(&self) -> Result<OwnedFd> {
        let init = match self.status()? {
            Status::Stopped => None,
            _ => self.open_init()?,
        };
        match init {
            Some(init) => Ok(init),
            None => bail!("container with id {} is not running", self.facts.id),
        }
    }

    fn read_stats(&self) -> Result<Event> {
        let mut stats =
            self.facts.cgroups.stats().context("unable to get container cgroup stats")?;
        if let Some(rdt) = &self.facts.rdt {
            stats.intel_rdt = rdt::stats(rdt);
        }
        Ok(Event::Stats(Box::new(stats)))
    }
}

/// Waits until `next`, or the end of init, or a notice. Says whether init has ended.
fn wait(init: &OwnedFd, oom: Option<&Watch>, next: Instant) -> Result<bool> {
    let mut fds = vec![PollFd::new(init.as_fd(), PollFlags::POLLIN)];
    fds.extend(oom.map(|watch| PollFd::new(watch.as_fd(), watch.flags())));
    let left = next.saturating_duration_since(Instant::now());
    // Rounded up, so as not to look at the clock again and again in the last millisecond.
    let millis = i32::try_from(left.as_millis().saturating_add(1)).unwrap_or(i32::MAX);
    match poll(&mut fds, PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno).context("poll"),
    }
    Ok(fds.first().and_then(PollFd::any).unwrap_or(false))
}
