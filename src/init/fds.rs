//! Descriptors: what the program inherits, and closing the rest.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::sys::process::{close_range, inherited_fd};

/// The first descriptor after the standard streams.
const FIRST: RawFd = 3;

/// Closes every descriptor but those in `keep` and the `preserved` ones after the standard
/// streams, which the program is to inherit.
///
/// Everything of ours is close-on-exec anyhow. This is about what the caller left open for us by
/// mistake: while the container waits for `start`, somebody may wait for a pipe to be closed.
///
/// # Errors
/// Those of fcntl(2).
pub(super) fn close_others(keep: &[BorrowedFd<'_>], preserved: u32) -> Result<()> {
    let end = preserved_end(preserved);
    for number in FIRST..end {
        let inherited = inherited_fd(number)
            .with_context(|| format!("unable to stat preserved-fd {number}"))?;
        fcntl(inherited, FcntlArg::F_SETFD(FdFlag::empty()))
            .with_context(|| format!("pass descriptor {number} on"))?;
    }
    let mut numbers: Vec<_> = keep.iter().map(AsRawFd::as_raw_fd).collect();
    numbers.sort_unstable();
    let mut next = end;
    for number in numbers.into_iter().filter(|number| *number >= end) {
        close_between(next, number - 1);
        next = number + 1;
    }
    close_between(next, RawFd::MAX);
    Ok(())
}

/// The number after the last preserved descriptor.
fn preserved_end(preserved: u32) -> RawFd {
    RawFd::try_from(preserved).map_or(RawFd::MAX, |count| FIRST.saturating_add(count))
}

fn close_between(first: RawFd, last: RawFd) {
    if first <= last {
        close_range(first.unsigned_abs(), last.unsigned_abs());
    }
}
