//! The container's side: what happens in the new processes, from their birth to the program.

mod exec;
mod fds;
mod pid1;
mod stage1;

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::SigSet;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use crate::cgroups::Entry;
use crate::handshake::channel::{Channel, Encoded};
use crate::handshake::gate;
use crate::handshake::{FromInit, FromRuntime};
use crate::hooks::Files;
use crate::namespaces::Case;
use crate::namespaces::join::Joined;
use crate::plan::Plan;
use crate::process::Process;
use crate::process::rlimits::{self, Rlimit};
use crate::process::terminal::Console;
use crate::procfs::Procfs;
use crate::rootfs::Prepared;
use crate::seccomp::Filter;
use crate::sys::process::default_signals;
use crate::sys::sealed::Image;
use crate::{error, log};
pub use exec::{Exec, exec};

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
    /// Mounts that the runtime has prepared.
    pub mounts: HashMap<usize, Prepared>,
    /// What this program runs from.
    pub image: Image,
    /// A file of the host that disappears with the host's mounts: see `Rootfs::enter`.
    pub place: PathBuf,
    /// For whom a terminal is to be made.
    pub console: Option<Console>,
    /// What gets the output of hooks before the root changes. No file of the host stays open
    /// after that, so those after it have none.
    pub hook_files: Files,
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
/// (user_namespaces(7)); `keep_groups` leaves them as they are.
fn become_root(keep_groups: bool) -> nix::Result<()> {
    let unmapped_is_fine = |result| match result {
        Err(Errno::EINVAL | Errno::EPERM) => Ok(()),
        other => other,
    };
    let (user, group) = (Uid::from_raw(0), Gid::from_raw(0));
    if !keep_groups {
        unmapped_is_fine(setgroups(&[]))?;
    }
    unmapped_is_fine(setresgid(group, group, group))?;
    unmapped_is_fine(setresuid(user, user, user))
}

/// Waits for the runtime to say what it has to say now.
fn expect(channel: &Channel<FromInit, FromRuntime>, wanted: &FromRuntime) -> Result<()> {
    let message = channel.receive_short()?;
    if message != *wanted {
        bail!("the runtime sent {message:?} instead of {wanted:?}");
    }
    Ok(())
}

/// Lets go of everything but the channel, `keep` and what the program inherits; sets limits; tells
/// the runtime that nothing is left to do here, and waits for its consent.
///
/// The channel decides from here on whether this process lives: the runtime may end then. A filter
/// comes as late as can be; what follows it needs little of it: `docs/seccomp.md` lists the calls.
fn be_ready(
    channel: &Channel<FromInit, FromRuntime>,
    keep: &[BorrowedFd<'_>],
    preserved: u32,
    limits: &[Rlimit],
    filter: Option<(&Process, &Filter)>,
) -> Result<()> {
    let mut keep = keep.to_vec();
    keep.push(channel.as_fd());
    keep.extend(log::descriptor());
    fds::close_others(&keep, preserved)?;
    prctl::set_pdeathsig(None).context("live without the runtime")?;
    let (warnings, limits) = (log::take_waiting(), rlimits::set_own(limits)?);
    let ready = Encoded::new(&FromInit::Ready { warnings, limits })?;
    if let Some((process, filter)) = filter {
        process.install_filter(|| match filter.load()? {
            Some(listener) => {
                channel.send(&FromInit::Listener(listener))?;
                expect(channel, &FromRuntime::ListenerSent)
            }
            None => Ok(()),
        })?;
    }
    channel.send_encoded(&ready)?;
    expect(channel, &FromRuntime::Committed)
}

/// Sets signals to what a new program expects: none ignored, none blocked.
fn reset_signals() -> nix::Result<()> {
    default_signals();
    SigSet::empty().thread_set_mask()
}

/// Tells the runtime why there will be no container.
fn report(channel: &Channel<FromInit, FromRuntime>, error: &anyhow::Error) -> i32 {
    let chain = error::chain(error);
    log::debug(|| format!("init fails: {}", chain.join(": ")));
    // A runtime that is gone cannot be told.
    let _ = channel.send(&FromInit::Failed(chain));
    FAILED
}
