//! What the container sees below `/sys/fs/cgroup`.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::symlinkat;

use super::calls::Calls;
use super::mount::Mount;
use super::new_fs::NewFs;
use crate::resolve::Root;
use crate::sys::mount::{Attributes, MOUNT_ATTR_RDONLY};

/// Where cgroups are on the host; the caller knows, this module mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// One hierarchy: cgroup v2.
    V2 {
        /// Its mount point on the host.
        root: PathBuf,
        /// The container has a cgroup namespace: it sees its own cgroup as the root.
        namespace: bool,
    },
    /// Several hierarchies: cgroup v1. Each shows the container's own cgroup.
    V1(Vec<Hierarchy>),
}

/// One hierarchy of cgroup v1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// The name of its mount point below `/sys/fs/cgroup`, such as `cpu,cpuacct`.
    pub name: String,
    /// Controllers by whose names it is known too.
    pub aliases: Vec<String>,
    /// The directory of the container's cgroup on the host.
    pub path: PathBuf,
}

/// Attaches the view of cgroups at the destination of `mount` and returns the mount that is there.
///
/// # Errors
/// Those of making and attaching the mounts.
pub(super) fn attach(mount: &Mount, calls: &Calls, root: &Root, view: &View) -> Result<OwnedFd> {
    match view {
        View::V2 { root: host, namespace } => {
            let (place, _) = mount.open_destination(root, true)?;
            let made = make_v2(mount, calls, host, *namespace)?;
            mount.finish(calls, made, &place)
        }
        View::V1(hierarchies) => attach_v1(mount, calls, root, hierarchies),
    }
}

/// A new cgroup2 mount costs nothing inside a cgroup namespace and shows the container's cgroup
/// as its root. From the host's namespace it would change the flags of the one superblock, under
/// a lock that takes milliseconds, so the host's mount is bound instead.
fn make_v2(mount: &Mount, calls: &Calls, host: &Path, namespace: bool) -> Result<OwnedFd> {
    let (data, attributes) = (&mount.options.data, mount.attributes());
    if namespace {
        let label = mount.label.as_deref();
        let fs = NewFs { fstype: "cgroup2", source: "cgroup", flags: &[], data, attributes, label };
        return calls.new_fs(&fs);
    }
    let made = calls.copy_host_path(host, false)?;
    calls.set(made.as_fd(), replace(attributes), false).context("set its attributes")?;
    Ok(made)
}

/// A tmpfs with a directory and a bind mount for each hierarchy, and links for merged names.
fn attach_v1(
    mount: &Mount,
    calls: &Calls,
    root: &Root,
    hierarchies: &[Hierarchy],
) -> Result<OwnedFd> {
    let (target, _) = mount.open_destination(root, true)?;
    let data = ["mode=755".to_string()];
    let attributes = mount.options.set & !MOUNT_ATTR_RDONLY;
    let fs = NewFs {
        fstype: "tmpfs",
        source: "tmpfs",
        flags: &[],
        data: &data,
        attributes,
        label: mount.label.as_deref(),
    };
    let tmpfs = calls.new_fs(&fs)?;
    calls.attach(tmpfs.as_fd(), target.as_fd()).context("attach it")?;
    // A caller without rights goes on without some: see `cgroups`.
    for hierarchy in hierarchies.iter().filter(|hierarchy| hierarchy.path.exists()) {
        let name = OsStr::new(&hierarchy.name);
        attach_hierarchy(mount, calls, tmpfs.as_fd(), hierarchy)
            .with_context(|| hierarchy.path.display().to_string())?;
        for alias in hierarchy.aliases.iter().filter(|alias| *alias != &hierarchy.name) {
            symlinkat(name, &tmpfs, alias.as_str()).with_context(|| format!("link {alias}"))?;
        }
    }
    if mount.options.read_only() {
        let attributes = Attributes { set: MOUNT_ATTR_RDONLY, ..Attributes::default() };
        calls.set(tmpfs.as_fd(), attributes, false).context("make it read-only")?;
    }
    mount.set_recursively(calls, &tmpfs)?;
    super::mount::propagate(calls, &tmpfs, &mount.options.propagation)?;
    Ok(tmpfs)
}

fn attach_hierarchy(
    mount: &Mount,
    calls: &Calls,
    tmpfs: std::os::fd::BorrowedFd<'_>,
    hierarchy: &Hierarchy,
) -> Result<()> {
    let name = Path::new(&hierarchy.name);
    mkdirat(tmpfs, name, Mode::from_bits_truncate(0o755)).context("mkdir")?;
    let made = calls.copy_host_path(&hierarchy.path, false)?;
    calls.set(made.as_fd(), replace(mount.attributes()), false).context("set its attributes")?;
    let flags = nix::fcntl::OFlag::O_PATH;
    let place = crate::resolve::open_beneath(tmpfs, name, flags).context("open its place")?;
    calls.attach(made.as_fd(), place.as_fd()).context("attach it")
}

/// The attributes of the config instead of those of the host's mount, of which this is no peer even
/// where the root is shared: what appears here must not appear there.
fn replace(set: u64) -> Attributes {
    use crate::sys::mount::{
        MOUNT_ATTR__ATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID,
    };
    let all = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSUID;
    let propagation = libc::MS_PRIVATE;
    Attributes { set, clear: (all & !set) | MOUNT_ATTR__ATIME, propagation }
}
