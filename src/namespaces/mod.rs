//! Which namespaces are made, which are joined, by whom and in which order.
//!
//! Three cases, told apart by the user namespace:
//!
//! - **none**: one clone3 makes every new namespace. A joined PID namespace acts on children
//!   alone (pid_namespaces(7)), so the runtime joins it for the length of the clone; init joins
//!   the others itself.
//! - **a new one**: the clone makes the user, PID and mount namespaces. The others follow by
//!   unshare(2) once the id maps are written and init is id 0: made in the same clone, the files
//!   of `/proc/net`, `/sys/class/net` and `/dev/mqueue` would belong to nobody inside. What is
//!   joined belongs to somebody else, and init would have no right to it, so the runtime joins
//!   all of it for the length of the clone.
//! - **a joined one**: the rights come from that namespace, which cannot be left again. So an
//!   intermediate process joins it and clones init ([`Case::Joined`]).
//!
//! The cgroup namespace begins at the cgroup of the process that makes it, so init makes it
//! after it stands there.

pub mod device;
pub mod join;
pub mod net;
mod netlink;
pub mod process;
mod subordinate;
pub mod sysctl;
pub mod time;
pub mod user;

use std::path::PathBuf;

use nix::sched::CloneFlags;
use oci_spec::runtime::{Linux, LinuxNamespaceType};

use crate::sys::clone::CLONE_NEWTIME;

/// A kind of namespace: namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// cgroup_namespaces(7)
    Cgroup,
    /// ipc_namespaces(7)
    Ipc,
    /// mount_namespaces(7)
    Mount,
    /// network_namespaces(7)
    Network,
    /// pid_namespaces(7)
    Pid,
    /// time_namespaces(7)
    Time,
    /// user_namespaces(7)
    User,
    /// uts_namespaces(7)
    Uts,
}

/// Every kind, with its `CLONE_NEW*` bit, its file in `/proc/PID/ns` and its name in the
/// specification.
const KINDS: [(Kind, u64, &str, LinuxNamespaceType); 8] = [
    (Kind::Cgroup, bit(CloneFlags::CLONE_NEWCGROUP), "cgroup", LinuxNamespaceType::Cgroup),
    (Kind::Ipc, bit(CloneFlags::CLONE_NEWIPC), "ipc", LinuxNamespaceType::Ipc),
    (Kind::Mount, bit(CloneFlags::CLONE_NEWNS), "mnt", LinuxNamespaceType::Mount),
    (Kind::Network, bit(CloneFlags::CLONE_NEWNET), "net", LinuxNamespaceType::Network),
    (Kind::Pid, bit(CloneFlags::CLONE_NEWPID), "pid", LinuxNamespaceType::Pid),
    (Kind::Time, CLONE_NEWTIME, "time", LinuxNamespaceType::Time),
    (Kind::User, bit(CloneFlags::CLONE_NEWUSER), "user", LinuxNamespaceType::User),
    (Kind::Uts, bit(CloneFlags::CLONE_NEWUTS), "uts", LinuxNamespaceType::Uts),
];

const fn bit(flag: CloneFlags) -> u64 {
    flag.bits().cast_unsigned() as u64
}

/// Bits as nix wants them; it does not name `CLONE_NEWTIME`.
#[must_use]
pub fn clone_flags(bits: u64) -> CloneFlags {
    CloneFlags::from_bits_retain(i32::try_from(bits).unwrap_or(0))
}

impl Kind {
    fn row(self) -> &'static (Self, u64, &'static str, LinuxNamespaceType) {
        KINDS.iter().find(|row| row.0 == self).unwrap_or(&KINDS[0])
    }

    /// The `CLONE_NEW*` bit, which nix cannot name for all kinds.
    #[must_use]
    pub fn flag(self) -> u64 {
        self.row().1
    }

    /// The bit as setns(2) and unshare(2) take it.
    #[must_use]
    pub fn clone_flag(self) -> CloneFlags {
        clone_flags(self.flag())
    }

    /// The name of the file in `/proc/PID/ns`.
    #[must_use]
    pub fn file(self) -> &'static str {
        self.row().2
    }
}

/// Where a namespace comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// It is made.
    New,
    /// It exists under this path.
    Path(PathBuf),
}

/// Who makes and joins: see the module text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// No user namespace.
    Plain,
    /// A new user namespace.
    NewUser,
    /// A joined user namespace.
    Joined,
}

/// The namespaces of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Each kind at most once, with its index in `linux.namespaces` for error texts.
    list: Vec<(Kind, Source, usize)>,
    /// How ids inside map to ids outside.
    pub maps: user::Maps,
    /// Clock offsets of a new time namespace.
    pub time_offsets: Vec<time::Offset>,
}

impl Namespaces {
    /// Takes over what a checked document says.
    #[must_use]
    pub fn from_spec(linux: Option<&Linux>) -> Self {
        let Some(linux) = linux else { return Self::default() };
        let list = linux.namespaces().iter().flatten().enumerate();
        let list = list.filter_map(|(index, entry)| {
            let kind = KINDS.iter().find(|row| row.3 == entry.typ())?.0;
            let path = entry.path().clone().filter(|path| !path.as_os_str().is_empty());
            Some((kind, path.map_or(Source::New, Source::Path), index))
        });
        Self {
            list: list.collect(),
            maps: user::Maps::from_spec(linux),
            time_offsets: time::Offset::from_spec(linux),
        }
    }

    /// Where the namespace of this kind comes from; `None` when it is the runtime's own.
    #[must_use]
    pub fn source(&self, kind: Kind) -> Option<&Source> {
        self.list.iter().find(|(listed, ..)| *listed == kind).map(|(_, source, _)| source)
    }

    /// The kinds of namespaces that the runtime is not in.
    #[must_use]
    pub fn kinds(&self) -> Vec<Kind> {
        self.list.iter().map(|(kind, ..)| *kind).collect()
    }

    /// The container has a namespace of this kind that the runtime is not in.
    #[must_use]
    pub fn has(&self, kind: Kind) -> bool {
        self.source(kind).is_some()
    }

    /// The namespace of this kind is made for the container.
    #[must_use]
    pub fn is_new(&self, kind: Kind) -> bool {
        self.source(kind) == Some(&Source::New)
    }

    /// Who makes and joins.
    #[must_use]
    pub fn case(&self) -> Case {
        match self.source(Kind::User) {
            None => Case::Plain,
            Some(Source::New) => Case::NewUser,
            Some(Source::Path(_)) => Case::Joined,
        }
    }

    /// Flags for the clone that makes init. `cgroup` says that the clone also places it into
    /// its cgroup of the only hierarchy, so that a cgroup namespace begins there.
    #[must_use]
    pub fn clone_flags(&self, cgroup: bool) -> u64 {
        let in_clone = |kind| match (self.case(), kind) {
            (_, Kind::Cgroup) => cgroup && self.case() == Case::Plain,
            // Init sets the offsets before it enters.
            (_, Kind::Time) => self.case() != Case::NewUser && self.time_offsets.is_empty(),
            (Case::NewUser, kind) => matches!(kind, Kind::User | Kind::Pid | Kind::Mount),
            (Case::Plain | Case::Joined, _) => true,
        };
        self.flags_where(in_clone)
    }

    /// Flags for init's unshare(2), once it has its ids and its cgroup.
    #[must_use]
    pub fn unshare_flags(&self, cgroup: bool) -> u64 {
        let cloned = self.clone_flags(cgroup);
        self.flags_where(|kind| kind.flag() & cloned == 0)
    }

    fn flags_where(&self, wanted: impl Fn(Kind) -> bool) -> u64 {
        let new = KINDS.iter().map(|row| row.0).filter(|kind| self.is_new(*kind) && wanted(*kind));
        new.fold(0, |flags, kind| flags | kind.flag())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn namespaces(list: &[&str], offsets: bool) -> Namespaces {
        let list: Vec<_> = list
            .iter()
            .map(|entry| match entry.split_once('@') {
                Some((kind, path)) => json!({"type": kind, "path": path}),
                None => json!({"type": entry}),
            })
            .collect();
        let mut linux = json!({"namespaces": list});
        if offsets {
            linux["timeOffsets"] = json!({"boottime": {"secs": 1}});
        }
        Namespaces::from_spec(Some(&serde_json::from_value(linux).unwrap()))
    }

    fn names(flags: u64) -> Vec<&'static str> {
        KINDS.iter().filter(|row| row.1 & flags != 0).map(|row| row.2).collect()
    }

    #[test]
    fn what_the_clone_makes_and_what_init_makes() {
        let all = ["cgroup", "ipc", "mount", "network", "pid", "time", "uts"];
        let with_user = ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"];
        let joined = ["cgroup", "ipc", "mount", "network@/n", "pid", "user@/u", "uts"];
        type Names<'a> = &'a [&'a str];
        let cases: [(Names<'_>, bool, bool, Names<'_>, Names<'_>); 6] = [
            (&all, false, true, &["cgroup", "ipc", "mnt", "net", "pid", "time", "uts"], &[]),
            (&all, false, false, &["ipc", "mnt", "net", "pid", "time", "uts"], &["cgroup"]),
            (&all, true, true, &["cgroup", "ipc", "mnt", "net", "pid", "uts"], &["time"]),
            (
                &with_user,
                false,
                true,
                &["mnt", "pid", "user"],
                &["cgroup", "ipc", "net", "time", "uts"],
            ),
            (&joined, false, true, &["ipc", "mnt", "pid", "uts"], &["cgroup"]),
            (&["pid@/p", "mount"], false, true, &["mnt"], &[]),
        ];
        for (list, offsets, cgroup, clone, unshare) in cases {
            let namespaces = namespaces(list, offsets);
            assert_eq!(names(namespaces.clone_flags(cgroup)), clone, "{list:?}");
            assert_eq!(names(namespaces.unshare_flags(cgroup)), unshare, "{list:?}");
        }
    }

    #[test]
    fn an_empty_path_means_a_new_one() {
        let linux = json!({"namespaces": [{"type": "pid", "path": ""}]});
        let namespaces = Namespaces::from_spec(Some(&serde_json::from_value(linux).unwrap()));
        assert!(namespaces.is_new(Kind::Pid));
        assert!(!namespaces.has(Kind::User));
    }
}
