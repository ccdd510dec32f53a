//! Control groups: limits, and the means to find every process of a container.
//!
//! [`Plan`] says what is to be made, without touching anything; [`Made`] is what [`Plan::make`]
//! made and how init gets in; [`Record`] is what is kept on disk to find it all again.

pub mod devices;
mod freezer;
mod join;
mod make;
pub mod oom;
mod owner;
mod path;
pub mod processes;
pub mod rdt;
mod remove;
mod setting;
pub mod stats;
mod subgroup;
pub mod systemd;
mod update;
mod v1;
mod v2;

pub use join::Below;
pub use make::{Entry, Made};

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use nix::unistd::{Uid, geteuid};
use oci_spec::runtime::{Linux, LinuxResources, Spec};
use serde::{Deserialize, Serialize};

use crate::host::{Cgroups, Hierarchy};
use devices::Devices;
use setting::Setting;
use subgroup::Subgroups;
use v1::Translate;

/// The cgroups of a container, one directory per hierarchy.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    groups: Vec<Group>,
    devices: Devices,
    /// The unified hierarchy is the only one: it has the controllers.
    v2: bool,
    /// The unit, if systemd makes the cgroups.
    unit: Option<systemd::Planned>,
    /// Where in the unit's cgroup the processes are.
    subgroups: Subgroups,
    /// Whose the cgroup is to be, if not the caller's.
    owner: Option<Uid>,
    /// What the caller may do about them.
    rights: Rights,
}

/// What to do about cgroups that the caller may not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rights {
    /// Nobody expects that: it is an error.
    Root,
    /// The document names a place for them, but device rules may be missed (BXD-07).
    Rootless,
    /// Go on without those that have no limits (BXG-25).
    RootlessAnywhere,
}

/// Who makes the cgroups of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// This program, in the file system.
    #[default]
    Cgroupfs,
    /// systemd, which is told about all limits.
    Systemd(systemd::Manager),
}

/// What scopes and cgroups are called that nobody has named.
const PREFIX: &str = "orlop";

/// A cgroup in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    hierarchy: Hierarchy,
    directory: PathBuf,
    settings: Vec<Setting>,
}

impl Group {
    fn has(&self, controller: &str) -> bool {
        self.hierarchy.controllers.iter().any(|name| name == controller)
    }

    /// The unified hierarchy, also beside those of v1.
    fn is_unified(&self) -> bool {
        self.hierarchy.controllers.is_empty()
    }
}

/// The place of the container's cgroup depends on that of the runtime: see `path.rs`.
#[must_use]
pub fn counts_from_own(spec: &Spec) -> bool {
    let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_deref());
    !path.is_some_and(Path::is_absolute)
}

impl Plan {
    /// Translates what a checked document says for the hierarchies of this host.
    ///
    /// # Errors
    /// For limits that contradict each other, or that no hierarchy here can set.
    pub fn new(linux: Option<&Linux>, id: &str, host: &Cgroups, rootless: bool) -> Result<Self> {
        let none = LinuxResources::default();
        let resources = linux.and_then(|linux| linux.resources().as_ref()).unwrap_or(&none);
        let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
        let v2 = host.is_v2();
        let group = |hierarchy: &Hierarchy| Group {
            directory: path::directory(path, id, hierarchy, v2),
            hierarchy: hierarchy.clone(),
            settings: Vec::new(),
        };
        let mut groups: Vec<_> = host.v1.iter().chain(&host.unified).map(group).collect();
        for (name, translate) in controllers(resources, v2)? {
            let settings = translate(resources)?;
            let group = groups.iter_mut().find(|group| v2 || group.has(name));
            match (group, settings.first()) {
                (Some(group), _) => group.settings.extend(settings),
                (None, Some(setting)) => {
                    ensure!(
                        false,
                        "linux.resources.{}: this host has no cgroup controller {name:?}",
                        setting.json
                    );
                }
                (None, None) => {}
            }
        }
        let rules = resources.devices().as_deref().unwrap_or_default();
        let configured = linux.and_then(|linux| linux.devices().as_deref()).unwrap_or_default();
        let devices = Devices::from_rules(rules, configured)?;
        let rights = match path.filter(|path| !path.as_os_str().is_empty()) {
            _ if !rootless => Rights::Root,
            Some(_) => Rights::Rootless,
            None => Rights::RootlessAnywhere,
        };
        // Else every device could be used; an ordinary user makes none (BXG-27, BXD-07).
        let unlimited = devices.allow_everything() || rights != Rights::Root;
        let enforced = v2 || groups.iter().any(|group| group.has("devices"));
        ensure!(
            unlimited || enforced || groups.is_empty(),
            "linux.resources.devices: this host has no cgroup controller \"devices\""
        );
        let subgroups = Subgroups::default();
        Ok(Self { groups, devices, v2, unit: None, subgroups, owner: None, rights })
    }

    /// Gives the cgroup of v2 to a user; those of v1 cannot be given away safely (CGO-02).
    #[must_use]
    pub fn owned_by(self, owner: Option<Uid>) -> Self {
        Self { owner: owner.filter(|owner| self.v2 && *owner != geteuid()), ..self }
    }

    /// The directories, one per hierarchy.
    #[must_use]
    pub fn record(&self) -> Record {
        let groups = self.groups.iter().map(|group| Place {
            controllers: group.hierarchy.controllers.clone(),
            directory: group.directory.clone(),
        });
        let unit = self.unit.as_ref().map(|planned| planned.unit.clone());
        Record { groups: groups.collect(), v2: self.v2, unit, processes: self.subgroups.path() }
    }

    /// The directories that there are, when the caller has to do without some.
    #[must_use]
    pub fn record_of(&self, made: &Made) -> Record {
        let mut record = self.record();
        record.groups.retain(|place| made.has(&place.directory));
        record
    }

    /// Where each hierarchy is mounted.
    pub fn mounts(&self) -> impl Iterator<Item = (&Hierarchy, &Path)> {
        self.groups.iter().map(|group| (&group.hierarchy, group.directory.as_path()))
    }

    /// The clone that makes init can also place it: there is no hierarchy of v1.
    #[must_use]
    pub fn is_v2(&self) -> bool {
        self.v2
    }
}

/// What can be limited, and how.
fn controllers(
    resources: &LinuxResources,
    v2: bool,
) -> Result<&'static [(&'static str, Translate)]> {
    let unified = resources.unified().iter().flatten().count() > 0;
    ensure!(
        v2 || !unified,
        "linux.resources.unified: invalid configuration: cannot use unified on cgroup v1"
    );
    Ok(if v2 { v2::CONTROLLERS } else { v1::CONTROLLERS })
}

/// Where the cgroups of a container are: facts for its state on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    groups: Vec<Place>,
    v2: bool,
    /// The unit, if systemd has made the cgroups.
    #[serde(default)]
    unit: Option<systemd::Unit>,
    /// The path below its directory to where processes are.
    #[serde(default)]
    processes: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    controllers: Vec<String>,
    directory: PathBuf,
}

/// How a container's cgroups are shown: who has made them, and where.
#[derive(Debug, Serialize)]
pub struct Shown<'a> {
    driver: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'a str>,
    directories: Vec<&'a Path>,
}

impl Record {
    /// What a user is told.
    #[must_use]
    pub fn shown(&self) -> Shown<'_> {
        let directories = self.groups.iter().map(|place| place.directory.as_path()).collect();
        let unit = self.unit.as_ref().map(systemd::Unit::name);
        let driver = match unit {
            Some(_) => "systemd",
            None if self.groups.is_empty() => "disabled",
            None => "cgroupfs",
        };
        Shown { driver, unit, directories }
    }

    /// The cgroup with this controller; on v2 it is the one for all.
    #[must_use]
    pub fn directory(&self, controller: &str) -> Option<&Path> {
        let has = |place: &&Place| self.v2 || place.controllers.iter().any(|c| c == controller);
        self.groups.iter().find(has).map(|place| place.directory.as_path())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::Value;

    /// Checks a translation by a table of resources and what is written, as `file=value`.
    pub(in crate::cgroups) fn check<const N: usize>(
        translate: v1::Translate,
        cases: [(Value, std::result::Result<&str, &str>); N],
    ) {
        for (resources, want) in cases {
            let parsed: LinuxResources = serde_json::from_value(resources.clone()).unwrap();
            match (translate(&parsed), want) {
                (Ok(settings), Ok(want)) => {
                    let got = settings.iter().map(|s| format!("{}={}", s.file, s.value));
                    assert_eq!(got.collect::<Vec<_>>().join(" "), want, "{resources}");
                }
                (Err(error), Err(want)) => {
                    assert!(format!("{error:#}").contains(want), "{resources}: {error:#}");
                }
                (got, want) => panic!("{resources}: got {got:?}, want {want:?}"),
            }
        }
    }

    fn hierarchy(controllers: &[&str]) -> Hierarchy {
        Hierarchy {
            controllers: controllers.iter().map(ToString::to_string).collect(),
            mount: Path::new("/c").join(controllers.join(",")),
            own: "/".into(),
        }
    }

    fn plan(linux: Value, host: &Cgroups) -> Result<Plan> {
        Plan::new(Some(&serde_json::from_value(linux).unwrap()), "box", host, false)
    }

    #[test]
    fn each_limit_goes_to_its_hierarchy() {
        let host = Cgroups {
            v1: vec![hierarchy(&["cpu", "cpuacct"]), hierarchy(&["pids", "devices"])],
            unified: Some(hierarchy(&[])),
        };
        let limits = serde_json::json!({"resources": {"pids": {"limit": 5}, "cpu": {"shares": 9}}});
        let plan = plan(limits, &host).unwrap();
        let files: Vec<Vec<_>> = plan
            .groups
            .iter()
            .map(|group| group.settings.iter().map(|s| s.file.as_str()).collect())
            .collect();
        assert_eq!(files, [vec!["cpu.shares"], vec!["pids.max"], vec![]]);
        assert_eq!(plan.record().directory("cpuacct"), Some(Path::new("/c/cpu,cpuacct/box")));
        assert!(!plan.is_v2());
    }

    #[test]
    fn a_limit_without_its_controller_is_refused() {
        let mut host =
            Cgroups { v1: vec![hierarchy(&["pids"]), hierarchy(&["devices"])], unified: None };
        let limits = serde_json::json!({"resources": {"memory": {"limit": 5}}});
        let error = format!("{:#}", plan(limits, &host).unwrap_err());
        assert_eq!(
            error,
            "linux.resources.memory.limit: this host has no cgroup controller \"memory\""
        );
        let nothing = serde_json::json!({"resources": {"memory": {"limit": 0}}});
        assert!(plan(nothing.clone(), &host).is_ok());
        host.v1.pop();
        let error = format!("{:#}", plan(nothing.clone(), &host).unwrap_err());
        assert_eq!(
            error,
            "linux.resources.devices: this host has no cgroup controller \"devices\""
        );
        let nothing = serde_json::from_value(nothing).unwrap();
        assert!(Plan::new(Some(&nothing), "box", &host, true).is_ok());
        let all = serde_json::json!({"resources": {"devices": [{"allow": true}]}});
        assert!(plan(all, &host).is_ok());
    }
}
