//! `kill`: signals for the first process, or for all of them.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;

use super::status::{Command, Status, allow};
use super::{Container, delete, texts};
use crate::procfs::Procfs;
use crate::sys::process::{pidfd_open, pidfd_send_signal};

impl Container {
    /// Sends the signal of that number.
    ///
    /// Without a PID namespace of its own the first process takes nobody with it, so SIGKILL
    /// goes to all of the container's processes (BXC-16), also to those that outlived the first:
    /// so the shim of containerd ends what is left of a container in a pod.
    ///
    /// # Errors
    /// When the container is not running.
    pub fn kill(&self, signal: i32) -> Result<()> {
        let status = self.status()?;
        let everybody = signal == libc::SIGKILL && !self.facts.own_pid_namespace;
        if everybody && status != Status::Creating && self.facts.cgroups.exist() {
            return self.facts.cgroups.end_all(delete::deadline());
        }
        allow(Command::Kill, status, &self.facts.id)?;
        let Some(init) = self.open_init()? else { bail!(texts::NOT_RUNNING) };
        match pidfd_send_signal(init.as_fd(), signal) {
            Err(Errno::ESRCH) => bail!(texts::NOT_RUNNING),
            other => other.with_context(|| format!("send signal {signal}")),
        }
    }

    /// Opens the first process, if it is still the one that was created: its number may belong
    /// to another by now, so the open process is compared and not the number (KIL-02).
    ///
    /// # Errors
    /// Those of pidfd_open(2) and of reading procfs.
    pub fn open_init(&self) -> Result<Option<OwnedFd>> {
        let Some(pid) = self.facts.pid() else { return Ok(None) };
        let pidfd = match pidfd_open(pid) {
            Err(Errno::ESRCH) => return Ok(None),
            other => other.context("open the container's init")?,
        };
        let stat = Procfs::open()?.stat(pid)?;
        let same = stat.is_some_and(|stat| Some(stat.start_time) == self.facts.start_time);
        Ok(same.then_some(pidfd))
    }
}

/// The number of a signal, which may be given by name with or without `SIG`, in any case, or by
/// number (BXC-15).
///
/// # Errors
/// For anything else.
pub fn signal(text: &str) -> Result<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return match number {
            // None at all: kill(2) then only looks whether somebody is there.
            0..=64 => Ok(number),
            _ => bail!("unknown signal {text:?}"),
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = OTHER_NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    if let Some(number) = real_time(name) {
        return Ok(number);
    }
    let known = format!("SIG{name}").parse::<nix::sys::signal::Signal>();
    known.map(|signal| signal as i32).ok().with_context(|| format!("unknown signal {text:?}"))
}

/// Names that signal(7) has and nix has not.
const OTHER_NAMES: [(&str, i32); 3] =
    [("IOT", libc::SIGIOT), ("CLD", libc::SIGCHLD), ("POLL", libc::SIGPOLL)];

/// `RTMIN`, `RTMIN+3`, `RTMAX-2`: as kill(1) and Docker write them, for stop signals.
fn real_time(name: &str) -> Option<i32> {
    let offset = |text: &str, sign| match text.strip_prefix(sign) {
        Some(digits) => digits.parse().ok(),
        None => text.is_empty().then_some(0),
    };
    // The C library keeps the first two for itself; users count from behind them.
    let (first, last) = (libc::SIGRTMIN(), libc::SIGRTMAX());
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => first + offset(rest, '+')?,
        (_, Some(rest)) => last - offset(rest, '-')?,
        (None, None) => return None,
    };
    (first..=last).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::signal;

    #[test]
    fn names_and_numbers() {
        for (text, want) in [
            ("9", Some(9)),
            ("KILL", Some(9)),
            ("SIGKILL", Some(9)),
            ("sigterm", Some(15)),
            ("Term", Some(15)),
            ("IOT", Some(6)),
            ("RTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-2", Some(62)),
            ("RTMAX", Some(64)),
            ("64", Some(64)),
            ("0", Some(0)),
            ("65", None),
            ("-1", None),
            ("", None),
            ("SIG", None),
            ("FOO", None),
            ("RTMIN+31", None),
            ("RTMINx", None),
        ] {
            assert_eq!(signal(text).ok(), want, "{text}");
        }
    }
}
