//! What the runtime does about mounts of a container whose init may not: ids are mapped by who may
//! administer the file system, and some directories only the host's root can enter.

use std::collections::HashMap;
use std::os::fd::{OwnedFd, RawFd};

use anyhow::{Context, Result};
use nix::unistd::geteuid;

use super::child::Child;
use crate::namespaces::Kind;
use crate::namespaces::join::Joined;
use crate::namespaces::user::Maps;
use crate::plan::Plan;
use crate::procfs::Procfs;
use crate::rootfs::{IdMap, Prepared};

/// Prepares the mounts whose ids are mapped, see `rootfs::IdMap`, and those that init cannot get to.
///
/// # Errors
/// Those of opening and mapping them, with the JSON path.
pub(super) fn prepare(
    plan: &Plan,
    joined: &Joined,
    procfs: &Procfs,
) -> Result<HashMap<usize, Prepared>> {
    let mut prepared = HashMap::new();
    if geteuid().is_root() {
        prepared.extend(plan.rootfs.open_closed_sources());
    }
    for (index, map) in plan.rootfs.id_maps() {
        if plan.rootfs.opens_for_mapping(index)? {
            continue;
        }
        let namespace = namespace(index, map, procfs, || match joined.get(Kind::User) {
            Some(joined) => joined.try_clone().context("copy a descriptor"),
            None => plan.namespaces.maps.namespace(procfs, "linux"),
        })?;
        prepared.insert(index, plan.rootfs.map_ids(index, namespace)?);
    }
    Ok(prepared)
}

/// Maps the ids of a mount, by its place in the document, that init has opened as its descriptor
/// `number`.
///
/// # Errors
/// Those of getting and mapping it.
pub(super) fn map_opened(
    plan: &Plan,
    init: &Child,
    procfs: &Procfs,
    (index, number): (usize, RawFd),
) -> Result<()> {
    plan.rootfs.map_opened(index, &init.descriptor(number)?, |map| {
        namespace(index, map, procfs, || {
            procfs.open_namespace(&init.pid.to_string(), Kind::User.file())
        })
    })
}

/// The user namespace with the mapping: that of the `container` if the mount has none of its own.
fn namespace(
    index: usize,
    map: &IdMap,
    procfs: &Procfs,
    container: impl FnOnce() -> Result<OwnedFd>,
) -> Result<OwnedFd> {
    match &map.own {
        Some((uid, gid)) => {
            Maps::new(uid.clone(), gid.clone()).namespace(procfs, &format!("mounts[{index}]"))
        }
        None => container(),
    }
}
