//! Rules about which members a document has, and what is taken out before it gets types.

use std::str::FromStr;

use anyhow::{Result, bail};
use caps::Capability;
use serde_json::{Map, Value};

/// Objects by path, `[]` for every element of an array, and the members that each must have.
///
/// From the prose of the specification, which asks for more than its schema (SCH-02, SCH-03).
const REQUIRED: [(&str, &[&str]); 24] = [
    ("", &["ociVersion", "root"]),
    ("root", &["path"]),
    ("process", &["cwd"]),
    ("process.consoleSize", &["height", "width"]),
    ("process.rlimits[]", &["type", "soft", "hard"]),
    ("process.scheduler", &["policy"]),
    ("process.ioPriority", &["class"]),
    ("mounts[]", &["destination"]),
    ("mounts[].uidMappings[]", &["containerID", "hostID", "size"]),
    ("mounts[].gidMappings[]", &["containerID", "hostID", "size"]),
    ("hooks.*[]", &["path"]),
    ("linux.namespaces[]", &["type"]),
    ("linux.uidMappings[]", &["containerID", "hostID", "size"]),
    ("linux.gidMappings[]", &["containerID", "hostID", "size"]),
    ("linux.devices[]", &["type", "path"]),
    ("linux.personality", &["domain"]),
    ("linux.seccomp", &["defaultAction"]),
    ("linux.seccomp.syscalls[]", &["names", "action"]),
    ("linux.seccomp.syscalls[].args[]", &["index", "value", "op"]),
    ("linux.resources.devices[]", &["allow"]),
    ("linux.resources.hugepageLimits[]", &["pageSize", "limit"]),
    ("linux.resources.network.priorities[]", &["name", "priority"]),
    ("linux.resources.blockIO.weightDevice[]", &["major", "minor"]),
    ("linux.resources.blockIO.throttle*[]", &["major", "minor", "rate"]),
];

/// Sections that belong to other platforms and are ignored on Linux (VER-13).
const FOREIGN: [&str; 5] = ["windows", "solaris", "vm", "zos", "freebsd"];

/// Removes members that are `null`: the same as absent, as for runc (VER-17).
pub(super) fn drop_null(tree: &mut Value) {
    match tree {
        Value::Object(members) => {
            members.retain(|_, value| !value.is_null());
            members.values_mut().for_each(drop_null);
        }
        Value::Array(elements) => elements.iter_mut().for_each(drop_null),
        _ => {}
    }
}

/// Removes the sections of other platforms.
pub(super) fn drop_foreign(tree: &mut Value) {
    if let Value::Object(members) = tree {
        members.retain(|key, _| !FOREIGN.contains(&key.as_str()));
    }
}

/// Rewrites lists of processors to the form that their type knows: without the blanks that the
/// specification allows (SCH-09), and absent where they are empty.
pub(super) fn tidy_processors(tree: &mut Value) {
    let lists = tree.pointer_mut("/process/execCPUAffinity").and_then(Value::as_object_mut);
    let Some(lists) = lists else { return };
    let tidy = |entry: &str| entry.split('-').map(str::trim).collect::<Vec<_>>().join("-");
    for list in lists.values_mut() {
        if let Value::String(text) = list {
            *text = text.split(',').map(tidy).collect::<Vec<_>>().join(",");
        }
    }
    lists.retain(|_, list| list != "");
}

/// Gives flags of the scheduler the names that their type has for them; the others are those of the
/// specification.
pub(super) fn rename_scheduler_flags(tree: &mut Value) {
    let flags = tree.pointer_mut("/process/scheduler/flags").and_then(Value::as_array_mut);
    for flag in flags.into_iter().flatten() {
        match flag.as_str() {
            Some("SCHED_FLAG_RESET_ON_FORK") => *flag = "SCHED_RESET_ON_FORK".into(),
            Some("SCHED_FLAG_DL_OVERRUN") => *flag = "SCHED_FLAG_D_L_OVERRUN".into(),
            _ => {}
        }
    }
}

/// Removes a `pids` that has no limit, which its type takes for a limit of 0.
pub(super) fn drop_unset_pids(tree: &mut Value) {
    let resources = tree.pointer_mut("/linux/resources").and_then(Value::as_object_mut);
    let Some(resources) = resources else { return };
    let unset = |pids: &Value| pids.as_object().is_some_and(|pids| !pids.contains_key("limit"));
    if resources.get("pids").is_some_and(unset) {
        resources.remove("pids");
    }
}

/// Ids that are not there are those of root, as for runc: documents for `exec --process` are often
/// written by hand, without a user (USR-01).
pub(super) fn fill_user(tree: &mut Value) {
    let Some(process) = tree.get_mut("process").and_then(Value::as_object_mut) else { return };
    let user = process.entry("user").or_insert_with(|| Value::Object(Map::new()));
    if let Some(user) = user.as_object_mut() {
        for id in ["uid", "gid"] {
            user.entry(id).or_insert_with(|| 0.into());
        }
    }
}

/// Removes capabilities that nobody knows and returns a warning for each (CAP-03, CAP-04).
pub(super) fn drop_unknown_capabilities(tree: &mut Value) -> Vec<String> {
    let mut warnings = Vec::new();
    let sets = tree.pointer_mut("/process/capabilities").and_then(Value::as_object_mut);
    for (set, names) in sets.into_iter().flatten() {
        let Value::Array(names) = names else { continue };
        names.retain(|name| {
            // A name that is no string is left for the types to refuse.
            let known = name.as_str().is_none_or(|name| Capability::from_str(name).is_ok());
            if !known {
                warnings.push(format!(
                    "process.capabilities.{set}: {name} is not a capability and is ignored"
                ));
            }
            known
        });
    }
    warnings
}

/// Checks that all required members are there.
pub(super) fn check(tree: &Value) -> Result<()> {
    if !tree.is_object() {
        bail!("the document is not an object");
    }
    required(tree, |_| true)?;
    device_numbers(tree)
}

/// Checks that all required members are there of `{"process": …}`.
pub(super) fn check_process(tree: &Value) -> Result<()> {
    required(tree, |path| path.starts_with("process"))
}

/// Checks that all required members are there of `{"linux": {"resources": …}}`.
pub(super) fn check_resources(tree: &Value) -> Result<()> {
    required(tree, |path| path.starts_with("linux.resources"))
}

fn required(tree: &Value, wanted: impl Fn(&str) -> bool) -> Result<()> {
    for (path, members) in REQUIRED.into_iter().filter(|(path, _)| wanted(path)) {
        each(tree, path, String::new(), &mut |object, here| match members
            .iter()
            .find(|member| !object.contains_key(**member))
        {
            Some(member) if here.is_empty() => bail!("{member}: required"),
            Some(member) => bail!("{here}.{member}: required"),
            None => Ok(()),
        })?;
    }
    Ok(())
}

/// A device node needs its numbers unless it is a FIFO (DEV-06).
fn device_numbers(tree: &Value) -> Result<()> {
    each(tree, "linux.devices[]", String::new(), &mut |device, here| {
        let fifo = device.get("type").and_then(Value::as_str) == Some("p");
        match ["major", "minor"].iter().find(|member| !fifo && !device.contains_key(**member)) {
            Some(member) => bail!("{here}.{member}: required"),
            None => Ok(()),
        }
    })
}

type Visit<'a> = dyn FnMut(&Map<String, Value>, &str) -> Result<()> + 'a;

/// Calls `visit` with every object that `path` leads to, and with its own path.
fn each(value: &Value, path: &str, here: String, visit: &mut Visit<'_>) -> Result<()> {
    if path.is_empty() {
        return value.as_object().map_or(Ok(()), |object| visit(object, &here));
    }
    let (step, rest) = path.split_once('.').unwrap_or((path, ""));
    let (name, is_array) = step.strip_suffix("[]").map_or((step, false), |name| (name, true));
    let members = value.as_object().into_iter().flatten();
    for (key, value) in members.filter(|(key, _)| matches(name, key)) {
        let there = if here.is_empty() { key.clone() } else { format!("{here}.{key}") };
        match value {
            Value::Array(elements) if is_array => {
                for (index, element) in elements.iter().enumerate() {
                    each(element, rest, format!("{there}[{index}]"), visit)?;
                }
            }
            _ if !is_array => each(value, rest, there, visit)?,
            // Not an array: the types say so better.
            _ => {}
        }
    }
    Ok(())
}

fn matches(pattern: &str, key: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == key, |start| key.starts_with(start))
}

#[cfg(test)]
mod tests {
    use crate::spec::tests::{accepted, parse_change, refused};
    use serde_json::json;

    #[test]
    fn required_members() {
        refused([
            (json!({"ociVersion": null}), "ociVersion: required"),
            (json!({"root": null}), "root: required"),
            (json!({"root": {"path": null}}), "root.path: required"),
            (json!({"process": {"cwd": null}}), "process.cwd: required"),
            (
                json!({"process": {"rlimits": [{"type": "RLIMIT_CORE", "soft": 1}]}}),
                "process.rlimits[0].hard: required",
            ),
            (json!({"process": {"consoleSize": {"width": 1}}}), "consoleSize.height: required"),
            (json!({"mounts": [{"type": "tmpfs"}]}), "mounts[0].destination: required"),
            (json!({"hooks": {"poststop": [{"args": ["a"]}]}}), "hooks.poststop[0].path: required"),
            (json!({"linux": {"namespaces": [{}]}}), "linux.namespaces[0].type: required"),
            (
                json!({"linux": {"uidMappings": [{"containerID": 0, "hostID": 1}]}}),
                "linux.uidMappings[0].size: required",
            ),
            (
                json!({"linux": {"devices": [{"path": "/dev/x", "type": "c", "major": 1}]}}),
                "linux.devices[0].minor: required",
            ),
            (
                json!({"linux": {"resources": {"devices": [{"access": "r"}]}}}),
                "linux.resources.devices[0].allow: required",
            ),
            (
                json!({"linux": {"resources": {"blockIO": {
                    "throttleReadBpsDevice": [{"major": 1, "minor": 2}]}}}}),
                "linux.resources.blockIO.throttleReadBpsDevice[0].rate: required",
            ),
        ]);
        accepted([
            json!({"process": null}),
            json!({"linux": null}),
            json!({"linux": {"devices": [{"path": "/dev/x", "type": "p"}]}}),
            json!({"linux": {"resources": {"pids": {}}}}),
        ]);
    }

    #[test]
    fn ids_that_are_missing_are_those_of_root() {
        for (user, want) in [
            (json!(null), (0, 0)),
            (json!({"uid": null, "gid": 7}), (0, 7)),
            (json!({"uid": 7, "gid": null}), (7, 0)),
        ] {
            let (spec, _) = parse_change(json!({"process": {"user": user}})).unwrap();
            let user = spec.process().as_ref().unwrap().user().clone();
            assert_eq!((user.uid(), user.gid()), want);
        }
    }

    #[test]
    fn unknown_capabilities_warn() {
        let change = json!({"process": {"capabilities": {
            "bounding": ["CAP_CHOWN", "CAP_NOSUCH", "chown"], "ambient": []}}});
        let (spec, warnings) = parse_change(change).unwrap();
        let process = spec.process().as_ref().unwrap();
        let bounding = process.capabilities().as_ref().unwrap().bounding().as_ref().unwrap();
        assert_eq!(bounding.len(), 1);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].starts_with("process.capabilities.bounding: \"CAP_NOSUCH\""));
    }
}
