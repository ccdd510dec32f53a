//! Everything that will be done for one container, flat and owned, made without side effects.
//!
//! Behind this point nobody looks into the document again.

pub mod exec;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use nix::unistd::{Uid, geteuid};
use oci_spec::runtime::{Linux, Mount, Spec};

use crate::cgroups::{self, Driver};
use crate::hooks::Hooks;
use crate::host;
use crate::namespaces::device::Device;
use crate::namespaces::sysctl::Sysctl;
use crate::namespaces::{Kind, Namespaces};
use crate::process::Process;
use crate::process::label::check_selinux;
use crate::rootfs::cgroup::{Hierarchy, View};
use crate::rootfs::{Change, Rootfs};
use crate::seccomp::Filter;
use crate::spec::Checked;

/// What the command line says about how a container is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Move the root instead of pivoting.
    pub no_pivot: bool,
    /// Leave init in the caller's session keyring.
    pub no_new_keyring: bool,
    /// How many descriptors from 3 on the program inherits.
    pub preserve_fds: u32,
    /// Do without cgroups that the caller may not make, if nothing asks for them.
    pub rootless: bool,
}

/// What will be done for one container.
#[derive(Debug)]
pub struct Plan {
    /// The name of the container.
    pub id: String,
    /// The absolute path of the bundle.
    pub bundle: PathBuf,
    /// The annotations of the config, for its state.
    pub annotations: BTreeMap<String, String>,
    /// Namespaces to make and to join.
    pub namespaces: Namespaces,
    /// Cgroups to make.
    pub cgroups: cgroups::Plan,
    /// Its group of resctrl, if it has one.
    pub rdt: Option<cgroups::rdt::Plan>,
    /// What the container sees of cgroups, if it sees them.
    pub cgroup_view: Option<View>,
    /// Mounts, devices, masks.
    pub rootfs: Rootfs,
    /// The program; without one the container can be created and not started (STR-04).
    pub process: Option<Process>,
    /// The filter for system calls, if there is one.
    pub seccomp: Option<Filter>,
    /// The host name, if it is set.
    pub hostname: Option<String>,
    /// The NIS domain name, if it is set.
    pub domainname: Option<String>,
    /// Kernel parameters of the container's namespaces.
    pub sysctls: Vec<Sysctl>,
    /// Interfaces of the host that become the container's.
    pub net_devices: Vec<Device>,
    /// Programs to run at points of its life.
    pub hooks: Hooks,
    /// Join a session keyring of the container's own.
    pub new_keyring: bool,
    /// How many descriptors from 3 on the program inherits.
    pub preserve_fds: u32,
}

impl Plan {
    /// Makes a plan of a checked document for this host.
    ///
    /// # Errors
    /// What the document asks for and this host or the options cannot give.
    pub fn new(
        id: &str,
        checked: &Checked,
        host: &host::Cgroups,
        driver: &Driver,
        options: Options,
    ) -> Result<Self> {
        let spec = &checked.spec;
        let linux = spec.linux().as_ref();
        let namespaces = Namespaces::from_spec(linux);
        ensure!(
            geteuid().is_root() || namespaces.has(Kind::User),
            "linux.namespaces: rootless container requires user namespaces"
        );
        let annotations = annotations(spec);
        let cgroups = cgroups::Plan::new(linux, id, host, options.rootless)?;
        let cgroups = match driver {
            Driver::Cgroupfs => cgroups,
            Driver::Systemd(manager) => {
                let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
                cgroups.by_systemd(manager, path, id, annotations.iter())?
            }
        };
        let change = change(&namespaces, options, linux)?;
        let rootfs = Rootfs::from_spec(
            spec,
            &checked.bundle,
            &checked.rootfs,
            change,
            namespaces.has(Kind::User),
        )?;
        check_id_maps(&rootfs)?;
        check_selinux("linux.mountLabel", linux.and_then(|linux| linux.mount_label().as_deref()))?;
        let process = spec.process().as_ref().map(|process| Process::from_spec(process, spec));
        let process = process.transpose()?;
        if let Some(process) = &process {
            process.check(namespaces.has(Kind::User))?;
        }
        let owner = process.as_ref().filter(|_| may_own_cgroup(spec, &namespaces));
        let owner = owner.and_then(|process| namespaces.maps.host_uid(process.user.uid));
        let cgroups = cgroups.owned_by(owner.map(Uid::from_raw));
        let mut seccomp = process.is_some().then(|| Filter::from_spec(spec)).transpose()?.flatten();
        if let Some(filter) = &mut seccomp {
            filter.shows_init = !geteuid().is_root() && namespaces.is_new(Kind::Pid);
        }
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Ok(Self {
            id: id.to_string(),
            bundle: checked.bundle.clone(),
            sysctls: Sysctl::from_spec(linux, &namespaces)?,
            cgroup_view: view(&cgroups, &namespaces).filter(|_| rootfs.shows_cgroups()),
            namespaces,
            cgroups,
            rdt: cgroups::rdt::Plan::new(linux, id),
            rootfs,
            seccomp,
            process,
            hostname: filled(spec.hostname()),
            domainname: filled(spec.domainname()),
            net_devices: Device::from_spec(linux)?,
            hooks: Hooks::from_spec(spec.hooks().as_ref(), &annotations)?,
            new_keyring: !options.no_new_keyring,
            preserve_fds: options.preserve_fds,
            annotations,
        })
    }
}

/// The kernel would say EPERM.
fn check_id_maps(rootfs: &Rootfs) -> Result<()> {
    let Some((index, _)) = rootfs.id_maps().next() else { return Ok(()) };
    let text = "id-mapped mounts are not supported for rootless containers";
    ensure!(geteuid().is_root(), "mounts[{index}]: {text}");
    Ok(())
}

fn change(namespaces: &Namespaces, options: Options, linux: Option<&Linux>) -> Result<Change> {
    if !namespaces.has(Kind::Mount) {
        return Ok(Change::Chroot);
    }
    if !options.no_pivot {
        return Ok(Change::Pivot);
    }
    let word = linux.and_then(|linux| linux.rootfs_propagation().as_deref()).unwrap_or_default();
    // The host's root stays below the container's, and its mounts would be seen as private.
    ensure!(
        !matches!(word, "private" | "rprivate"),
        "linux.rootfsPropagation: {word:?} does not go with --no-pivot"
    );
    Ok(Change::Move)
}

impl Plan {
    /// Its processes keep the groups of the runtime's caller.
    #[must_use]
    pub fn keeps_groups(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.user.keeps_groups)
    }

    /// crun's annotation in place of `--pidfd-socket`.
    #[must_use]
    pub fn pidfd_receiver(&self) -> Option<&Path> {
        self.annotations.get("run.oci.pidfd_receiver").map(Path::new)
    }
}

/// The program's user may get the cgroup: it is the root of what he sees, and he can write there
/// (CGO-03, CGO-04).
fn may_own_cgroup(spec: &Spec, namespaces: &Namespaces) -> bool {
    let is_writable = |mount: &Mount| {
        let options = mount.options().as_deref().unwrap_or_default();
        mount.destination() == Path::new("/sys/fs/cgroup")
            && mount.source().as_deref() == Some(Path::new("cgroup"))
            && !options.iter().any(|option| option == "ro")
    };
    namespaces.is_new(Kind::Cgroup) && spec.mounts().iter().flatten().any(is_writable)
}

fn annotations(spec: &Spec) -> BTreeMap<String, String> {
    spec.annotations().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn view(cgroups: &cgroups::Plan, namespaces: &Namespaces) -> Option<View> {
    let mut mounts = cgroups.mounts().peekable();
    if cgroups.is_v2() {
        let (hierarchy, _) = mounts.next()?;
        let namespace = namespaces.has(Kind::Cgroup);
        return Some(View::V2 { root: hierarchy.mount.clone(), namespace });
    }
    mounts.peek()?;
    let hierarchies = mounts.filter(|(hierarchy, _)| !hierarchy.controllers.is_empty());
    let hierarchies = hierarchies.map(|(hierarchy, directory)| Hierarchy {
        name: hierarchy.mount.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        aliases: hierarchy.controllers.clone(),
        path: directory.to_path_buf(),
    });
    Some(View::V1(hierarchies.collect()))
}
