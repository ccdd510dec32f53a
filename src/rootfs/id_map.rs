//! Id-mapped mounts: files show other owners in them than on disk (mount_setattr(2)).
//!
//! The kernel takes the mapping from a user namespace, and lets only those map a mount who may
//! administer its file system. For a file system of the host that is the runtime, and not an init
//! in a user namespace. So the runtime opens such sources, before init is born. What the container
//! has mounted itself init opens, and has the runtime map it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use oci_spec::runtime::LinuxIdMapping;

use super::Rootfs;
use super::calls::Calls;
use super::mount::{Kind, Mount};
use crate::sys::mount::{self, Attributes};

/// What one mount says about ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMap {
    /// Its own mappings of users and groups; without them those of the container count (IDM-06).
    pub own: Option<(Vec<LinuxIdMapping>, Vec<LinuxIdMapping>)>,
    /// For the mounts below as well.
    recursive: bool,
}

/// Has the runtime map the ids of a mount, by its place in the document, that is attached nowhere
/// yet.
pub type MapIds<'a> = dyn FnMut(usize, BorrowedFd<'_>) -> Result<()> + 'a;

/// What the runtime prepared for one mount.
#[derive(Debug)]
pub enum Prepared {
    /// The copy of the source of a bind mount, with mapped ids if that was asked for.
    Source(OwnedFd),
    /// The namespace with the mapping for a new file system.
    Namespace(OwnedFd),
    /// The new file system itself, with mapped ids if that was asked for.
    Made(OwnedFd),
}

impl IdMap {
    /// What a mount says, if it says anything.
    ///
    /// # Errors
    /// For a mount that cannot be mapped, or that does not say how.
    pub(super) fn from_spec(
        mount: &oci_spec::runtime::Mount,
        kind: &Kind,
        word: Option<bool>,
        user_namespace: bool,
    ) -> Result<Option<Self>> {
        // Both or none of them are there: the check of the document has seen to that.
        let own = mount.uid_mappings().clone().zip(mount.gid_mappings().clone());
        let own = own.filter(|(uids, gids)| !uids.is_empty() && !gids.is_empty());
        if own.is_none() && word.is_none() {
            return Ok(None);
        }
        ensure!(
            own.is_some() || user_namespace,
            "options: \"idmap\" needs uidMappings and gidMappings, or a user namespace"
        );
        ensure!(
            matches!(kind, Kind::Bind { .. } | Kind::Fs { .. }),
            "options: only bind mounts and new file systems can be id-mapped"
        );
        Ok(Some(Self { own, recursive: word == Some(true) }))
    }

    /// Maps `mount`, which is attached nowhere yet.
    ///
    /// # Errors
    /// EINVAL for a file system that cannot be mapped, else those of mount_setattr(2).
    pub(super) fn apply(&self, mount: &OwnedFd, namespace: &OwnedFd) -> Result<()> {
        mount::map_ids(mount.as_fd(), namespace.as_fd(), self.recursive)
            .context("map its ids (the file system may not support that)")
    }
}

impl Rootfs {
    /// The mounts whose ids are mapped, by their place in the document.
    pub fn id_maps(&self) -> impl Iterator<Item = (usize, &IdMap)> {
        self.mounts.iter().filter_map(|mount| Some((mount.index, mount.id_map.as_ref()?)))
    }

    /// Opens sources of bind mounts to which only the host's root can get, for an init in a user
    /// namespace: the kubelet's directory is closed to everybody else. For the runtime of that
    /// root. What is wrong with others is for init to say.
    pub fn open_closed_sources(&self) -> impl Iterator<Item = (usize, Prepared)> {
        let possible = self.user_namespace && mount::descriptor_calls_exist();
        self.mounts.iter().filter(move |_| possible).filter_map(|mount| {
            let Kind::Bind { source, recursive } = &mount.kind else { return None };
            let wanted = mount.id_map.is_none() && !is_open_to_all(source);
            let opened = wanted.then(|| mount.open_source_for_init(source, *recursive))?;
            Some((mount.index, Prepared::Source(opened.ok()?)))
        })
    }

    /// Only init can open what is mapped at `index`: it may be what the container has mounted before.
    ///
    /// # Errors
    /// Where the kernel cannot map ids, with the JSON path.
    pub fn opens_for_mapping(&self, index: usize) -> Result<bool> {
        let mount = self.mount(index)?;
        let possible = mount::descriptor_calls_exist();
        mount.context(possible.then_some(()).context("id-mapped mounts need mount_setattr"))?;
        Ok(self.shows_inside(mount))
    }

    /// Prepares the mount at `index` with the mapping of `namespace`. For the runtime, before init
    /// is born.
    ///
    /// # Errors
    /// Those of opening and mapping the source of a bind mount, with the JSON path.
    pub fn map_ids(&self, index: usize, namespace: OwnedFd) -> Result<Prepared> {
        let mount = self.mount(index)?;
        mount.context(mount.map_ids(namespace, self.user_namespace))
    }

    /// Maps what init has opened for the mount at `index`; `namespace` gets one with the mapping. For
    /// the runtime.
    ///
    /// # Errors
    /// Those of getting it, and of mount_setattr(2) with the JSON path.
    pub fn map_opened(
        &self,
        index: usize,
        tree: &OwnedFd,
        namespace: impl FnOnce(&IdMap) -> Result<OwnedFd>,
    ) -> Result<()> {
        let mount = self.mount(index)?;
        let map = mount.id_map.as_ref().context("no ids to map")?;
        let namespace = namespace(map)?;
        mount.context(map.apply(tree, &namespace))
    }

    fn mount(&self, index: usize) -> Result<&Mount> {
        self.mounts.get(index).context("there is no such mount")
    }

    /// The source of the bind mount is below the root.
    fn shows_inside(&self, mount: &Mount) -> bool {
        let inside = |source: &Path| source.starts_with(&self.path);
        mount.id_map.is_some() && matches!(&mount.kind, Kind::Bind { source, .. } if inside(source))
    }

    /// Opens the source of such a mount and has it mapped.
    pub(super) fn open_inside(
        &self,
        mount: &Mount,
        calls: &Calls,
        map_ids: &mut MapIds<'_>,
    ) -> Result<Option<Prepared>> {
        let Kind::Bind { source, recursive } = &mount.kind else { return Ok(None) };
        if !self.shows_inside(mount) {
            return Ok(None);
        }
        let tree = mount.open_source(calls, source, *recursive)?;
        map_ids(mount.index, tree.as_fd())?;
        Ok(Some(Prepared::Source(tree)))
    }
}

/// Everybody may go through all directories above the file.
fn is_open_to_all(path: &Path) -> bool {
    let searchable = |directory: &Path| {
        directory.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0)
    };
    path.canonicalize().is_ok_and(|path| path.ancestors().skip(1).all(searchable))
}

impl Mount {
    /// As [`Mount::open_source`], in the host's mount namespace: there it may be shared with the
    /// host, which must not see what is mounted in the container.
    fn open_source_for_init(&self, source: &Path, recursive: bool) -> Result<OwnedFd> {
        let tree = self.open_source(&Calls::AMONG_OTHERS, source, recursive)?;
        let attributes = Attributes { propagation: libc::MS_SLAVE, ..Attributes::default() };
        mount::mount_setattr(tree.as_fd(), attributes, true).context("make it a slave")?;
        Ok(tree)
    }

    fn map_ids(&self, namespace: OwnedFd, user_namespace: bool) -> Result<Prepared> {
        let map = self.id_map.as_ref().context("no ids to map")?;
        match &self.kind {
            Kind::Bind { source, recursive } => {
                let mount = self.open_source_for_init(source, *recursive)?;
                map.apply(&mount, &namespace)?;
                Ok(Prepared::Source(mount))
            }
            // What belongs to another user namespace than the first cannot be mapped.
            _ if user_namespace => {
                let mount = self.make_fs(&Calls::AMONG_OTHERS, None)?;
                map.apply(&mount, &namespace)?;
                Ok(Prepared::Made(mount))
            }
            _ => Ok(Prepared::Namespace(namespace)),
        }
    }
}
