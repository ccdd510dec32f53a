//! Cgroups below that of a unit, for who expects crun: the annotations `run.oci.systemd.subgroup`
//! and `run.oci.delegate-cgroup`.
//!
//! The limits are those of the unit's cgroup. Init is in the subgroup when it makes its cgroup
//! namespace, of which that is the root then, and goes on to the delegated one, where no limit is
//! ever set: all of it is the container's.

use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::unistd::{Pid, Uid};

use super::owner;
use super::setting::write;

const SUBGROUP: &str = "run.oci.systemd.subgroup";
const DELEGATED: &str = "run.oci.delegate-cgroup";

/// Where below the cgroup of the unit the container's processes are: nowhere if empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subgroups {
    subgroup: PathBuf,
    delegated: PathBuf,
}

impl Subgroups {
    /// Takes over the annotations.
    ///
    /// # Errors
    /// For a path that leads somewhere else than down.
    pub(super) fn from_annotations<'a>(
        annotations: impl Iterator<Item = (&'a String, &'a String)>,
    ) -> Result<Self> {
        let mut subgroups = Self::default();
        for (name, value) in annotations {
            let place = match name.as_str() {
                SUBGROUP => &mut subgroups.subgroup,
                DELEGATED => &mut subgroups.delegated,
                _ => continue,
            };
            *place = value.into();
            let down = place.components().all(|part| matches!(part, Component::Normal(_)));
            ensure!(down, "annotations.{name:?}: {value:?} is not a path below a cgroup");
        }
        Ok(subgroups)
    }

    /// The path from the cgroup of the unit to that of the container's processes.
    pub(super) fn path(&self) -> PathBuf {
        self.subgroup.join(&self.delegated)
    }

    /// Moves the process `pid` from the cgroup at `directory`, that of the unit, to the subgroup,
    /// which belongs to `owner` if it is not the caller's.
    ///
    /// # Errors
    /// Those of making it, of chown(2), and of moving.
    pub(super) fn enter(&self, directory: &Path, pid: Pid, owner: Option<Uid>) -> Result<()> {
        go_down(directory, &self.subgroup, pid, owner).context(SUBGROUP)
    }

    /// Whether there is a delegated cgroup.
    pub(super) fn delegates(&self) -> bool {
        !self.delegated.as_os_str().is_empty()
    }

    /// Moves the process `pid` on to the delegated cgroup.
    ///
    /// # Errors
    /// As [`Subgroups::enter`].
    pub(super) fn delegate(&self, directory: &Path, pid: Pid, owner: Option<Uid>) -> Result<()> {
        go_down(&directory.join(&self.subgroup), &self.delegated, pid, owner).context(DELEGATED)
    }
}

fn go_down(from: &Path, path: &Path, pid: Pid, owner: Option<Uid>) -> Result<()> {
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    let mut directory = from.to_path_buf();
    for name in path {
        directory.push(name);
        match fs::create_dir(&directory) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => other.with_context(|| format!("make the cgroup {}", directory.display()))?,
        }
        owner.map_or(Ok(()), |owner| owner::give(&directory, owner))?;
    }
    write(&directory.join("cgroup.procs"), &pid.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn paths_lead_down() {
        for (subgroup, delegated, want) in [
            (None, None, Ok("")),
            (Some(""), None, Ok("")),
            (Some("container"), None, Ok("container")),
            (None, Some("own"), Ok("own")),
            (Some("a/b"), Some("own"), Ok("a/b/own")),
            (Some(".."), None, Err("annotations.\"run.oci.systemd.subgroup\": \"..\"")),
            (Some("/a"), None, Err("\"/a\" is not a path below a cgroup")),
            (Some("a"), Some("b/../../.."), Err("annotations.\"run.oci.delegate-cgroup\": ")),
        ] {
            let named = [(SUBGROUP, subgroup), (DELEGATED, delegated), ("other", Some("/"))];
            let annotations: BTreeMap<_, _> = named
                .iter()
                .filter_map(|(name, value)| Some((name.to_string(), (*value)?.to_string())))
                .collect();
            match (Subgroups::from_annotations(annotations.iter()), want) {
                (Ok(got), Ok(want)) => assert_eq!(got.path(), Path::new(want)),
                (Err(error), Err(want)) => assert!(error.to_string().contains(want), "{error}"),
                (got, want) => panic!("{subgroup:?} {delegated:?}: got {got:?}, want {want:?}"),
            }
        }
    }
}
