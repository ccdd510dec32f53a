//! A mount namespace made of the root file system alone, in one step: `OPEN_TREE_NAMESPACE`.
//!
//! The ordinary way copies all mounts of the host, changes the root and takes them away again. Here
//! init stays among the host's mounts until it has opened what it binds, and then goes into a
//! namespace that never had any of them. Which way is taken is settled before init is born; what
//! fails on it is an error, and nothing else is tried in its place.
//!
//! In a user namespace init begins with a copy of the host's mounts, as nobody may copy or make one
//! among those of another user namespace. From there it also takes what it could not get any more
//! in the namespace of the root: new procfs and sysfs, which the kernel makes there only where one
//! is to be seen in full (`mount_too_revealing` in fs/namespace.c; moving them is free), and
//! devices.
//!
//! Not everything can go this way:
//!
//! - bind mounts of what is below the root or above it, since they show what was mounted before;
//! - file systems that are made of others, or of devices: their paths are the host's;
//! - cgroups and devices of the host that are bound;
//! - hooks that expect the container's mounts among the host's, of which the runtime knows.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::{Mode, fstat};

use super::calls::Calls;
use super::cgroup::View;
use super::id_map::Prepared;
use super::mount::Kind;
use super::{Change, Rootfs, fault};
use crate::host::in_user_namespace;
use crate::resolve::Root;
use crate::sys::caps;
use crate::sys::mount::{
    Attributes, descriptor_calls_exist, mount_setattr, namespaces_of_trees_exist,
    open_tree_namespace,
};
use crate::sys::stat::mount_id;

/// File systems that take no path of the host, neither as a source nor in their options.
const MADE_OF_NOTHING: [&str; 5] = ["devpts", "mqueue", "proc", "sysfs", "tmpfs"];

/// How init comes to a mount namespace of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It has a copy of the host's, in which it changes its root.
    Copied,
    /// It makes one of the root file system.
    Made,
}

impl Rootfs {
    /// The way for a container with a new mount namespace and no hooks on the host; `cgroups` is
    /// what it sees of them.
    #[must_use]
    pub fn way(&self, cgroups: Option<&View>) -> Way {
        let binds_cgroups = !matches!(cgroups, None | Some(View::V2 { namespace: true, .. }));
        let has_devices =
            self.is_restricted() || caps::get().is_ok_and(|sets| sets.effective & caps::MKNOD != 0);
        let possible = self.change == Change::Pivot
            && !binds_cgroups
            && has_devices
            && descriptor_calls_exist()
            && namespaces_of_trees_exist()
            && self.is_apart();
        if possible { Way::Made } else { Way::Copied }
    }

    /// Everything of the host that is mounted can be opened before the root is changed, and is
    /// neither below the root nor has it below itself.
    fn is_apart(&self) -> bool {
        let Ok(root) = self.path.canonicalize() else { return false };
        self.mounts.iter().all(|mount| match &mount.kind {
            Kind::Bind { source, .. } => source
                .canonicalize()
                .is_ok_and(|source| !source.starts_with(&root) && !root.starts_with(&source)),
            Kind::Fs { fstype, .. } => MADE_OF_NOTHING.contains(&fstype.as_str()),
            Kind::Cgroup | Kind::Remount => true,
        })
    }

    /// The container is in a user namespace, one of its own or that of the runtime.
    fn is_restricted(&self) -> bool {
        self.user_namespace || in_user_namespace()
    }

    /// Opens or makes what cannot be had once the host's mounts are out of sight: sources of bind
    /// mounts that are not open yet, in a user namespace also file systems of the kernel, and
    /// devices, by their place in the list. `here` is the directory of the root.
    ///
    /// # Errors
    /// Those of opening, copying and making them.
    pub(super) fn take_from_host(
        &self,
        here: &Root,
        prepared: &mut HashMap<usize, Prepared>,
        nodes: &mut HashMap<usize, OwnedFd>,
    ) -> Result<()> {
        if self.user_namespace {
            self.isolate(&Calls::AMONG_OTHERS, here).context("prepare the mount namespace")?;
        }
        let restricted = self.is_restricted();
        for mount in &self.mounts {
            if prepared.contains_key(&mount.index) {
                continue;
            }
            let taken = match &mount.kind {
                Kind::Bind { source, recursive } => {
                    let from = mount.context(mount.find_source(source))?;
                    let copy = self.copy(from.as_fd(), *recursive, here);
                    let copy = copy.with_context(|| source.display().to_string());
                    Prepared::Source(mount.context(copy)?)
                }
                Kind::Fs { .. } if restricted && mount.is_of_the_kernel() => {
                    Prepared::Made(mount.context(mount.make_fs(&Calls::AMONG_OTHERS, None))?)
                }
                _ => continue,
            };
            prepared.insert(mount.index, taken);
        }
        for (index, device) in self.devices.iter().enumerate() {
            if restricted && device.is_bound() {
                let copy = || self.copy(device.open_of_host()?.as_fd(), false, here);
                nodes.insert(index, device.context(copy())?);
            }
        }
        Ok(())
    }

    /// Makes a mount namespace of the directory `here`, enters it, and returns its root.
    ///
    /// # Errors
    /// Those of open_tree(2) and setns(2), and when the root is not that directory then.
    pub(super) fn make_namespace(&self, here: &Root) -> Result<Root> {
        let namespace = open_tree_namespace(here.as_fd());
        let namespace = namespace.context("root.path: make a mount namespace of it")?;
        if !fault::skips(|| "change of root".to_string()) {
            let entered = setns(namespace, CloneFlags::CLONE_NEWNS);
            entered.context("root.path: enter its mount namespace")?;
        }
        let root = root_instead_of(here).context("root.path")?;
        // As `pivot::attach_root` has it: nothing goes to the host from here.
        let propagation = match self.propagation_of_host() {
            libc::MS_SHARED => libc::MS_SLAVE,
            other => other,
        };
        self.separate(root.as_fd(), propagation, true)
            .context("root.path: separate it from the host")?;
        Ok(root)
    }

    fn copy(&self, from: BorrowedFd<'_>, recursive: bool, here: &Root) -> Result<OwnedFd> {
        let copy = Calls::AMONG_OTHERS.copy(from, recursive)?;
        if self.user_namespace {
            // It was separated with all others.
            return Ok(copy);
        }
        let beside = mount_id(from)? == mount_id(here.as_fd())?;
        self.separate(copy.as_fd(), self.propagation_of_host(), beside)
            .context("separate it from the host")?;
        Ok(copy)
    }

    /// Gives the copy of a mount of the host, and those below it, the propagation that they would
    /// have in a copy of the host's namespace: see `isolate`. `beside` says that the topmost one is
    /// a copy of the mount on which the root is.
    fn separate(&self, copy: BorrowedFd<'_>, propagation: u64, beside: bool) -> nix::Result<()> {
        let set = |propagation, recursive| {
            mount_setattr(copy, Attributes { propagation, ..Attributes::default() }, recursive)
        };
        set(propagation, true)?;
        match self.propagation {
            0 | libc::MS_SHARED if beside => set(libc::MS_PRIVATE, false),
            _ => Ok(()),
        }
    }
}

/// Opens `/`, which is to be a copy of `here` by now and no longer the host's.
fn root_instead_of(here: &Root) -> Result<Root> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open("/", flags, Mode::empty()).context("open /")?;
    let directory = |fd| fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
    let same = directory(root.as_fd())? == directory(here.as_fd())?;
    let copied = mount_id(root.as_fd())? != mount_id(here.as_fd())?;
    ensure!(same && copied, "/ is not the container's root file system");
    Ok(Root::new(root))
}
