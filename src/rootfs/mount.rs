//! One mount of the config: made detached, finished while nobody can see it, then moved onto a
//! descriptor of its destination.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat};

use super::calls::Calls;
use super::destination::clean;
use super::id_map::{IdMap, Prepared};
use super::new_fs::NewFs;
use super::options::{Options, Propagation};
use super::{copy_up, fault};
use crate::resolve::Root;
use crate::sys::mount::{Attributes, MOUNT_ATTR_RDONLY};
use crate::sys::stat::kind;

/// One entry of `mounts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// Its place in the array, for error texts.
    pub(super) index: usize,
    /// The path inside the container, absolute and without `.` and `..`.
    pub(super) destination: PathBuf,
    /// What is mounted.
    pub(super) kind: Kind,
    /// How.
    pub(super) options: Options,
    /// Owners of files are mapped.
    pub(super) id_map: Option<IdMap>,
    /// What SELinux sees in new file systems.
    pub(super) label: Option<String>,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file or directory of the host.
    Bind {
        /// Its absolute path on the host.
        source: PathBuf,
        /// With the mounts below it.
        recursive: bool,
    },
    /// A new file system.
    Fs {
        /// The kernel's name of its type.
        fstype: String,
        /// What mountinfo shows as its source.
        source: String,
    },
    /// The container's view of cgroups: see `cgroup.rs`.
    Cgroup,
    /// New attributes for what is mounted there.
    Remount,
}

/// What every error of this mount says first, in runc's words.
impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (source, what) = match &self.kind {
            Kind::Bind { source, .. } => (source.to_string_lossy(), "bind"),
            Kind::Fs { fstype, source } => (source.into(), fstype.as_str()),
            Kind::Cgroup => ("cgroup".into(), "cgroup"),
            Kind::Remount => ("".into(), "remount"),
        };
        let (index, destination) = (self.index, self.destination.display());
        write!(f, "error mounting \"{source}\" to rootfs at \"{destination}\": ")?;
        write!(f, "mounts[{index}]: {what}")
    }
}

/// The mount is `/dev` itself, taken from the host (BXM-12).
pub(super) fn is_bound_dev(mount: &oci_spec::runtime::Mount) -> bool {
    let options = mount.options().iter().flatten().map(String::as_str);
    clean(mount.destination()) == Path::new("/dev") && Options::parse(options).bind.is_some()
}

impl Mount {
    /// Takes over one entry of a checked document. Relative sources of bind mounts count from
    /// `bundle` (MNT-08), relative destinations from the container's root (MNT-06). A destination
    /// that begins with the path of that on the host, `rootfs`, is below it, as for runc.
    ///
    /// # Errors
    /// For options that contradict the kind of mount, and for places nobody may mount on.
    pub(super) fn from_spec(
        index: usize,
        mount: &oci_spec::runtime::Mount,
        (bundle, rootfs): (&Path, &Path),
        user_namespace: bool,
    ) -> Result<Self> {
        let options = Options::parse(mount.options().iter().flatten().map(String::as_str));
        let fstype = mount.typ().clone().unwrap_or_default();
        let source = mount.source().clone().unwrap_or_default();
        let kind = match options.bind {
            // As for mount(8): `remount,bind,ro` is about the mount and not its file system.
            _ if options.remount => Kind::Remount,
            Some(_) if source.as_os_str().is_empty() => {
                bail!("mounts[{index}]: source: required for a bind mount")
            }
            Some(recursive) => Kind::Bind { source: bundle.join(source), recursive },
            None if fstype == "cgroup" || fstype == "cgroup2" => Kind::Cgroup,
            None => Kind::Fs { fstype, source: source.to_string_lossy().into_owned() },
        };
        let id_map = IdMap::from_spec(mount, &kind, options.id_map, user_namespace)
            .with_context(|| format!("mounts[{index}]"))?;
        let destination = mount.destination();
        let destination = clean(destination.strip_prefix(rootfs).unwrap_or(destination));
        let mount = Self { index, destination, kind, options, id_map, label: None };
        mount.check().with_context(|| format!("mounts[{index}]"))?;
        Ok(mount)
    }

    fn check(&self) -> Result<()> {
        let Self { kind, options, .. } = self;
        match kind {
            Kind::Bind { .. } => {
                if let Some(word) = options.data.first() {
                    bail!(
                        "options: bind mounts cannot have any filesystem-specific options \
                        applied: {word:?}"
                    );
                }
            }
            Kind::Fs { fstype, .. } => ensure!(!fstype.is_empty(), "type: required"),
            Kind::Cgroup | Kind::Remount => {}
        }
        ensure!(self.is_tmpfs() || !options.copy_up, "options: \"tmpcopyup\" is for tmpfs only");
        self.check_destination()
    }

    /// The mount is a new procfs or sysfs.
    pub(super) fn is_of_the_kernel(&self) -> bool {
        matches!(&self.kind, Kind::Fs { fstype, .. } if fstype == "proc" || fstype == "sysfs")
    }

    /// Adds what every error of this mount says first.
    pub(super) fn context<T>(&self, result: Result<T>) -> Result<T> {
        result.with_context(|| self.to_string())
    }

    /// Attaches the mount below `root` and returns it.
    ///
    /// # Errors
    /// Those of resolving the destination, making the mount, and attaching it.
    pub(super) fn attach(
        &self,
        calls: &Calls,
        root: &Root,
        prepared: Option<Prepared>,
    ) -> Result<OwnedFd> {
        match &self.kind {
            Kind::Bind { source, recursive } => {
                let mount = match prepared {
                    Some(Prepared::Source(mount)) => mount,
                    _ => self.open_source(calls, source, *recursive)?,
                };
                self.attach_bind(calls, root, mount)
            }
            Kind::Fs { .. } => self.attach_fs(calls, root, prepared),
            Kind::Remount => self.remount(calls, root),
            Kind::Cgroup => bail!("the caller attaches it"),
        }
    }

    /// Returns a detached copy of the source of a bind mount.
    pub(super) fn open_source(
        &self,
        calls: &Calls,
        source: &Path,
        recursive: bool,
    ) -> Result<OwnedFd> {
        let from = self.find_source(source)?;
        calls.copy(from.as_fd(), recursive).with_context(|| source.display().to_string())
    }

    /// Opens the source of a bind mount itself.
    pub(super) fn find_source(&self, source: &Path) -> Result<OwnedFd> {
        let from = open(source, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
            .with_context(|| format!("open {}", source.display()))?;
        self.check_bound_proc(&from)?;
        Ok(from)
    }

    fn attach_bind(&self, calls: &Calls, root: &Root, mount: OwnedFd) -> Result<OwnedFd> {
        self.set_bind_attributes(calls, &mount)?;
        let (target, _) = self.open_destination(root, is_directory(&mount)?)?;
        self.finish(calls, mount, &target)
    }

    fn check_bound_proc(&self, source: &OwnedFd) -> Result<()> {
        use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
        if self.destination == Path::new("/proc") {
            let procfs = fstatfs(source)?.filesystem_type() == PROC_SUPER_MAGIC;
            ensure!(procfs, "only a proc file system can be mounted on /proc");
        }
        Ok(())
    }

    fn attach_fs(&self, calls: &Calls, root: &Root, prepared: Option<Prepared>) -> Result<OwnedFd> {
        let (target, made) = self.open_destination(root, true)?;
        // A tmpfs over /tmp keeps its sticky bit (BXM-09).
        let covered = (self.is_tmpfs() && !made).then(|| fstat(&target)).transpose()?;
        let mode = covered.map(|stat| format!("mode={:04o}", stat.st_mode & 0o7777));
        let mount = match (prepared, &self.id_map) {
            (Some(Prepared::Made(mount)), _) => mount,
            (Some(Prepared::Namespace(namespace)), Some(map)) => {
                let mount = self.make_fs(calls, mode)?;
                map.apply(&mount, &namespace)?;
                mount
            }
            _ => self.make_fs(calls, mode)?,
        };
        if self.options.copy_up {
            copy_up::copy(target.as_fd(), mount.as_fd())
                .context("copy what is at the destination")?;
        }
        self.finish(calls, mount, &target)
    }

    /// Makes the new file system. A `mode` of the config comes after this one and wins.
    pub(super) fn make_fs(&self, calls: &Calls, mode: Option<String>) -> Result<OwnedFd> {
        let Kind::Fs { fstype, source } = &self.kind else { bail!("it is no file system") };
        let data: Vec<_> = mode.into_iter().chain(self.options.data.iter().cloned()).collect();
        let attributes = match self.read_only_later() {
            true => self.attributes() & !MOUNT_ATTR_RDONLY,
            false => self.attributes(),
        };
        let superblock = self.options.superblock.iter().copied();
        let flags = superblock.chain((attributes & MOUNT_ATTR_RDONLY != 0).then_some("ro"));
        // These three cannot have one.
        let has_labels = !["proc", "sysfs", "mqueue"].contains(&fstype.as_str());
        let label = self.label.as_deref().filter(|_| has_labels);
        let flags = &flags.collect::<Vec<_>>();
        calls.new_fs(&NewFs { fstype, source, flags, data: &data, attributes, label })
    }

    fn is_tmpfs(&self) -> bool {
        matches!(&self.kind, Kind::Fs { fstype, .. } if fstype == "tmpfs")
    }

    /// Things are still to be made in it: mount points of later mounts, devices.
    fn read_only_later(&self) -> bool {
        self.options.read_only() && (self.is_tmpfs() || self.destination == Path::new("/dev"))
    }

    /// Makes `mount` read-only, which had to stay writable for a while (BXM-11).
    ///
    /// # Errors
    /// Those of mount_setattr(2).
    pub(super) fn finish_read_only(&self, calls: &Calls, mount: &OwnedFd) -> Result<()> {
        if !self.read_only_later() || self.skips("attributes") {
            return Ok(());
        }
        let attributes = Attributes { set: MOUNT_ATTR_RDONLY, ..Attributes::default() };
        calls.set(mount.as_fd(), attributes, false).context("make it read-only")
    }

    fn remount(&self, calls: &Calls, root: &Root) -> Result<OwnedFd> {
        let found = self.open_mounted(root)?;
        self.set_bind_attributes(calls, &found)?;
        self.set_recursively(calls, &found)?;
        propagate(calls, &found, &self.options.propagation)?;
        Ok(found)
    }

    /// Moves the finished mount to its place and changes what may be changed only there.
    pub(super) fn finish(
        &self,
        calls: &Calls,
        mount: OwnedFd,
        target: &OwnedFd,
    ) -> Result<OwnedFd> {
        self.set_recursively(calls, &mount)?;
        if !self.skips("attach") {
            calls.attach(mount.as_fd(), target.as_fd()).context("attach it")?;
        }
        propagate(calls, &mount, &self.options.propagation)?;
        Ok(mount)
    }

    pub(super) fn set_recursively(&self, calls: &Calls, mount: &OwnedFd) -> Result<()> {
        match self.options.recursive {
            none if none == Attributes::default() || self.skips("recursive attributes") => Ok(()),
            attributes => calls
                .set(mount.as_fd(), attributes, true)
                .context("set it recursively (mount_setattr, Linux 5.12)"),
        }
    }

    /// Sets what the words ask for and clears the rest; in a user namespace the kernel may have
    /// locked some of what is cleared (mount_namespaces(7)), and then only what a word names is.
    fn set_bind_attributes(&self, calls: &Calls, mount: &OwnedFd) -> Result<()> {
        let Some(attributes) = self.options.for_bind().filter(|_| !self.skips("attributes")) else {
            return Ok(());
        };
        match calls.set(mount.as_fd(), attributes, false) {
            Err(Errno::EPERM) => {}
            other => return other.context("set its attributes"),
        }
        match calls.set(mount.as_fd(), self.options.for_locked_bind(), false) {
            Err(Errno::EPERM) => bail!("cannot clear locked flags: operation not permitted"),
            other => other.context("set its attributes"),
        }
    }

    /// The attributes that a new file system begins with, or a view of cgroups has.
    pub(super) fn attributes(&self) -> u64 {
        if self.skips("attributes") { 0 } else { self.options.set }
    }

    fn skips(&self, step: &str) -> bool {
        fault::skips(|| format!("mounts[{}] {step}", self.index))
    }
}

pub(super) fn is_directory(fd: &OwnedFd) -> Result<bool> {
    Ok(kind(&fstat(fd).context("stat")?) == SFlag::S_IFDIR)
}

/// Applies changes of propagation, in order (MNT-19).
///
/// # Errors
/// Those of mount_setattr(2).
pub(super) fn propagate(calls: &Calls, mount: &OwnedFd, changes: &[Propagation]) -> Result<()> {
    for change in changes {
        let attributes = Attributes { propagation: change.kind, ..Attributes::default() };
        calls.set(mount.as_fd(), attributes, change.recursive).context("change its propagation")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn mount(value: Value) -> Result<Mount> {
        let paths = (Path::new("/bundle"), Path::new("/bundle/rootfs"));
        Mount::from_spec(3, &serde_json::from_value(value).unwrap(), paths, false)
    }

    #[test]
    fn kinds_and_paths() {
        let bind = |source: &str, recursive| Kind::Bind { source: source.into(), recursive };
        let fs = |fstype: &str| Kind::Fs { fstype: fstype.into(), source: "s".into() };
        for (value, destination, kind) in [
            (json!({"destination": "a", "type": "tmpfs", "source": "s"}), "/a", fs("tmpfs")),
            (json!({"destination": "/../a/./b/..", "type": "x", "source": "s"}), "/a", fs("x")),
            (
                json!({"destination": "/a", "source": "data", "options": ["bind"]}),
                "/a",
                bind("/bundle/data", false),
            ),
            (
                json!({"destination": "/a", "type": "z", "source": "/d", "options": ["rbind"]}),
                "/a",
                bind("/d", true),
            ),
            (json!({"destination": "/a", "options": ["remount", "ro"]}), "/a", Kind::Remount),
            (
                json!({"destination": "/bundle/rootfs/a/b", "options": ["remount"]}),
                "/a/b",
                Kind::Remount,
            ),
            (
                json!({"destination": "/rootfs/a", "options": ["remount"]}),
                "/rootfs/a",
                Kind::Remount,
            ),
            (
                json!({"destination": "/sys/fs/cgroup", "type": "cgroup"}),
                "/sys/fs/cgroup",
                Kind::Cgroup,
            ),
            (
                json!({"destination": "/proc/meminfo", "source": "/m", "options": ["bind"]}),
                "/proc/meminfo",
                bind("/m", false),
            ),
        ] {
            let got = mount(value.clone()).unwrap();
            assert_eq!(got.destination, Path::new(destination), "{value}");
            assert_eq!(got.kind, kind, "{value}");
        }
    }

    #[test]
    fn what_is_refused() {
        for (value, want) in [
            (json!({"destination": "/", "type": "tmpfs"}), "a mount on /"),
            (json!({"destination": "/a/..", "type": "tmpfs"}), "a mount on /"),
            (json!({"destination": "/a"}), "type: required"),
            (
                json!({"destination": "/a", "source": "/b", "options": ["bind", "mode=1"]}),
                "bind mounts cannot have any filesystem-specific options applied: \"mode=1\"",
            ),
            (json!({"destination": "/a", "type": "proc", "options": ["tmpcopyup"]}), "tmpfs only"),
            (json!({"destination": "/proc", "type": "tmpfs"}), "inside /proc"),
            (
                json!({"destination": "/a", "source": "/b", "options": ["bind", "idmap"]}),
                "needs uidMappings and gidMappings",
            ),
            (
                json!({"destination": "/proc/self", "source": "/x", "options": ["bind"]}),
                "inside /proc",
            ),
        ] {
            let error = format!("{:#}", mount(value.clone()).unwrap_err());
            assert!(error.starts_with("mounts[3]: ") && error.contains(want), "{value}: {error}");
        }
    }
}
