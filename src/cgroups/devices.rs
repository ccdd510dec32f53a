//! Device rules: what the list of the config comes to, with the kernel's v1 semantics.
//!
//! A cgroup allows all devices with exceptions, or none with exceptions. A rule for all devices
//! starts over; any other rule adds an exception or takes one away. Both versions of cgroups get
//! the same result of it: v1 as lines for its two files, v2 as a program.

use std::path::Path;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};

use crate::spec::defaults;

/// The kind of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `b`
    Block,
    /// `c`
    Character,
}

/// `r`, `w` and `m` as the bits that the kernel uses (`BPF_DEVCG_ACC_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(pub u8);

const MKNOD: u8 = 1;
const READ: u8 = 2;
const WRITE: u8 = 4;

impl Access {
    const ALL: Self = Self(MKNOD | READ | WRITE);

    fn parse(letters: &str) -> Self {
        let bit = |letter| match letter {
            'm' => MKNOD,
            'r' => READ,
            'w' => WRITE,
            _ => 0,
        };
        Self(letters.chars().map(bit).fold(0, |bits, bit| bits | bit))
    }

    pub(super) fn letters(self) -> String {
        let letters = [('r', READ), ('w', WRITE), ('m', MKNOD)];
        letters.iter().filter(|(_, bit)| self.0 & bit != 0).map(|(letter, _)| letter).collect()
    }
}

/// Devices that are treated differently from all others. No number means every number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Block or character.
    pub kind: Kind,
    /// The first half of the device number.
    pub major: Option<u32>,
    /// The second half of the device number.
    pub minor: Option<u32>,
    /// What is allowed, or denied.
    pub access: Access,
}

/// What every container may do (BXD-01): make any node, and use these devices.
const BUILT_IN: [(Kind, Option<u32>, Option<u32>, u8); 11] = {
    const ALL: u8 = MKNOD | READ | WRITE;
    [
        (Kind::Character, None, None, MKNOD),
        (Kind::Block, None, None, MKNOD),
        (Kind::Character, Some(1), Some(3), ALL),    // null
        (Kind::Character, Some(1), Some(5), ALL),    // zero
        (Kind::Character, Some(1), Some(7), ALL),    // full
        (Kind::Character, Some(1), Some(8), ALL),    // random
        (Kind::Character, Some(1), Some(9), ALL),    // urandom
        (Kind::Character, Some(5), Some(0), ALL),    // tty
        (Kind::Character, Some(5), Some(2), ALL),    // ptmx
        (Kind::Character, Some(136), None, ALL),     // terminals
        (Kind::Character, Some(10), Some(200), ALL), // tun
    ]
};

/// What the rules come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices {
    /// What holds for a device without an exception.
    pub allow_by_default: bool,
    /// The exceptions, in the order in which they came up.
    pub exceptions: Vec<Exception>,
}

impl Devices {
    /// Applies the rules of the config in order, and then what every container may do, except for
    /// default devices that are among the `configured` ones: those have the rules of the config.
    ///
    /// Without any rule nothing else is allowed (BXD-02).
    ///
    /// # Errors
    /// For a rule that the kernel would take and not enforce.
    pub fn from_rules(rules: &[LinuxDeviceCgroup], configured: &[LinuxDevice]) -> Result<Self> {
        let mut devices = Self { allow_by_default: false, exceptions: Vec::new() };
        for (index, rule) in rules.iter().enumerate() {
            devices.apply(rule).with_context(|| format!("linux.resources.devices[{index}]"))?;
        }
        let is_configured = |major: Option<u32>, minor: Option<u32>| {
            let number = (major.map(u64::from), minor.map(u64::from));
            let mut defaults = defaults::DEVICES.iter();
            let default =
                defaults.find(|default| number == (Some(default.major), Some(default.minor)));
            let path = default.map(|default| Path::new(default.path));
            configured.iter().any(|device| Some(device.path().as_path()) == path)
        };
        for (kind, major, minor, access) in BUILT_IN {
            if is_configured(major, minor) {
                continue;
            }
            devices.allow(Exception { kind, major, minor, access: Access(access) });
        }
        Ok(devices)
    }

    /// Every device may be used in every way.
    #[must_use]
    pub fn allow_everything(&self) -> bool {
        self.allow_by_default && self.exceptions.is_empty()
    }

    fn apply(&mut self, rule: &LinuxDeviceCgroup) -> Result<()> {
        let number = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
        let kind = match rule.typ() {
            None | Some(LinuxDeviceType::A) => {
                *self = Self { allow_by_default: rule.allow(), exceptions: Vec::new() };
                return Ok(());
            }
            Some(LinuxDeviceType::B) => Kind::Block,
            Some(_) => Kind::Character,
        };
        let access = match rule.access().as_deref() {
            // The specification calls it optional; nothing said means all of it.
            None | Some("") => Access::ALL,
            Some(letters) => Access::parse(letters),
        };
        let (major, minor) = (number(rule.major()), number(rule.minor()));
        let exception = Exception { kind, major, minor, access };
        if rule.allow() {
            self.allow(exception);
            Ok(())
        } else {
            self.deny(exception)
        }
    }

    fn allow(&mut self, exception: Exception) {
        if self.allow_by_default {
            self.remove(exception);
        } else {
            self.add(exception);
        }
    }

    fn deny(&mut self, exception: Exception) -> Result<()> {
        if self.allow_by_default {
            self.add(exception);
            return Ok(());
        }
        let overlaps = |other: &&Exception| {
            let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
            let same = other.major == exception.major && other.minor == exception.minor;
            other.kind == exception.kind
                && other.access.0 & exception.access.0 != 0
                && meet(other.major, exception.major)
                && meet(other.minor, exception.minor)
                && !same
        };
        if let Some(other) = self.exceptions.iter().find(overlaps) {
            let (other, this) = (line(other), line(&exception));
            bail!("{this:?} cannot be taken out of {other:?}, which an earlier rule allows");
        }
        self.remove(exception);
        Ok(())
    }

    fn same(&mut self, exception: &Exception) -> Option<&mut Exception> {
        let key = |e: &Exception| (e.kind, e.major, e.minor);
        self.exceptions.iter_mut().find(|other| key(other) == key(exception))
    }

    fn add(&mut self, exception: Exception) {
        match self.same(&exception) {
            Some(other) => other.access.0 |= exception.access.0,
            None => self.exceptions.push(exception),
        }
    }

    fn remove(&mut self, exception: Exception) {
        if let Some(other) = self.same(&exception) {
            other.access.0 &= !exception.access.0;
            self.exceptions.retain(|other| other.access.0 != 0);
        }
    }

    /// What to write to the two files of a new cgroup of v1, line by line: first what holds by
    /// default, then the exceptions.
    #[must_use]
    pub fn v1_lines(&self) -> [(&'static str, Vec<String>); 2] {
        let (first, others) = match self.allow_by_default {
            true => ("devices.allow", "devices.deny"),
            false => ("devices.deny", "devices.allow"),
        };
        [(first, vec!["a".to_string()]), (others, self.exceptions.iter().map(line).collect())]
    }
}

/// As the files of v1 have it: `c 1:3 rwm`.
fn line(exception: &Exception) -> String {
    let kind = match exception.kind {
        Kind::Block => 'b',
        Kind::Character => 'c',
    };
    let number = |number: Option<u32>| number.map_or("*".to_string(), |n| n.to_string());
    let (major, minor) = (number(exception.major), number(exception.minor));
    format!("{kind} {major}:{minor} {}", exception.access.letters())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn devices(rules: Value) -> Result<Devices> {
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_value(rules).unwrap();
        Devices::from_rules(&rules, &[])
    }

    fn lines(rules: Value) -> Vec<String> {
        let lines = devices(rules).unwrap().v1_lines();
        let lines = lines.iter().flat_map(|(file, lines)| lines.iter().map(move |l| (file, l)));
        lines.map(|(file, line)| format!("{file} {line}")).collect()
    }

    #[test]
    fn what_rules_come_to() {
        let built_in = lines(json!([]));
        assert_eq!(built_in.len(), 1 + BUILT_IN.len());
        assert_eq!(built_in[0], "devices.deny a");
        assert_eq!(built_in[1], "devices.allow c *:* m");
        assert!(built_in.contains(&"devices.allow c 136:* rwm".to_string()));

        let deny_all = json!([{"allow": false, "access": "rwm"}]);
        assert_eq!(lines(deny_all), built_in);

        let fuse = json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "r"},
            {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "w"},
            {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "r"}]);
        let fuse = lines(fuse);
        assert_eq!(fuse[1], "devices.allow c 10:229 rw");
        assert_eq!(fuse[2], "devices.allow c 1:3 rwm");
        assert_eq!(fuse.len(), built_in.len() + 1);
    }

    #[test]
    fn a_configured_default_device_has_no_rule_of_its_own() {
        let configured: Vec<LinuxDevice> = serde_json::from_value(json!([
            {"path": "/dev/zero", "type": "c", "major": 1, "minor": 5},
            {"path": "/dev/other", "type": "c", "major": 1, "minor": 3}]))
        .unwrap();
        let lines = Devices::from_rules(&[], &configured).unwrap().v1_lines();
        let all: Vec<_> = lines.iter().flat_map(|(_, lines)| lines).collect();
        assert!(!all.iter().any(|line| *line == "c 1:5 rwm"), "{all:?}");
        assert!(all.iter().any(|line| *line == "c 1:3 rwm"), "{all:?}");
    }

    #[test]
    fn the_order_decides() {
        let all = json!({"allow": true, "access": "rwm"});
        let fuse = |allow| json!({"allow": allow, "type": "c", "major": 10, "minor": 229});
        let privileged = devices(json!([fuse(true), all])).unwrap();
        assert!(privileged.allow_everything());
        assert_eq!(lines(json!([fuse(true), all])), ["devices.allow a"]);
        assert_eq!(
            lines(json!([all, fuse(false)])),
            ["devices.allow a", "devices.deny c 10:229 rwm"]
        );
        assert_eq!(lines(json!([all, fuse(false), fuse(true)])), ["devices.allow a"]);
        assert_eq!(lines(json!([fuse(true), fuse(false)])), lines(json!([])));
    }

    #[test]
    fn a_hole_in_a_wildcard_is_refused() {
        let error = devices(json!([
            {"allow": true, "type": "c", "major": 10, "minor": -1, "access": "rw"},
            {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "w"}]));
        let error = format!("{:#}", error.unwrap_err());
        assert!(error.starts_with("linux.resources.devices[1]: \"c 10:229 w\""), "{error}");
    }
}
