//! The container's root file system: mounts, devices, the change of root, masks.
//!
//! The order is that of runc, whose hooks depend on it: mounts and devices first, then the hooks
//! that expect the host's root, then the change of root, then what closes the container's view.

mod by_path;
mod calls;
pub mod cgroup;
mod copy_up;
mod destination;
mod dev;
mod fault;
mod host_mount;
mod id_map;
mod mask;
mod mount;
mod namespace;
mod new_fs;
pub mod options;
mod pivot;
mod room;
mod verify;

use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::unistd::fchdir;
use oci_spec::runtime::Spec;

use crate::procfs::Procfs;
use crate::resolve::Root;
use crate::sys::mount::{Attributes, MOUNT_ATTR_RDONLY};
use crate::sys::stat::set_label;
use calls::Calls;
use dev::{Bind, Device};
pub use host_mount::HostMount;
pub use id_map::{IdMap, MapIds, Prepared};
use mount::{Kind, Mount};
pub use namespace::Way;
use room::Room;

/// How the root is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// pivot_root(2), the rule.
    Pivot,
    /// Moving the root, for `--no-pivot`.
    Move,
    /// chroot(2): there is no mount namespace of the container's own.
    Chroot,
}

/// `/dev` is the container's own, and not taken from the host (BXM-12).
#[must_use]
pub fn has_own_dev(spec: &Spec) -> bool {
    !spec.mounts().iter().flatten().any(mount::is_bound_dev)
}

/// Changes the root to the directory `path`, for a process that joins a container without a mount
/// namespace.
///
/// # Errors
/// Those of open(2) and chroot(2).
pub fn change_root(path: &Path) -> Result<Root> {
    let root = pivot::open_root(path)?;
    pivot::change_root(&root)?;
    Ok(root)
}

/// What the root file system is to become.
#[derive(Clone, Debug)]
pub struct Rootfs {
    path: PathBuf,
    read_only: bool,
    /// `MS_*` of `linux.rootfsPropagation`, or 0.
    propagation: u64,
    change: Change,
    mounts: Vec<Mount>,
    devices: Vec<Device>,
    /// The container is in one: devices are bound from the host, as nobody may make them there.
    user_namespace: bool,
    /// `/dev` is the container's own and gets devices and links.
    own_dev: bool,
    masked: Vec<String>,
    read_only_paths: Vec<String>,
    /// What SELinux sees in file systems that are made.
    label: Option<String>,
}

/// The root and what has been attached below it.
#[derive(Debug)]
pub struct Tree {
    /// The container's root.
    pub root: Root,
    /// In the order of the document; `None` where there was nothing to attach.
    mounts: Vec<Option<OwnedFd>>,
    /// How they were made.
    calls: Calls,
    /// How the mount namespace was made.
    way: Way,
    /// For the mounts, which stay open.
    room: Room,
}

impl Tree {
    fn attached<'a>(
        &'a self,
        rootfs: &'a Rootfs,
    ) -> impl Iterator<Item = (&'a Mount, &'a OwnedFd)> {
        let pairs = rootfs.mounts.iter().zip(&self.mounts);
        pairs.filter_map(|(mount, attached)| Some((mount, attached.as_ref()?)))
    }
}

impl Rootfs {
    /// Takes over what a checked document says.
    ///
    /// # Errors
    /// For mounts that contradict themselves, with the JSON path.
    pub fn from_spec(
        spec: &Spec,
        bundle: &Path,
        path: &Path,
        change: Change,
        user_namespace: bool,
    ) -> Result<Self> {
        let mounts = spec.mounts().iter().flatten().enumerate();
        let mounts = mounts
            .map(|(index, mount)| Mount::from_spec(index, mount, (bundle, path), user_namespace));
        let mut mounts: Vec<_> = mounts.collect::<Result<_>>()?;
        let linux = spec.linux().as_ref();
        let label = linux.and_then(|linux| linux.mount_label().clone());
        let label = label.filter(|label| !label.is_empty());
        mounts.iter_mut().for_each(|mount| mount.label.clone_from(&label));
        let own_dev = has_own_dev(spec);
        let devices = linux.and_then(|linux| linux.devices().as_deref()).unwrap_or_default();
        let words = linux.and_then(|linux| linux.rootfs_propagation().as_deref());
        Ok(Self {
            path: path.to_owned(),
            read_only: spec.root().as_ref().is_some_and(|root| root.readonly() == Some(true)),
            propagation: propagation(words.unwrap_or_default()),
            change,
            devices: if own_dev { Device::list(devices) } else { Vec::new() },
            user_namespace,
            own_dev,
            mounts,
            label,
            masked: linux.and_then(|linux| linux.masked_paths().clone()).unwrap_or_default(),
            read_only_paths: linux
                .and_then(|linux| linux.readonly_paths().clone())
                .unwrap_or_default(),
        })
    }

    /// The path of the root file system on the host.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What has to be unmounted on the host when the container is gone, if anything.
    ///
    /// # Errors
    /// Those of looking at the place.
    pub fn host_mount(&self) -> Result<Option<HostMount>> {
        match self.change {
            Change::Chroot => HostMount::before(&self.path).map(Some),
            Change::Pivot | Change::Move => Ok(None),
        }
    }

    /// A mount of the container shows cgroups.
    #[must_use]
    pub fn shows_cgroups(&self) -> bool {
        self.mounts.iter().any(|mount| mount.kind == Kind::Cgroup)
    }

    /// Mounts everything and makes the devices; the host's root is still in place then, unless the
    /// mount namespace is made of the container's. `procfs` is the host's; `prepared` is what the
    /// runtime prepared for some mounts, by their place in the document. The working directory may
    /// have changed afterwards.
    ///
    /// # Errors
    /// The first mount or device that cannot be made, with its JSON path.
    pub fn prepare(
        &self,
        procfs: &Procfs,
        cgroups: Option<&cgroup::View>,
        mut prepared: HashMap<usize, Prepared>,
        way: Way,
        map_ids: &mut MapIds<'_>,
    ) -> Result<Tree> {
        let room = Room::make(self.mounts.len() + self.devices.len())?;
        let here = pivot::open_root(&self.path).context("root.path: mount it")?;
        let mut nodes = HashMap::new();
        let (calls, root) = match way {
            Way::Made => {
                self.take_from_host(&here, &mut prepared, &mut nodes)?;
                (Calls::AMONG_OTHERS, self.make_namespace(&here)?)
            }
            Way::Copied => self.attach_root(procfs, &here)?,
        };
        let mut tree = Tree { root, mounts: Vec::new(), calls, way, room };
        for mount in &self.mounts {
            let (calls, root) = (&tree.calls, &tree.root);
            let attached = match (&mount.kind, cgroups) {
                (Kind::Cgroup, Some(view)) => cgroup::attach(mount, calls, root, view).map(Some),
                // No cgroups on this host: there is nothing to show.
                (Kind::Cgroup, None) => Ok(None),
                _ => {
                    let opened = mount.context(self.open_inside(mount, calls, map_ids))?;
                    let source = opened.or_else(|| prepared.remove(&mount.index));
                    mount.attach(calls, root, source).map(Some)
                }
            };
            tree.mounts.push(mount.context(attached)?);
        }
        let dev = self.own_dev.then(|| dev::open_own(&tree.root)).transpose()?;
        for (index, device) in self.devices.iter().enumerate() {
            let bind = match (way, nodes.remove(&index)) {
                (_, Some(node)) => Bind::Copy(node),
                (Way::Made, None) => Bind::Never,
                (Way::Copied, None) if self.user_namespace => Bind::Always,
                (Way::Copied, None) => Bind::IfDenied,
            };
            device.make(&tree.calls, &tree.root, bind)?;
        }
        if let Some(dev) = dev {
            dev::make_links(&tree.root, &dev)?;
        }
        Ok(tree)
    }

    /// Attaches the root among the mounts of the host, of which this process has a copy.
    fn attach_root(&self, procfs: &Procfs, here: &Root) -> Result<(Calls, Root)> {
        let own_namespace = self.change != Change::Chroot;
        let calls = Calls::find(procfs, own_namespace).context("root.path: mount it")?;
        if own_namespace {
            self.isolate(&calls, here).context("prepare the mount namespace")?;
        }
        let root = pivot::attach_root(&calls, here, &self.path).context("root.path: mount it")?;
        Ok((calls, root))
    }

    /// `shared` keeps the host's mounts in their peer groups, so that a volume can be shared
    /// with the host; else nothing goes from the container to the host. From the host mounts
    /// reach the volumes, and with `slave` the root as well.
    fn propagation_of_host(&self) -> u64 {
        match self.propagation {
            // An unbindable mount could not be mounted on itself; see `finish`.
            libc::MS_UNBINDABLE => libc::MS_PRIVATE,
            0 => libc::MS_SLAVE,
            other => other,
        }
    }

    fn isolate(&self, calls: &Calls, here: &Root) -> Result<()> {
        pivot::isolate(calls, self.propagation_of_host())?;
        match self.propagation {
            0 | libc::MS_SHARED => pivot::make_parent_private(calls, here, &self.path),
            _ => Ok(()),
        }
    }

    /// Enters the directory of the root, where createContainer hooks run (BXH-01).
    ///
    /// # Errors
    /// Those of fchdir(2).
    pub fn enter_directory(&self, tree: &Tree) -> Result<()> {
        fchdir(tree.root.as_fd()).context("enter the root file system")
    }

    /// Changes the root. `image` is the mount that the runtime runs from; `place` is a file of
    /// the host, where it is put to go away together with the host's mounts.
    ///
    /// # Errors
    /// Those of the calls that change the root.
    pub fn enter(&self, tree: &Tree, image: Option<OwnedFd>, place: &Path) -> Result<()> {
        let root = &tree.root;
        match self.change {
            _ if tree.way == Way::Made => Ok(()),
            _ if fault::skips(|| "change of root".to_string()) => Ok(()),
            Change::Pivot => {
                if let Some(image) = image {
                    pivot::bury(image, place);
                }
                pivot::pivot(&tree.calls, root, self.propagation == libc::MS_SHARED)
            }
            Change::Move => pivot::move_root(root, &self.path),
            Change::Chroot => pivot::change_root(root),
        }
        .context("error jailing process inside rootfs")?;
        // Slave and private came with `prepare`; this would have been in the way of it.
        self.propagate(tree, libc::MS_SHARED)
    }

    /// Makes the root what `linux.rootfsPropagation` asks for, if that is `kind`.
    fn propagate(&self, tree: &Tree, kind: u64) -> Result<()> {
        if self.propagation != kind {
            return Ok(());
        }
        let attributes = Attributes { propagation: kind, ..Attributes::default() };
        let done = tree.calls.set(tree.root.as_fd(), attributes, false);
        done.context("linux.rootfsPropagation: apply it")
    }

    /// Shows the program's terminal as `/dev/console`, before `/dev` may become read-only.
    ///
    /// # Errors
    /// When a link is there, or it cannot be mounted.
    pub fn mount_console(&self, tree: &Tree, terminal: BorrowedFd<'_>) -> Result<()> {
        if let Some(label) = &self.label {
            let label = CString::new(label.as_str()).context("linux.mountLabel")?;
            set_label(terminal, &label).context("linux.mountLabel: give it to the terminal")?;
        }
        dev::mount_console(&tree.calls, &tree.root, terminal)
            .context("mount the terminal on /dev/console")
    }

    /// Closes the container's view: read-only mounts, the read-only root, masked and read-only
    /// paths. A path that is both is masked (BXM-33). Then looks whether all of that is in force.
    ///
    /// # Errors
    /// The first step that fails, with its JSON path.
    pub fn finish(&self, tree: &Tree, procfs: &Procfs) -> Result<()> {
        let (calls, root) = (&tree.calls, &tree.root);
        for (mount, attached) in tree.attached(self) {
            mount.context(mount.finish_read_only(calls, attached))?;
        }
        if self.read_only && !fault::skips(|| "root.readonly".to_string()) {
            let attributes = Attributes { set: MOUNT_ATTR_RDONLY, ..Attributes::default() };
            let done = calls.set(root.as_fd(), attributes, false);
            done.context("root.readonly: make the root read-only")?;
        }
        mask::make_read_only(calls, root, &self.read_only_paths)?;
        mask::hide(calls, root, &self.masked, self.label.as_deref())?;
        // Read-only paths are covered by copies of themselves, which nobody can make after this.
        self.propagate(tree, libc::MS_UNBINDABLE)?;
        verify::verify(self, tree, procfs)?;
        tree.room.give_back()
    }

    /// The container has a `/dev/null` of its own, to replace the host's in standard streams.
    #[must_use]
    pub fn has_own_dev(&self) -> bool {
        self.own_dev
    }
}

fn propagation(word: &str) -> u64 {
    match word.strip_prefix('r').unwrap_or(word) {
        "shared" => libc::MS_SHARED,
        "slave" => libc::MS_SLAVE,
        "private" => libc::MS_PRIVATE,
        "unbindable" => libc::MS_UNBINDABLE,
        _ => 0,
    }
}
