//! User namespaces: how ids inside map to ids outside.

use std::fmt::Write;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use nix::fcntl::OFlag;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getegid, geteuid, pipe2};
use oci_spec::runtime::{Linux, LinuxIdMapping};

use super::Kind;
use super::subordinate::Ids;
use crate::procfs::Procfs;
use crate::sys::clone::{Cloned, clone3};
use crate::sys::process::exit_now;

/// The maps of a user namespace, each a list of ranges: user_namespaces(7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maps {
    uid: Vec<LinuxIdMapping>,
    gid: Vec<LinuxIdMapping>,
}

impl Maps {
    pub(super) fn from_spec(linux: &Linux) -> Self {
        Self {
            uid: linux.uid_mappings().clone().unwrap_or_default(),
            gid: linux.gid_mappings().clone().unwrap_or_default(),
        }
    }

    /// The maps of a mount: it has its own.
    #[must_use]
    pub fn new(uid: Vec<LinuxIdMapping>, gid: Vec<LinuxIdMapping>) -> Self {
        Self { uid, gid }
    }

    /// The id on the host of user `id` inside; without maps ids are the same.
    #[must_use]
    pub fn host_uid(&self, id: u32) -> Option<u32> {
        host_id(&self.uid, id)
    }

    /// The id on the host of group `id` inside; without maps ids are the same.
    #[must_use]
    pub fn host_gid(&self, id: u32) -> Option<u32> {
        host_id(&self.gid, id)
    }

    /// Writes the maps for `pid`, which stands in a new user namespace. `json` is the path of the
    /// object that they are in.
    ///
    /// # Errors
    /// EPERM or EINVAL when the caller may not map these ids, and what the helpers of an ordinary
    /// user complain about.
    pub fn write(&self, procfs: &Procfs, pid: Pid, json: &str) -> Result<()> {
        for (ids, name, map) in
            [(Ids::Users, "uidMappings", &self.uid), (Ids::Groups, "gidMappings", &self.gid)]
        {
            let written = write_map(procfs, pid, ids, map);
            written.with_context(|| format!("{json}.{name}"))?;
        }
        Ok(())
    }

    /// Makes a user namespace with these maps for an id-mapped mount: nobody lives in it but a
    /// process that is there until it is open.
    ///
    /// # Errors
    /// Those of clone3(2), and of [`Maps::write`].
    pub fn namespace(&self, procfs: &Procfs, json: &str) -> Result<OwnedFd> {
        let (wait, end) = pipe2(OFlag::O_CLOEXEC).context("pipe2")?;
        match clone3(Kind::User.flag(), None).context("make a user namespace")? {
            Cloned::Child => {
                drop(end);
                // Nothing is ever written: this ends when the runtime closes its end, or dies.
                let _ = nix::unistd::read(&wait, &mut [0]);
                exit_now(0)
            }
            Cloned::Parent { pid, .. } => {
                let written = self.write(procfs, pid, json);
                let opened = written
                    .and_then(|()| procfs.open_namespace(&pid.to_string(), Kind::User.file()));
                drop(end);
                waitpid(pid, None).context("wait for the process in the user namespace")?;
                opened
            }
        }
    }

    /// Checks that a joined namespace has these maps; a document may repeat them (BXS-03).
    ///
    /// # Errors
    /// When they differ, or cannot be read.
    pub fn check_joined(&self, procfs: &Procfs, pid: Pid) -> Result<()> {
        let lists = [
            ("linux.uidMappings", "uid_map", &self.uid),
            ("linux.gidMappings", "gid_map", &self.gid),
        ];
        for (path, file, list) in lists {
            let there = procfs.read(&format!("{pid}/{file}"))?;
            let there: Vec<_> = there
                .lines()
                .map(|l| l.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
                .collect();
            let here = lines(list);
            let same = list.is_empty() || here.lines().eq(there.iter().map(String::as_str));
            anyhow::ensure!(same, "{path}: the joined user namespace has other mappings");
        }
        Ok(())
    }
}

/// Writes one map: by itself as far as the kernel allows that, else by a helper (BXS-06).
fn write_map(procfs: &Procfs, pid: Pid, ids: Ids, map: &[LinuxIdMapping]) -> Result<()> {
    let write = || procfs.write(&format!("{pid}/{}", ids.file()), lines(map));
    match write() {
        Err(error) if !geteuid().is_root() && is_not_permitted(&error) => {}
        other => return other,
    }
    // Anybody may map himself, and his group where nobody can use that to leave another group
    // (user_namespaces(7), CVE-2014-8989).
    if ids == Ids::Groups && is_only(map, getegid().as_raw()) {
        procfs.write(&format!("{pid}/setgroups"), "deny")?;
        return write();
    }
    ids.map_by_helper(pid, map)
}

/// The map has one id, which is this on the host.
fn is_only(map: &[LinuxIdMapping], id: u32) -> bool {
    matches!(map, [range] if range.host_id() == id && range.size() == 1)
}

fn is_not_permitted(error: &anyhow::Error) -> bool {
    let number = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
    number == Some(libc::EPERM)
}

fn host_id(map: &[LinuxIdMapping], id: u32) -> Option<u32> {
    if map.is_empty() {
        return Some(id);
    }
    map.iter().find_map(|range| {
        let offset = id.checked_sub(range.container_id())?;
        (offset < range.size()).then(|| range.host_id().checked_add(offset))?
    })
}

fn lines(map: &[LinuxIdMapping]) -> String {
    map.iter().fold(String::new(), |mut text, range| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} {} {}", range.container_id(), range.host_id(), range.size());
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ids_on_the_host() {
        let linux = json!({
            "uidMappings": [
                {"containerID": 0, "hostID": 1000, "size": 1},
                {"containerID": 10, "hostID": 100_000, "size": 5}],
            "gidMappings": [{"containerID": 0, "hostID": 7, "size": 4_294_967_288_u32}]});
        let maps = Maps::from_spec(&serde_json::from_value(linux).unwrap());
        for (id, want) in
            [(0, Some(1000)), (1, None), (10, Some(100_000)), (14, Some(100_004)), (15, None)]
        {
            assert_eq!(maps.host_uid(id), want, "uid {id}");
        }
        assert_eq!(maps.host_gid(1), Some(8));
        assert_eq!(Maps::default().host_uid(5), Some(5));
        assert!(!is_only(&[], 0) && !is_only(&maps.uid, 1000) && !is_only(&maps.gid, 7));
        let one = json!({"gidMappings": [{"containerID": 5, "hostID": 7, "size": 1}]});
        let one = Maps::from_spec(&serde_json::from_value(one).unwrap());
        assert!(is_only(&one.gid, 7) && !is_only(&one.gid, 5));
        assert_eq!(lines(&maps.uid), "0 1000 1\n10 100000 5\n");
    }
}
