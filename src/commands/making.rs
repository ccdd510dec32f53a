//! What `create` and `run` have in common: from a bundle to a plan.

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::geteuid;

use super::Global;
use crate::cgroups;
use crate::cli::Making;
use crate::container::check_id;
use crate::container::create::{Created, Request, create};
use crate::host::Cgroups;
use crate::log;
use crate::plan::{Options, Plan};
use crate::spec;
use crate::sys::process::Vector;
use crate::sys::sealed::{self, Image};

/// Creates the container that the options describe, and opens its gate if it is to `start`.
///
/// # Errors
/// Whatever goes wrong, with nothing left behind.
pub(super) fn make(global: &Global, args: &Making, start: bool) -> Result<Created> {
    check_id(&args.id)?;
    refuse(global, args)?;
    let image = sealed_image()?;
    check_preserved(args.preserve_fds, &image)?;
    let checked = spec::load(&args.bundle)?;
    checked.warnings.iter().for_each(log::warn);
    let options = Options {
        no_pivot: args.no_pivot,
        no_new_keyring: args.no_new_keyring,
        preserve_fds: args.preserve_fds,
    };
    let host = Cgroups::read(cgroups::counts_from_own(&checked.spec))?;
    let plan = Plan::new(&args.id, &checked, &host, options)?;
    let runnable = plan.process.is_some() || !start;
    ensure!(runnable, "process: required to run a container");
    log::debug(|| format!("{plan:#?}"));
    let request = Request {
        store: &global.store,
        plan: &plan,
        config: &checked.bytes,
        image,
        pid_file: args.pid_file.as_deref(),
        start,
    };
    create(request).context("unable to start container process")
}

/// Options that ask for what this version cannot do.
fn refuse(global: &Global, args: &Making) -> Result<()> {
    for (option, asked) in [
        ("--systemd-cgroup", global.systemd_cgroup),
        ("--console-socket", args.console_socket.is_some()),
        ("--pidfd-socket", args.pidfd_socket.is_some()),
    ] {
        ensure!(!asked, "{option}: not supported by this version");
    }
    Ok(())
}

/// Makes sure that this program runs from an image that no container can write to.
///
/// An ordinary user's containers have ids of that user alone; they cannot write to a file that
/// belongs to root.
fn sealed_image() -> Result<Image> {
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
fn check_preserved(count: u32, image: &Image) -> Result<()> {
    let end = i32::try_from(count).ok().and_then(|count| count.checked_add(3));
    let Some(end) = end else { bail!("--preserve-fds: {count} are too many") };
    for number in 3..end {
        let own = image.raw_fd() == Some(number);
        let open = !own && crate::sys::process::inherited_fd(number).is_ok();
        ensure!(open, "unable to stat preserved-fd {number} (of {count})");
    }
    Ok(())
}
