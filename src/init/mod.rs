//! The container's side: what happens in the new processes, from their birth to the program.

mod fds;
mod pid1;
mod stage1;

use std::path::PathBuf;

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use crate::cgroups::Entry;
use crate::error;
use crate::handshake::channel::Channel;
use crate::handshake::gate;
use crate::handshake::{FromInit, FromRuntime};
use crate::namespaces::Case;
use crate::namespaces::join::Joined;
use crate::plan::Plan;
use crate::process::terminal::Console;
use crate::procfs::Procfs;
use crate::sys::sealed::Image;

/// Everything that the new process has from the runtime.
#[derive(Debug)]
pub struct Setup<'a> {
    /// What to do.
    pub plan: &'a Plan,
    /// The way to the runtime.
    pub channel: Channel<FromInit, FromRuntime>,
    /// Where to wait for `start`.
    pub gate: gate::Inside,
    /// Namespaces to join.
    pub joined: Joined,
    /// The way into the cgroups.
    pub cgroups: Entry,
    /// The clone that made this process placed it into the cgroup of the only hierarchy.
    pub placed_by_clone: bool,
    /// The host's procfs.
    pub procfs: Procfs,
    /// What this program runs from.
    pub image: Image,
    /// A file of the host that disappears with the host's mounts: see `Rootfs::enter`.
    pub place: PathBuf,
    /// For whom a terminal is to be made.
    pub console: Option<Console>,
}

/// The exit status of an init that failed before the program: runc's.
const FAILED: i32 = 255;

/// Goes on in the new process and never comes back.
pub fn run(setup: Setup<'_>) -> ! {
    let status = match setup.plan.namespaces.case() {
        Case::Joined => stage1::run(setup),
        Case::Plain | Case::NewUser => pid1::run(setup),
    };
    // What the runtime had open or buffered is the runtime's to close and flush: exit(3) would
    // do it a second time here.
    crate::sys::process::exit_now(status)
}

/// Becomes root of the user namespace that the process stands in now.
///
/// Id 0 need not be mapped there (UID-05): the process then keeps the ids it has, and its
/// capabilities, which come with the namespace and not with the id. Groups may be denied
/// (user_namespaces(7)).
fn become_root() -> nix::Result<()> {
    let unmapped_is_fine = |result| match result {
        Err(Errno::EINVAL | Errno::EPERM) => Ok(()),
        other => other,
    };
    let (user, group) = (Uid::from_raw(0), Gid::from_raw(0));
    unmapped_is_fine(setgroups(&[]))?;
    unmapped_is_fine(setresgid(group, group, group))?;
    unmapped_is_fine(setresuid(user, user, user))
}

/// Tells the runtime why there will be no container.
fn report(channel: &Channel<FromInit, FromRuntime>, error: &anyhow::Error) -> i32 {
    let chain = error::chain(error);
    crate::log::debug(|| format!("init fails: {}", chain.join(": ")));
    // A runtime that is gone cannot be told.
    let _ = channel.send(&FromInit::Failed(chain));
    FAILED
}
