//! What `create` and `run` have in common: from a bundle to a plan.

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::geteuid;
use oci_spec::runtime::Spec;

use super::{CgroupManager, Global, activation, terminal};
use crate::cgroups::systemd::Manager;
use crate::cgroups::{self, Driver};
use crate::cli::Making;
use crate::container::check_id;
use crate::container::console::{self, Caller, Sides};
use crate::container::create::{Created, Request, create};
use crate::container::notify;
use crate::host::Cgroups;
use crate::log;
use crate::plan::{Options, Plan};
use crate::spec;
use crate::sys::process::Vector;
use crate::sys::sealed::{self, Image};

/// What becomes of the container once it is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// It waits for `start`.
    Wait,
    /// It is started, and the runtime ends.
    StartDetached,
    /// It is started, and the runtime waits for its end.
    StartAttached,
}

/// Creates the container that the options describe. If it is to be started its gate is opened in
/// the same go, unless the caller's terminal has to be prepared first.
///
/// # Errors
/// Whatever goes wrong, with nothing left behind.
pub(super) fn make(
    global: &Global,
    args: &Making,
    then: Then,
) -> Result<(Created, Option<Caller>)> {
    check_id(&args.id)?;
    let image = sealed_image()?;
    let listening = activation::listening();
    let preserved = listening.saturating_add(args.preserve_fds);
    check_preserved(preserved, &image)?;
    let mut checked = spec::load(&args.bundle)?;
    if listening > 0 {
        // It is process 1 of its PID namespace (sd_listen_fds(3)).
        checked.add_variable(format!("LISTEN_FDS={listening}"));
        checked.add_variable("LISTEN_PID=1".to_string());
    }
    let manager = notify::manager();
    if manager.is_some() {
        let source = notify::directory(&global.store.directory(&args.id));
        checked.add_mount(&source, notify::INSIDE.as_ref());
        checked.add_variable(notify::variable());
    }
    checked.warnings.iter().for_each(log::warn);
    let options = Options {
        no_pivot: args.no_pivot,
        no_new_keyring: args.no_new_keyring,
        preserve_fds: preserved,
        rootless: global.rootless,
    };
    let (host, driver) = cgroup_driver(global, &checked.spec)?;
    let plan = Plan::new(&args.id, &checked, &host, &driver, options)?;
    let runnable = plan.process.is_some() || then == Then::Wait;
    ensure!(runnable, "process: required to run a container");
    let (detach, socket) = (then != Then::StartAttached, args.console_socket.as_deref());
    terminal::check(plan.process.as_ref(), detach, socket)?;
    log::debug(|| format!("{plan:?}"));
    let Sides { console, caller } = console::prepare(plan.process.as_ref(), socket)?;
    let request = Request {
        store: &global.store,
        plan: &plan,
        config: &checked.bytes,
        image,
        pid_file: args.pid_file.as_deref(),
        notify: manager.is_some(),
        start: then != Then::Wait && caller.is_none() && manager.is_none(),
        console,
        pidfd_socket: args.pidfd_socket.as_deref().or_else(|| plan.pidfd_receiver()),
    };
    let created = create(request).context("unable to start container process")?;
    Ok((created, caller))
}

/// Where cgroups are to be made, and by whom.
fn cgroup_driver(global: &Global, spec: &Spec) -> Result<(Cgroups, Driver)> {
    Ok(match global.manager {
        CgroupManager::Disabled => (Cgroups::default(), Driver::Cgroupfs),
        CgroupManager::Cgroupfs => {
            let host = Cgroups::read(cgroups::counts_from_own(spec))?;
            ensure!(
                global.rootless || host != Cgroups::default(),
                "no cgroups are mounted at /sys/fs/cgroup (--cgroup-manager=disabled does without)"
            );
            (host, Driver::Cgroupfs)
        }
        CgroupManager::Systemd => {
            (Cgroups::read(false)?, Driver::Systemd(Manager::ask(global.rootless)?))
        }
    })
}

/// Makes sure that this program runs from an image that no container can write to.
///
/// An ordinary user's containers have ids of that user alone; they cannot write to a file that
/// belongs to root.
pub(super) fn sealed_image() -> Result<Image> {
    let image = sealed::image().context("look at the running program")?;
    if !matches!(image, Image::Installed) {
        return Ok(image);
    }
    let safe = !geteuid().is_root() && sealed::installed_file_is_root_only()?;
    if safe {
        return Ok(image);
    }
    log::debug(|| "run from a copy in memory: the program's file cannot be mounted read-only");
    let strings = |strings: &mut dyn Iterator<Item = std::ffi::OsString>| {
        let strings = strings.map(|s| std::ffi::CString::new(s.into_encoded_bytes()));
        strings.collect::<Result<Vec<_>, _>>().map(Vector::new)
    };
    let argv = strings(&mut std::env::args_os())?;
    let envp = strings(&mut std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        name
    }))?;
    Err(sealed::run_from_memory(&argv, &envp)).context("run from a copy in memory")
}

/// A descriptor that is to be passed on has to come from the caller.
pub(super) fn check_preserved(count: u32, image: &Image) -> Result<()> {
    let end = i32::try_from(count).ok().and_then(|count| count.checked_add(3));
    let Some(end) = end else { bail!("--preserve-fds: {count} are too many") };
    for number in 3..end {
        let own = image.raw_fd() == Some(number);
        let open = !own && crate::sys::process::inherited_fd(number).is_ok();
        ensure!(open, "unable to stat preserved-fd {number} (of {count})");
    }
    Ok(())
}
