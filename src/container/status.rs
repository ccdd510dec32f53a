//! The status of a container, computed from facts; and which command is allowed in which status.

use std::os::fd::AsFd;

use anyhow::{Result, bail};

use super::{Container, texts};
use crate::handshake::gate::{self, Position};
use crate::procfs::Procfs;
pub use crate::spec::state::Status;

impl Container {
    /// Computes the status. The first line that holds wins:
    ///
    /// | facts | status |
    /// | --- | --- |
    /// | no pid saved, or gate unfinished, and somebody holds the lock | creating |
    /// | no pid saved; or process gone, zombie, or other start time | stopped |
    /// | frozen | paused |
    /// | gate still closed | created |
    /// | else | running |
    ///
    /// # Errors
    /// When the facts cannot be looked at.
    pub fn status(&self) -> Result<Status> {
        let position = gate::position(self.directory.as_fd())?;
        let unfinished = position == Position::Unfinished || self.facts.pid.is_none();
        // Whoever makes it holds the lock. Without one it will never be finished.
        if unfinished && self.directory.is_locked()? {
            return Ok(Status::Creating);
        }
        let Some(pid) = self.facts.pid() else { return Ok(Status::Stopped) };
        let stat = Procfs::open()?.stat(pid)?;
        let same = |stat: &crate::procfs::Stat| Some(stat.start_time) == self.facts.start_time;
        if stat.filter(same).is_none_or(|stat| stat.ended()) {
            return Ok(Status::Stopped);
        }
        if self.facts.cgroups.is_frozen() {
            return Ok(Status::Paused);
        }
        Ok(if position == Position::Closed { Status::Created } else { Status::Running })
    }
}

/// A command on a container whose status matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `start`
    Start,
    /// `kill`
    Kill,
    /// `delete` without `--force`
    Delete,
    /// `exec`
    Exec,
    /// `exec --ignore-paused`
    ExecPaused,
    /// `pause`
    Pause,
    /// `resume`
    Resume,
    /// `update`
    Update,
}

/// Says whether the command is allowed; the texts are runc's.
///
/// # Errors
/// Why it is not.
pub fn allow(command: Command, status: Status, id: &str) -> Result<()> {
    match (command, status) {
        (Command::Start, Status::Created) => Ok(()),
        (Command::Start, Status::Running) => bail!("cannot start an already running container"),
        (Command::Start, Status::Stopped) => bail!("cannot start a container that has stopped"),
        (Command::Start, status) => bail!("cannot start a container in the {status} state"),
        (Command::Kill, Status::Created | Status::Running | Status::Paused) => Ok(()),
        (Command::Pause, Status::Created | Status::Running) | (Command::Resume, Status::Paused) => {
            Ok(())
        }
        (Command::Pause, _) => bail!(texts::NOT_RUNNING),
        (Command::Resume, _) => bail!(texts::NOT_PAUSED),
        (Command::Update, Status::Created | Status::Running | Status::Paused) => Ok(()),
        (Command::Update, _) => bail!(texts::NOT_RUNNING),
        (Command::Kill, Status::Stopped | Status::Creating) => bail!(texts::NOT_RUNNING),
        // A container that was never started is killed and deleted, as by runc (AMB-03).
        (Command::Delete, Status::Stopped | Status::Created) => Ok(()),
        (Command::Delete, status) => {
            bail!("cannot delete container {id} that is not stopped: {status}")
        }
        (Command::Exec | Command::ExecPaused, Status::Created | Status::Running)
        | (Command::ExecPaused, Status::Paused) => Ok(()),
        (Command::Exec, Status::Paused) => {
            bail!("cannot exec in a paused container (use --ignore-paused to override)")
        }
        (Command::Exec | Command::ExecPaused, status) => {
            bail!("cannot exec in a {status} container")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_in_every_status() {
        use Status::{Created, Creating, Paused, Running, Stopped};
        let all = [Creating, Created, Running, Paused, Stopped];
        for (command, allowed) in [
            (Command::Start, &[Created][..]),
            (Command::Kill, &[Created, Running, Paused]),
            (Command::Delete, &[Created, Stopped]),
            (Command::Exec, &[Created, Running]),
            (Command::ExecPaused, &[Created, Running, Paused]),
            (Command::Pause, &[Created, Running]),
            (Command::Resume, &[Paused]),
            (Command::Update, &[Created, Running, Paused]),
        ] {
            for status in all {
                let got = allow(command, status, "box").is_ok();
                assert_eq!(got, allowed.contains(&status), "{command:?} {status}");
            }
        }
    }
}
