//! User namespaces: how ids inside map to ids outside.

use std::fmt::Write;

use anyhow::{Context, Result};
use nix::unistd::Pid;
use oci_spec::runtime::{Linux, LinuxIdMapping};

use crate::procfs::Procfs;

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

    /// Writes the maps for `pid`, which stands in a new user namespace.
    ///
    /// # Errors
    /// EPERM or EINVAL when the caller may not map these ids.
    pub fn write(&self, procfs: &Procfs, pid: Pid) -> Result<()> {
        procfs.write(&format!("{pid}/uid_map"), lines(&self.uid)).context("linux.uidMappings")?;
        procfs.write(&format!("{pid}/gid_map"), lines(&self.gid)).context("linux.gidMappings")
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
        assert_eq!(lines(&maps.uid), "0 1000 1\n10 100000 5\n");
    }
}
