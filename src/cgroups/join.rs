//! Joining the cgroups of a container that runs.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Pid;

use super::setting::write;
use super::{Entry, Place, Record};
use crate::host::Cgroups;
use crate::procfs::Procfs;

/// Where below the container's cgroups a process goes: `--cgroup`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Below {
    /// Controllers with a path; without a controller the path counts for all.
    list: Vec<(Option<String>, PathBuf)>,
}

impl Below {
    /// Reads `path`, or `controller[,controller…]:path` several times.
    ///
    /// # Errors
    /// For other forms, a controller that is named twice, and a path that leads out of the
    /// container's cgroup.
    pub fn parse(arguments: &[String]) -> Result<Self> {
        let mut list: Vec<(Option<String>, PathBuf)> = Vec::new();
        for argument in arguments {
            let Some((controllers, path)) = argument.split_once(':') else {
                ensure!(
                    arguments.len() == 1,
                    "invalid --cgroup argument: {argument} (missing <controller>: prefix)"
                );
                list.push((None, inside(argument)?));
                continue;
            };
            for name in controllers.split(',') {
                ensure!(
                    !name.is_empty(),
                    "invalid --cgroup argument: {argument} (empty <controller> prefix)"
                );
                ensure!(
                    list.iter().all(|(other, _)| other.as_deref() != Some(name)),
                    "invalid --cgroup argument(s): controller {name} specified multiple times"
                );
                list.push((Some(name.to_string()), inside(path)?));
            }
        }
        Ok(Self { list })
    }

    fn is_given(&self) -> bool {
        !self.list.is_empty()
    }

    /// The directory of `place` that is meant.
    fn directory(&self, place: &Place) -> Result<PathBuf> {
        let named = |name: &Option<String>| {
            name.as_ref().is_none_or(|name| place.controllers.contains(name))
        };
        let mut paths = self.list.iter().filter(|(name, _)| named(name)).map(|(_, path)| path);
        let Some(path) = paths.next() else { return Ok(place.directory.clone()) };
        ensure!(
            paths.all(|other| other == path),
            "--cgroup: {} are one hierarchy and cannot have different cgroups",
            place.controllers.join(",")
        );
        Ok(place.directory.join(path))
    }
}

/// The path below the container's cgroup, without anything that leads out of it.
fn inside(path: &str) -> Result<PathBuf> {
    let mut inside = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => inside.push(name),
            Component::ParentDir => ensure!(inside.pop(), "bad sub cgroup path: {path}"),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(inside)
}

impl Record {
    /// Opens the way into the container's cgroups.
    ///
    /// On v2, the container's own cgroup may be gone, or have no room for processes, when its
    /// first process `init` has moved into another one: then that is meant.
    ///
    /// # Errors
    /// When a cgroup is not there, or no hierarchy has a controller that is named.
    pub fn open(&self, below: &Below, procfs: &Procfs, init: Pid) -> Result<Entry> {
        for name in below.list.iter().filter_map(|(name, _)| name.as_ref()) {
            let known = self.groups.iter().any(|place| place.controllers.contains(name));
            ensure!(known, "--cgroup: unknown controller {name}");
        }
        let mut entry = Entry::default();
        for place in &self.groups {
            let unified = place.controllers.is_empty();
            match entry.add(&self.place_for(below, place)?, unified) {
                Err(error) if unified && !below.is_given() && is_gone(&error) => {
                    return self.open_cgroup_of(procfs, init);
                }
                // No number: it goes there by itself, or is born there.
                other => other.context("error adding pid of the process to cgroups")?,
            }
        }
        Ok(entry)
    }

    /// The directory in this hierarchy: what is asked for, or where the container's processes are.
    fn place_for(&self, below: &Below, place: &Place) -> Result<PathBuf> {
        let directory = below.directory(place)?;
        Ok(if below.is_given() { directory } else { directory.join(&self.processes) })
    }

    /// Opens the way into the cgroup of v2 where the process `init` is now, if the one of the
    /// container has no room for processes and no other was asked for.
    ///
    /// # Errors
    /// When it cannot be found or opened.
    pub fn open_instead(&self, below: &Below, procfs: &Procfs, init: Pid) -> Result<Option<Entry>> {
        let other = self.v2 && !below.is_given();
        other.then(|| self.open_cgroup_of(procfs, init)).transpose()
    }

    fn open_cgroup_of(&self, procfs: &Procfs, init: Pid) -> Result<Entry> {
        let text = procfs.read(&format!("{init}/cgroup"))?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::"));
        let path = path.context("the cgroup of the container's init is not to be seen")?;
        let Some(unified) = Cgroups::read(false)?.unified else {
            bail!("the unified hierarchy is not mounted any more")
        };
        let mut entry = Entry::default();
        entry.add(&unified.mount.join(path.trim_start_matches('/')), true)?;
        Ok(entry)
    }

    /// systemd can put a process into a cgroup that the caller may not move it to: one that is below
    /// another of his is not his to leave.
    #[must_use]
    pub fn can_attach(&self) -> bool {
        self.v2 && self.unit.is_some()
    }

    /// Has systemd put the process `pid` into the container's cgroup.
    ///
    /// # Errors
    /// When it cannot be told, or refuses.
    pub fn attach(&self, below: &Below, pid: Pid) -> Result<()> {
        let (Some(unit), Some(place)) = (&self.unit, self.groups.first()) else { return Ok(()) };
        let directory = self.place_for(below, place)?;
        unit.attach(directory.strip_prefix(&place.directory)?, pid)
    }

    /// Takes a process of this runtime out of a frozen cgroup, where it could not even die.
    ///
    /// Only v1 is like that: there it moves to the cgroup of the runtime, which thaws it.
    pub fn release(&self, pid: Pid) {
        let has = |controllers: &[String]| controllers.iter().any(|name| name == "freezer");
        let Ok(host) = Cgroups::read(true) else { return };
        if let Some(freezer) = host.v1.iter().find(|hierarchy| has(&hierarchy.controllers)) {
            let own = freezer.mount.join(freezer.own.strip_prefix("/").unwrap_or(&freezer.own));
            // It may have ended meanwhile.
            let _ = write(&own.join("cgroup.procs"), &pid.to_string());
        }
    }
}

fn is_gone(error: &anyhow::Error) -> bool {
    let number = error.downcast_ref::<nix::errno::Errno>();
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    number == Some(&nix::errno::Errno::ENOENT) || kind == Some(ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Below> {
        let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        Below::parse(&arguments)
    }

    #[test]
    fn forms_and_escapes() {
        for (arguments, want) in [
            (&["a/b"][..], Ok("/c/a/b")),
            (&["/a"], Ok("/c/a")),
            (&["/"], Ok("/c")),
            (&["a/../b"], Ok("/c/b")),
            (&["cpu:a", "pids,memory:b"], Ok("/c/a")),
            (&["memory:b"], Ok("/c")),
            (&[], Ok("/c")),
            (&[".."], Err("bad sub cgroup path: ..")),
            (&["/../x"], Err("bad sub cgroup path: /../x")),
            (&["cpu:a/../../b"], Err("bad sub cgroup path: a/../../b")),
            (&["a", "b"], Err("missing <controller>: prefix")),
            (&[":a"], Err("empty <controller> prefix")),
            (&["cpu,:a"], Err("empty <controller> prefix")),
            (&["cpu:a", "cpu:b"], Err("controller cpu specified multiple times")),
            (&["cpu:a", "cpuacct:b"], Err("cannot have different cgroups")),
        ] {
            let place =
                Place { controllers: vec!["cpu".into(), "cpuacct".into()], directory: "/c".into() };
            let got = parse(arguments).and_then(|below| below.directory(&place));
            match (got, want) {
                (Ok(got), Ok(want)) => assert_eq!(got, Path::new(want), "{arguments:?}"),
                (Err(error), Err(want)) => {
                    assert!(error.to_string().contains(want), "{arguments:?}: {error}");
                }
                (got, want) => panic!("{arguments:?}: got {got:?}, want {want:?}"),
            }
        }
    }
}
