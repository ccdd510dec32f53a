//! Comparing what a program sees under two runtimes.

use serde_json::Value;

/// What differs from runc on purpose: `docs/conformance.md` says why.
const KNOWN: [&str; 4] = [
    // Signals that the runtime's caller ignored.
    "/status/SigIgn",
    // The directory that holds the hierarchies of cgroup v1 is as read-only as they are.
    " /sys/fs/cgroup r",
    // The name of the source of one hierarchy, in a cgroup namespace.
    " /sys/fs/cgroup/systemd r",
    // Its group is mapped in a user namespace.
    "\"/dev/mqueue ",
];

/// What one report has and the other has not, line by line: those of ours first.
pub fn differences(ours: &Value, theirs: &Value) -> [Vec<String>; 2] {
    let (ours, theirs) = (lines("", ours), lines("", theirs));
    let only = |of: &[String], other: &[String]| {
        let is_known = |line: &String| KNOWN.iter().any(|known| line.contains(known));
        of.iter().filter(|line| !other.contains(line) && !is_known(line)).cloned().collect()
    };
    [only(&ours, &theirs), only(&theirs, &ours)]
}

fn lines(name: &str, value: &Value) -> Vec<String> {
    match value {
        Value::Object(members) => {
            members.iter().flat_map(|(key, value)| lines(&format!("{name}/{key}"), value)).collect()
        }
        Value::Array(items) => items.iter().flat_map(|value| lines(name, value)).collect(),
        other => vec![without_groups(&format!("{name} {other}"))],
    }
}

/// Of peer groups of mounts only the kind counts: which numbers are free depends on who else mounts
/// something at the same time.
pub fn without_groups(line: &str) -> String {
    let kind = |word: &str| match word.split_once(':') {
        Some((kind @ ("shared" | "master" | "propagate_from"), number))
            if number.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            kind.to_string()
        }
        _ => word.to_string(),
    };
    line.split(' ').map(kind).collect::<Vec<_>>().join(" ")
}
