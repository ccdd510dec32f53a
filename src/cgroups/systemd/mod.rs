//! Cgroups that systemd makes: each container is a transient scope, a unit of processes that
//! somebody else has started.
//!
//! systemd wants to be the only one who makes cgroups where it is in charge, and to be told what
//! limits are (its document "Control Group APIs and Delegation"). So it gets the container's first
//! process, which waits meanwhile, makes the cgroup and moves it there. What systemd has no
//! property for is written to files afterwards, as is everything else, so that both agree.

mod bus;
mod devices;
mod message;
mod names;
mod properties;
mod value;
mod variant;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Error, Result, bail};
use nix::unistd::{Pid, geteuid};
use serde::{Deserialize, Serialize};

use self::bus::{Address, Bus, refusal};
use self::message::{Message, Target};
use self::properties::{Property, list, property};
use self::value::Value;
use super::Plan;
use super::setting::Setting;
use super::subgroup::Subgroups;
use crate::{error, log};

pub(super) use properties::round;

const MANAGER: Target = Target {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

/// How long systemd may take for a job that it has accepted: runc's.
const JOB: Duration = Duration::from_secs(30);

/// A manager of units: the system's, or that of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    user: bool,
    version: u32,
    /// The cgroup below which it is in charge, from the root of a hierarchy.
    root: PathBuf,
}

impl Manager {
    /// Asks the manager about itself: for a `rootless` caller that of the user, unless he is root
    /// of a user namespace in which a systemd of its own runs.
    ///
    /// # Errors
    /// When it cannot be reached, or does not answer.
    pub fn ask(rootless: bool) -> Result<Self> {
        let is_ours = || fs::metadata(RUNNING).is_ok_and(|running| running.uid() == 0);
        let user = rootless && !(geteuid().is_root() && is_ours());
        let mut bus = connect(user)?;
        let version = ask(&mut bus, "Version")?;
        let root = ask(&mut bus, "ControlGroup")?;
        let digits = version.trim_start_matches('v');
        let digits = digits.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        let version = digits.parse().with_context(|| format!("systemd has version {version:?}"))?;
        Ok(Self { user, version, root: root.trim_start_matches('/').into() })
    }
}

/// This directory is there if, and only if, systemd is the machine's first process: sd_booted(3).
const RUNNING: &str = "/run/systemd/system";

fn connect(user: bool) -> Result<Bus> {
    let uid = if user { own_uid()? } else { geteuid().as_raw() };
    Bus::connect(&addresses(user)?, uid).map_err(|error| match fs::metadata(RUNNING) {
        Ok(_) => error,
        Err(_) => {
            error.context("systemd not running on this host, cannot use systemd cgroups manager")
        }
    })
}

/// Where a manager is to be found: on its bus, or directly if the bus is not there.
fn addresses(user: bool) -> Result<Vec<Address>> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    if !user {
        return Ok(match variable("DBUS_SYSTEM_BUS_ADDRESS") {
            Some(text) => Address::parse(&text).context("DBUS_SYSTEM_BUS_ADDRESS")?,
            None => vec![
                Address::bus(Path::new("/run/dbus/system_bus_socket")),
                Address::direct(Path::new("/run/systemd/private")),
            ],
        });
    }
    if let Some(text) = variable("DBUS_SESSION_BUS_ADDRESS") {
        return Address::parse(&text).context("DBUS_SESSION_BUS_ADDRESS");
    }
    // Podman passes this one on, and not always that one.
    let directory = match variable("XDG_RUNTIME_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => Path::new("/run/user").join(own_uid()?.to_string()),
    };
    Ok(vec![
        Address::bus(&directory.join("bus")),
        Address::direct(&directory.join("systemd/private")),
    ])
}

/// The number of this user outside the user namespace that it may be in.
fn own_uid() -> Result<u32> {
    let map = fs::read_to_string("/proc/self/uid_map").context("read /proc/self/uid_map")?;
    let own = geteuid().as_raw();
    let outside = map.lines().find_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
        let (inside, outside) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        let offset = own.checked_sub(inside).filter(|_| numbers.next().is_some())?;
        outside.checked_add(offset)
    });
    Ok(outside.unwrap_or(own))
}

fn ask(bus: &mut Bus, name: &str) -> Result<String> {
    let target = Target { interface: "org.freedesktop.DBus.Properties", ..MANAGER };
    let answer = bus.call(target, "Get", &[Value::text(MANAGER.interface), Value::text(name)])?;
    let text = answer.first().and_then(Value::as_text);
    text.map(str::to_string).with_context(|| format!("systemd's answer for {name} is no text"))
}

/// The unit of a container: a fact for its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    name: String,
    /// It belongs to the manager of a user.
    user: bool,
    /// That of systemd, which decides about properties.
    version: u32,
}

/// A unit that is to be made.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Planned {
    pub(super) unit: Unit,
    properties: Vec<Property>,
}

impl Plan {
    /// Lets systemd make the cgroups of this plan.
    ///
    /// # Errors
    /// For a path that names no unit, and for annotations that are no properties.
    pub fn by_systemd<'a>(
        mut self,
        manager: &Manager,
        path: Option<&Path>,
        id: &str,
        annotations: impl Iterator<Item = (&'a String, &'a String)> + Clone,
    ) -> Result<Self> {
        if self.v2 {
            // Those of v1 cannot be given away safely, and systemd makes several.
            self.subgroups = Subgroups::from_annotations(annotations.clone())?;
        }
        let (slice, name) = names::unit(path, id)?;
        let default = if manager.user { "user.slice" } else { "system.slice" };
        let slice = slice.unwrap_or_else(|| default.into());
        let below = manager.root.join(names::expand(&slice)?).join(&name);
        for group in &mut self.groups {
            group.directory = group.hierarchy.mount.join(&below);
            round(&mut group.settings);
            properties::drop_weight_of_idle(&mut group.settings);
        }
        let unit = Unit { name, user: manager.user, version: manager.version };
        let mut properties = unit.basic_properties(&slice, id, self.v2);
        for group in &self.groups {
            properties.extend(properties::properties(&group.settings, unit.version)?);
        }
        if !unit.user {
            // Who is not root can neither load a program nor write to the files of v1.
            let known = fs::read_to_string("/proc/devices").unwrap_or_default();
            let devices = devices::properties(&self.devices, self.v2, unit.version, &known);
            properties.extend(devices);
        }
        // Last, as the last of two values counts.
        properties.extend(variant::annotations(annotations)?);
        self.unit = Some(Planned { unit, properties });
        Ok(self)
    }
}

impl Planned {
    /// Starts the unit with the process `pid` in it, and waits until it is there.
    ///
    /// # Errors
    /// Those of calls, and when systemd does not start it.
    pub(super) fn start(&self, pid: Pid) -> Result<()> {
        let Unit { name, .. } = &self.unit;
        let pids = Value::Array("u".into(), vec![Value::U32(pid.as_raw().cast_unsigned())]);
        let mut properties = self.properties.clone();
        properties.push(property("PIDs", pids));
        let others = Value::Array("(sa(sv))".into(), vec![]);
        let body = [Value::text(name), Value::text("replace"), list(&properties), others];
        let context = || format!("start the unit {name:?} of systemd");
        let mut bus = self.unit.connect().with_context(context)?;
        let mut started = bus.call(MANAGER, "StartTransientUnit", &body);
        if started.as_ref().err().and_then(refusal) == Some(UNIT_EXISTS) {
            // It may have failed under a runtime that died since; then it can be forgotten.
            self.unit.reset(&mut bus);
            started = bus.call(MANAGER, "StartTransientUnit", &body);
        }
        let result = started.and_then(|answer| wait_for_job(&mut bus, &answer, name));
        let result = result.with_context(context)?;
        if result != "done" {
            self.unit.reset(&mut bus);
            bail!("error creating systemd unit `{name}`: got `{result}`");
        }
        log::debug(|| format!("systemd has made the unit {name}"));
        Ok(())
    }
}

/// Waits for the end of the job that systemd named in its answer; returns how it ended.
fn wait_for_job(bus: &mut Bus, answer: &[Value], unit: &str) -> Result<String> {
    let job = answer.first().and_then(Value::as_text).context("systemd names no job")?;
    let ended = |message: &Message| {
        let [_, path, _, result] = message.body.as_slice() else { return None };
        let is_it = message.member == "JobRemoved" && path.as_text() == Some(job);
        is_it.then(|| result.as_text().unwrap_or_default().to_string())
    };
    bus.wait_for(&format!("the job for {unit}"), JOB, ended)
}

impl Unit {
    /// What every container is. A scope of which only failed processes are left is forgotten by
    /// itself: nobody but the runtime knows what it was.
    fn basic_properties(&self, slice: &str, id: &str, v2: bool) -> Vec<Property> {
        let on = || Value::Bool(true);
        let mut properties = vec![
            property("Description", Value::Text(format!("libcontainer container {id}"))),
            property("Slice", Value::text(slice)),
            property("Delegate", on()),
            property("DefaultDependencies", Value::Bool(false)),
            property("MemoryAccounting", on()),
            property("CPUAccounting", on()),
            property(if v2 { "IOAccounting" } else { "BlockIOAccounting" }, on()),
            property("TasksAccounting", on()),
        ];
        if self.version >= 236 {
            properties.push(property("CollectMode", Value::text("inactive-or-failed")));
        }
        properties
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn connect(&self) -> Result<Bus> {
        let mut bus = connect(self.user)?;
        bus.subscribe(MANAGER, "JobRemoved")?;
        bus.call(MANAGER, "Subscribe", &[])?;
        Ok(bus)
    }

    fn reset(&self, bus: &mut Bus) {
        let reset = bus.call(MANAGER, "ResetFailedUnit", &[Value::text(&self.name)]);
        if let Err(error) = reset.or_else(|error| no_such_unit(error).map(|()| vec![])) {
            log::debug(|| error::line(&error));
        }
    }

    /// Tells systemd the new content of files of the cgroup, which it may write there as well.
    ///
    /// # Errors
    /// Those of calls.
    pub(super) fn set(&self, settings: &[Setting]) -> Result<()> {
        let properties = properties::properties(settings, self.version)?;
        if properties.is_empty() {
            return Ok(());
        }
        let body = [Value::text(&self.name), Value::Bool(true), list(&properties)];
        let mut bus = connect(self.user)?;
        bus.call(MANAGER, "SetUnitProperties", &body)
            .map(drop)
            .with_context(|| format!("set properties of the unit {:?} of systemd", self.name))
    }

    /// Moves the process `pid` into the cgroup `below` that of the unit.
    ///
    /// # Errors
    /// Those of calls.
    pub(super) fn attach(&self, below: &Path, pid: Pid) -> Result<()> {
        let below = Path::new("/").join(below);
        let pids = Value::Array("u".into(), vec![Value::U32(pid.as_raw().cast_unsigned())]);
        let body = [Value::text(&self.name), Value::text(&below.to_string_lossy()), pids];
        let mut bus = connect(self.user)?;
        bus.call(MANAGER, "AttachProcessesToUnit", &body)
            .map(drop)
            .with_context(|| format!("attach a process to the unit {:?} of systemd", self.name))
    }

    /// Stops the unit, of which no process is left, and has it forgotten.
    ///
    /// # Errors
    /// Those of calls. That there is no such unit is none.
    pub(super) fn stop(&self) -> Result<()> {
        let context = || format!("stop the unit {:?} of systemd", self.name);
        let mut bus = self.connect().with_context(context)?;
        let body = [Value::text(&self.name), Value::text("replace")];
        let stopped = bus.call(MANAGER, "StopUnit", &body);
        let job = match stopped {
            Err(error) => return no_such_unit(error).with_context(context),
            Ok(job) => job,
        };
        let result = wait_for_job(&mut bus, &job, &self.name).with_context(context)?;
        log::debug(|| format!("systemd has stopped the unit {}: {result}", self.name));
        self.reset(&mut bus);
        Ok(())
    }
}

/// The error of a start says that there is such a unit, which is not ours to stop.
pub(super) fn is_somebody_elses(error: &Error) -> bool {
    refusal(error) == Some(UNIT_EXISTS)
}

fn no_such_unit(error: Error) -> Result<()> {
    if refusal(&error) == Some(NO_SUCH_UNIT) { Ok(()) } else { Err(error) }
}
