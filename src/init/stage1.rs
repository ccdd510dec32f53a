//! The intermediate process, only for a user namespace that is joined: see `namespaces`.

use anyhow::{Context, Result};
use nix::sys::prctl;

use super::{Setup, become_root, pid1, report};
use crate::handshake::FromInit;
use crate::sys::clone::{Cloned, clone3};

/// Joins what there is to join and makes init, which goes on by itself.
pub(super) fn run(setup: Setup<'_>) -> i32 {
    let made = make_init(&setup).and_then(|made| match made {
        Cloned::Child => Ok(true),
        Cloned::Parent { pid, .. } => {
            setup.channel.send(&FromInit::Forked(pid.as_raw())).map(|()| false)
        }
    });
    match made {
        Ok(true) => pid1::run(setup),
        Ok(false) => 0,
        Err(error) => report(&setup.channel, &error),
    }
}

fn make_init(setup: &Setup<'_>) -> Result<Cloned> {
    prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).context("end with the runtime")?;
    prctl::set_name(c"orlop:[1:NS]").context("name the process")?;
    setup.enter_cgroups()?;
    if let Some(process) = &setup.plan.process {
        process.set_own_oom_score(&setup.procfs)?;
    }
    prctl::set_dumpable(false).context("hide from other processes")?;
    setup.joined.enter_with_user()?;
    become_root(setup.plan.keeps_groups()).context("become root of the joined user namespace")?;
    // Init is to be a child of the runtime, not of this process, so that the runtime can wait
    // for it.
    let parent = u64::from(libc::CLONE_PARENT.cast_unsigned());
    let flags = setup.plan.namespaces.clone_flags(false);
    clone3(flags | parent, None).context("make the container's init")
}
