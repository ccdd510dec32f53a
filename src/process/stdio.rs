//! The three standard streams.

use std::io::{stderr, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use nix::unistd::{Uid, dup2_stderr, dup2_stdin, dup2_stdout, fchown};

use crate::resolve::Root;
use crate::sys::stat::is_null;

/// Gives the streams to the program's user, so that it can open `/dev/stdout` again (BXP-05).
///
/// The group stays: a terminal has one of its own. A stream that cannot be given away stays as
/// it is: its owner may be unmapped (EPERM) or its file system read-only.
pub(super) fn give_to(uid: u32) -> Result<()> {
    each(|name, stream| {
        let stat = fstat(stream).with_context(|| format!("stat {name}"))?;
        if stat.st_uid == uid || is_null(&stat) {
            return Ok(());
        }
        match fchown(stream, Some(Uid::from_raw(uid)), None) {
            // An id without a mapping is EINVAL, which the change of user will explain.
            Err(Errno::EPERM | Errno::EROFS | Errno::EINVAL) => Ok(()),
            other => other.with_context(|| format!("give {name} to uid {uid}")),
        }
    })
}

/// Replaces streams that are the host's `/dev/null` by the container's own (BXP-06), which has
/// to be that device: an image could have put a link or a file in its place (CVE-2026-88265).
///
/// # Errors
/// When the container's `/dev/null` cannot be opened or is something else.
pub fn reopen_null(root: &Root) -> Result<()> {
    each(|name, stream| {
        if !is_null(&fstat(stream).with_context(|| format!("stat {name}"))?) {
            return Ok(());
        }
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let null = root.open(Path::new("/dev/null"), flags).context("open /dev/null")?;
        let stat = fstat(&null).context("stat /dev/null")?;
        ensure!(is_null(&stat), "/dev/null in the container is not the null device");
        match name {
            "stdin" => dup2_stdin(&null),
            "stdout" => dup2_stdout(&null),
            _ => dup2_stderr(&null),
        }
        .with_context(|| format!("put the container's /dev/null to {name}"))
    })
}

fn each(mut visit: impl FnMut(&'static str, BorrowedFd<'_>) -> Result<()>) -> Result<()> {
    visit("stdin", stdin().as_fd())?;
    visit("stdout", stdout().as_fd())?;
    visit("stderr", stderr().as_fd())
}
