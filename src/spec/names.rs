//! Names of members, which may be written in any case.
//!
//! So reads the JSON package of Go, and with it runc: a document that says `readOnly` gets a
//! read-only root there. To pass over such a member would take a restriction away in silence.

use serde_json::Value;

/// The members of the document, sorted.
const MEMBERS: [&str; 152] = [
    "access",
    "action",
    "additionalGids",
    "allow",
    "ambient",
    "annotations",
    "apparmorProfile",
    "architectures",
    "args",
    "blockIO",
    "bounding",
    "burst",
    "capabilities",
    "cgroupsPath",
    "checkBeforeUpdate",
    "class",
    "classID",
    "closID",
    "consoleSize",
    "containerID",
    "cpu",
    "cpus",
    "createContainer",
    "createRuntime",
    "cwd",
    "deadline",
    "defaultAction",
    "defaultErrnoRet",
    "destination",
    "devices",
    "disableOOMKiller",
    "domain",
    "domainname",
    "effective",
    "enableMonitoring",
    "env",
    "errnoRet",
    "execCPUAffinity",
    "fileMode",
    "final",
    "flags",
    "freebsd",
    "gid",
    "gidMappings",
    "hard",
    "hcaHandles",
    "hcaObjects",
    "height",
    "hooks",
    "hostID",
    "hostname",
    "hugepageLimits",
    "idle",
    "index",
    "inheritable",
    "initial",
    "intelRdt",
    "ioPriority",
    "kernel",
    "kernelTCP",
    "l3CacheSchema",
    "leafWeight",
    "limit",
    "linux",
    "listenerMetadata",
    "listenerPath",
    "major",
    "maskedPaths",
    "memBwSchema",
    "memory",
    "memoryPolicy",
    "mems",
    "minor",
    "mode",
    "mountLabel",
    "mounts",
    "name",
    "names",
    "namespaces",
    "nanosecs",
    "netDevices",
    "network",
    "nice",
    "noNewPrivileges",
    "nodes",
    "ociVersion",
    "oomScoreAdj",
    "op",
    "options",
    "pageSize",
    "path",
    "period",
    "permitted",
    "personality",
    "pids",
    "policy",
    "poststart",
    "poststop",
    "prestart",
    "priorities",
    "priority",
    "process",
    "quota",
    "rate",
    "rdma",
    "readonly",
    "readonlyPaths",
    "realtimePeriod",
    "realtimeRuntime",
    "reservation",
    "resources",
    "rlimits",
    "root",
    "rootfsPropagation",
    "runtime",
    "scheduler",
    "schemata",
    "seccomp",
    "secs",
    "selinuxLabel",
    "shares",
    "size",
    "soft",
    "solaris",
    "source",
    "startContainer",
    "swap",
    "swappiness",
    "syscalls",
    "sysctl",
    "terminal",
    "throttleReadBpsDevice",
    "throttleReadIOPSDevice",
    "throttleWriteBpsDevice",
    "throttleWriteIOPSDevice",
    "timeOffsets",
    "timeout",
    "type",
    "uid",
    "uidMappings",
    "umask",
    "unified",
    "useHierarchy",
    "user",
    "value",
    "valueTwo",
    "vm",
    "weight",
    "weightDevice",
    "width",
    "windows",
    "zos",
];

/// Members whose own members have names of the author's choice.
const FREE: [&str; 5] = ["annotations", "netDevices", "rdma", "sysctl", "unified"];

/// Gives members their proper names. Objects of which one has the proper name become one; else the
/// one that has it wins.
pub(super) fn correct(tree: &mut Value) {
    match tree {
        Value::Array(elements) => elements.iter_mut().for_each(correct),
        Value::Object(members) => {
            let wrong: Vec<_> = members.keys().filter_map(|name| proper(name)).collect();
            for (name, known) in wrong {
                match (members.remove(&name), members.get_mut(known)) {
                    (Some(Value::Object(others)), Some(Value::Object(own))) => {
                        others.into_iter().for_each(|(name, value)| {
                            own.entry(name).or_insert(value);
                        });
                    }
                    (Some(value), None) => drop(members.insert(known.to_string(), value)),
                    _ => {}
                }
            }
            for (name, value) in members {
                match value {
                    Value::Object(chosen) if FREE.contains(&name.as_str()) => {
                        chosen.values_mut().for_each(correct);
                    }
                    _ => correct(value),
                }
            }
        }
        _ => {}
    }
}

/// The name as it was written and as it should be, if they differ.
fn proper(name: &str) -> Option<(String, &'static str)> {
    if MEMBERS.binary_search(&name).is_ok() {
        return None;
    }
    let known = MEMBERS.iter().find(|known| known.eq_ignore_ascii_case(name))?;
    Some((name.to_string(), known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn any_case_will_do() {
        assert!(MEMBERS.is_sorted());
        for (tree, want) in [
            (json!({"ROOT": {"readOnly": true}}), json!({"root": {"readonly": true}})),
            (json!([{"pagesize": "2MB"}]), json!([{"pageSize": "2MB"}])),
            (json!({"path": "a", "Path": "b"}), json!({"path": "a"})),
            (
                json!({"CPU": {"Cpus": "0", "shares": 2}, "cpu": {"shares": 1}}),
                json!({"cpu": {"cpus": "0", "shares": 1}}),
            ),
            (json!({"unknown": {"Path": 1}}), json!({"unknown": {"path": 1}})),
            (json!({"annotations": {"Path": "x"}}), json!({"annotations": {"Path": "x"}})),
            (json!({"Sysctl": {"UID": "x"}}), json!({"sysctl": {"UID": "x"}})),
            (
                json!({"rdma": {"Mode": {"HCAHandles": 1}}}),
                json!({"rdma": {"Mode": {"hcaHandles": 1}}}),
            ),
        ] {
            let mut tree = tree;
            correct(&mut tree);
            assert_eq!(tree, want);
        }
    }
}
