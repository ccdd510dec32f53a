//! Facts about this machine that decide how a container is made, read once.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, FsType, statfs};

/// Where control groups are mounted: cgroups(7).
const CGROUPS: &str = "/sys/fs/cgroup";

/// A hierarchy of control groups and the place of this process in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its controllers, or `name=systemd`. Empty for the unified hierarchy.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The cgroup of this process, from the mount's root, if it was asked for.
    pub own: PathBuf,
}

/// The hierarchies of control groups of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroups {
    /// The hierarchies of cgroup v1 that are mounted.
    pub v1: Vec<Hierarchy>,
    /// The unified hierarchy: all there is on a v2 host, one more on a hybrid host.
    pub unified: Option<Hierarchy>,
}

impl Cgroups {
    /// Finds out what is mounted. The place of this process is looked up only `with_own`: where
    /// only a part of a hierarchy is mounted it depends on the mount table, which may be long.
    ///
    /// # Errors
    /// When `/proc/self/cgroup` or the mount table cannot be read.
    pub fn read(with_own: bool) -> Result<Self> {
        let text = fs::read_to_string("/proc/self/cgroup").context("read /proc/self/cgroup")?;
        let mut mounts = Mounts { table: None, with_own };
        let mut found = Self::default();
        for line in text.lines() {
            let Some((controllers, own)) = parse_line(line) else { continue };
            let Some(hierarchy) = mounts.hierarchy(controllers, Path::new(own))? else { continue };
            if controllers.is_empty() {
                found.unified = Some(hierarchy);
            } else {
                found.v1.push(hierarchy);
            }
        }
        Ok(found)
    }

    /// Only the unified hierarchy is mounted.
    #[must_use]
    pub fn is_v2(&self) -> bool {
        self.v1.is_empty() && self.unified.is_some()
    }
}

/// The mount table of this process: proc_pid_mountinfo(5). Everybody who may mount something, as with
/// fusermount, decides about a name in it, which need not be UTF-8.
///
/// # Errors
/// When it cannot be read.
pub fn mount_table() -> Result<Vec<u8>> {
    fs::read("/proc/self/mountinfo").context("read /proc/self/mountinfo")
}

/// AppArmor is there and in force.
#[must_use]
pub fn has_apparmor() -> bool {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    enabled.is_ok_and(|text| text.starts_with('Y'))
        && Path::new("/sys/kernel/security/apparmor").exists()
}

/// SELinux is there and in force.
#[must_use]
pub fn has_selinux() -> bool {
    let table = mount_table().unwrap_or_default();
    let current = fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
    is_labelled(&String::from_utf8_lossy(&table), &current)
}

/// As libselinux finds out: its file system is mounted, and not read-only, by which containers are
/// told to leave labels alone; and there is a policy, before which everything is `kernel`.
fn is_labelled(mounts: &str, current: &str) -> bool {
    let selinuxfs = mounts.lines().any(|line| {
        let Some((head, tail)) = line.split_once(" - ") else { return false };
        let options = head.split(' ').nth(5).unwrap_or_default();
        tail.starts_with("selinuxfs ") && options.split(',').next() == Some("rw")
    });
    let current = current.trim_end_matches(['\0', '\n']);
    selinuxfs && !current.is_empty() && current != "kernel"
}

/// This process stands in another user namespace than the first, where every id is itself.
#[must_use]
pub fn in_user_namespace() -> bool {
    fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !is_identity(&map))
}

/// user_namespaces(7): the first namespace shows one line with all ids.
fn is_identity(map: &str) -> bool {
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

/// `ID:controllers:path`; the path may hold colons.
fn parse_line(line: &str) -> Option<(&str, &str)> {
    let mut fields = line.splitn(3, ':').skip(1);
    Some((fields.next()?, fields.next()?))
}

/// Finds mount points: by their usual places, which costs a stat each, and else in the mount
/// table, which may be long.
struct Mounts {
    table: Option<String>,
    with_own: bool,
}

impl Mounts {
    fn hierarchy(&mut self, controllers: &str, own: &Path) -> Result<Option<Hierarchy>> {
        let usual = match usual_place(controllers) {
            // A process in the root cgroup needs no more either.
            Some(place) if !self.with_own || own == Path::new("/") => {
                Some((place, PathBuf::from("/")))
            }
            Some(place) => self.find(controllers)?.or(Some((place, PathBuf::from("/")))),
            None => self.find(controllers)?,
        };
        Ok(usual.map(|(mount, root)| Hierarchy {
            controllers: controllers
                .split(',')
                .filter(|name| !name.is_empty())
                .map(|name| name.strip_prefix("name=").unwrap_or(name).to_string())
                .collect(),
            mount,
            // A bind mount of a subtree shows that subtree as its root.
            own: own.strip_prefix(&root).map_or(PathBuf::from("/"), |own| Path::new("/").join(own)),
        }))
    }

    /// Returns the mount point and root of the hierarchy with these controllers.
    fn find(&mut self, controllers: &str) -> Result<Option<(PathBuf, PathBuf)>> {
        if self.table.is_none() {
            self.table = Some(String::from_utf8_lossy(&mount_table()?).into_owned());
        }
        let table = self.table.as_deref().unwrap_or_default();
        Ok(table.lines().find_map(|line| parse_mount(line, controllers)))
    }
}

fn parse_mount(line: &str, controllers: &str) -> Option<(PathBuf, PathBuf)> {
    let (head, tail) = line.split_once(" - ")?;
    let mut tail = tail.split(' ');
    let (fstype, options) = (tail.next()?, tail.nth(1)?);
    let mut head = head.split(' ').skip(3);
    let (root, point) = (head.next()?, head.next()?);
    let matches = match fstype {
        "cgroup2" => controllers.is_empty(),
        "cgroup" => {
            let mut wanted = controllers.split(',').filter(|name| !name.is_empty()).peekable();
            wanted.peek().is_some() && wanted.all(|name| options.split(',').any(|o| o == name))
        }
        _ => false,
    };
    (matches && Path::new(point).starts_with(CGROUPS)).then(|| (point.into(), root.into()))
}

fn usual_place(controllers: &str) -> Option<PathBuf> {
    let base = Path::new(CGROUPS);
    if controllers.is_empty() {
        let unified = base.join("unified");
        let places = [(base.to_owned(), CGROUP2_SUPER_MAGIC), (unified, CGROUP2_SUPER_MAGIC)];
        return places.into_iter().find(|(path, kind)| is_a(path, *kind)).map(|(path, _)| path);
    }
    let name = controllers.strip_prefix("name=").unwrap_or(controllers);
    let place = base.join(name);
    is_a(&place, CGROUP_SUPER_MAGIC).then_some(place)
}

fn is_a(path: &Path, kind: FsType) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_selinux() {
        let writable = "27 23 0:21 / /sys/fs/selinux rw,nosuid,relatime - selinuxfs selinuxfs rw";
        let read_only = "27 23 0:21 / /sys/fs/selinux ro,nosuid,relatime - selinuxfs selinuxfs rw";
        let other = "27 23 0:21 / /sys/fs/selinux rw,relatime - tmpfs tmpfs rw";
        let label = "system_u:system_r:container_runtime_t:s0\0";
        for (mounts, current, want) in [
            (writable, label, true),
            (writable, "kernel\0", false),
            (writable, "kernel", false),
            (writable, "", false),
            (read_only, label, false),
            (other, label, false),
            ("", label, false),
        ] {
            assert_eq!(is_labelled(mounts, current), want, "{mounts} {current}");
        }
    }

    #[test]
    fn maps_of_the_first_user_namespace() {
        assert!(is_identity("         0          0 4294967295\n"));
        assert!(!is_identity("         0       1000          1\n"));
        assert!(!is_identity("         0          0 4294967294\n"));
        assert!(!is_identity(""));
    }

    #[test]
    fn lines_of_proc_self_cgroup() {
        for (line, want) in [
            ("0::/a:b", Some(("", "/a:b"))),
            ("4:memory:/x", Some(("memory", "/x"))),
            ("9:name=systemd:/", Some(("name=systemd", "/"))),
            ("3:cpu,cpuacct:/", Some(("cpu,cpuacct", "/"))),
            ("x", None),
        ] {
            assert_eq!(parse_line(line), want);
        }
    }

    #[test]
    fn lines_of_the_mount_table() {
        let v1 = "33 31 0:30 /docker/x /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct";
        let v2 = "30 24 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate";
        let found = |line, controllers| {
            parse_mount(line, controllers)
                .map(|(point, root)| (point.display().to_string(), root.display().to_string()))
        };
        let pair = |a: &str, b: &str| Some((a.to_string(), b.to_string()));
        assert_eq!(found(v1, "cpu,cpuacct"), pair("/sys/fs/cgroup/cpu,cpuacct", "/docker/x"));
        assert_eq!(found(v1, "cpu"), pair("/sys/fs/cgroup/cpu,cpuacct", "/docker/x"));
        assert_eq!(found(v1, "memory"), None);
        assert_eq!(found(v1, ""), None);
        assert_eq!(found(v2, ""), pair("/sys/fs/cgroup", "/"));
        assert_eq!(found(v2, "cpu"), None);
    }
}
