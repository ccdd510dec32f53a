//! Device rules as properties of a unit (systemd.resource-control(5), `DeviceAllow=`).
//!
//! systemd applies its own idea of the rules to its units again when it reloads, so it has to have
//! the right one: on v1 it writes the same two files, on v2 it attaches a program beside ours.

use super::properties::{Property, property};
use super::value::Value;
use crate::cgroups::devices::{Devices, Exception, Kind};

/// The properties for a systemd of that version. `known` is the text of `/proc/devices`.
///
/// It can only list what is allowed, and no number without its major one. On v2 it is told to
/// allow everything if a list cannot say what is meant, since both programs have to allow an
/// access. On v1 there is only one place, where too little is better than too much.
pub(super) fn properties(devices: &Devices, v2: bool, version: u32, known: &str) -> Vec<Property> {
    let entries: Vec<_> =
        devices.exceptions.iter().map(|rule| (path(rule, version, known), rule)).collect();
    let can_say = !devices.allow_by_default && entries.iter().all(|(path, _)| path.is_some());
    let all = devices.allow_everything() || (v2 && !can_say);
    let listed = entries.into_iter().filter(|_| !devices.allow_by_default && !all);
    let listed = listed.filter_map(|(path, rule)| Some((path?, rule.access.letters())));
    let pair = |(path, access)| Value::Struct(vec![Value::Text(path), Value::Text(access)]);
    vec![
        property("DevicePolicy", Value::text(if all { "auto" } else { "strict" })),
        property("DeviceAllow", Value::Array("(ss)".into(), listed.map(pair).collect())),
    ]
}

fn path(rule: &Exception, version: u32, known: &str) -> Option<String> {
    let (prefix, directory) = match rule.kind {
        Kind::Block => ("block", "/dev/block"),
        Kind::Character => ("char", "/dev/char"),
    };
    match (rule.major, rule.minor) {
        (None, None) => Some(format!("{prefix}-*")),
        (None, Some(_)) => None,
        (Some(major), Some(minor)) => Some(format!("{directory}/{major}:{minor}")),
        (Some(major), None) if version >= 240 => Some(format!("{prefix}-{major}")),
        (Some(major), None) => {
            group(rule.kind, major, known).map(|name| format!("{prefix}-{name}"))
        }
    }
}

/// The name of a driver in `/proc/devices`: before 240 there is no other way to say all of its
/// devices.
fn group(kind: Kind, major: u32, known: &str) -> Option<&str> {
    let title = match kind {
        Kind::Block => "Block devices:",
        Kind::Character => "Character devices:",
    };
    let lines = known.lines().skip_while(|line| *line != title).skip(1);
    lines.take_while(|line| !line.is_empty()).find_map(|line| {
        let (number, name) = line.trim().split_once(' ')?;
        (number.parse() == Ok(major)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value as Json, json};

    const KNOWN: &str =
        "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  8 sd\n136 other\n";

    fn show(rules: Json, v2: bool, version: u32) -> (String, String) {
        let rules: Vec<_> = serde_json::from_value(rules).unwrap();
        let devices = Devices::from_rules(&rules, &[]).unwrap();
        let properties = properties(&devices, v2, version, KNOWN);
        let [(_, Value::Text(policy)), (_, Value::Array(_, list))] = properties.as_slice() else {
            panic!("{properties:?}")
        };
        let entry = |entry: &Value| match entry {
            Value::Struct(fields) => {
                fields.iter().filter_map(Value::as_text).collect::<Vec<_>>().join(" ")
            }
            other => panic!("{other:?}"),
        };
        (policy.clone(), list.iter().map(entry).collect::<Vec<_>>().join(";"))
    }

    #[test]
    fn what_a_list_can_say() {
        let some = json!([
            {"allow": false},
            {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
            {"allow": true, "type": "b", "major": 8, "access": "r"}]);
        for v2 in [false, true] {
            let (policy, list) = show(some.clone(), v2, 257);
            assert_eq!(policy, "strict");
            assert!(
                list.starts_with("/dev/char/10:229 rw;block-8 r;char-* m;block-* m;"),
                "{list}"
            );
            assert!(
                list.contains(";char-136 rwm;") && list.contains(";/dev/char/1:3 rwm;"),
                "{list}"
            );
            assert_eq!(show(json!([{"allow": true}]), v2, 257), ("auto".into(), String::new()));
        }
        let (_, list) = show(some, false, 239);
        assert!(list.contains(";block-sd r;") && list.contains(";char-pts rwm;"), "{list}");
    }

    #[test]
    fn what_a_list_cannot_say() {
        let but_one = json!([{"allow": true}, {"allow": false, "type": "c", "major": 10}]);
        assert_eq!(show(but_one.clone(), true, 257), ("auto".into(), String::new()));
        assert_eq!(show(but_one, false, 257), ("strict".into(), String::new()));
        let minor = json!([{"allow": true, "type": "c", "major": -1, "minor": 3, "access": "r"}]);
        assert_eq!(show(minor.clone(), true, 257), ("auto".into(), String::new()));
        let (policy, list) = show(minor, false, 257);
        assert_eq!(policy, "strict");
        assert!(list.starts_with("char-* m;"), "{list}");
    }
}
