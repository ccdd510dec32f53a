//! Rules about values, one function per object of the document. None of them asks the kernel.

use std::collections::HashSet;
use std::hash::Hash;
use std::path::Path;

use anyhow::{Result, bail, ensure};
use oci_spec::runtime::{
    Hook, Hooks, Linux, LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, LinuxIdMapping,
    LinuxNamespace, LinuxNamespaceType, Mount, Spec,
};

/// The longest host name and domain name: `__NEW_UTS_LEN` of the kernel.
const UTS_LENGTH: usize = 64;

/// Values of `rootfsPropagation`; those with `r` are runc's (BXM-03).
const PROPAGATION: [&str; 9] = [
    "",
    "shared",
    "slave",
    "private",
    "unbindable",
    "rshared",
    "rslave",
    "rprivate",
    "runbindable",
];

/// Checks a whole document.
pub(super) fn check(spec: &Spec) -> Result<()> {
    version(spec.version())?;
    for key in spec.annotations().iter().flat_map(|map| map.keys()) {
        ensure!(!key.is_empty(), "annotations: a key is empty");
    }
    if let Some(root) = spec.root() {
        ensure!(!root.path().as_os_str().is_empty(), "root.path: empty");
        no_nul("root.path", &root.path().to_string_lossy())?;
    }
    if let Some(process) = spec.process() {
        super::process::check(process)?;
    }
    each("mounts", spec.mounts(), mount)?;
    if let Some(hooks) = spec.hooks() {
        self::hooks(hooks)?;
    }
    if let Some(linux) = spec.linux() {
        self::linux(linux)?;
        if let Some(seccomp) = linux.seccomp() {
            super::seccomp::check(spec, seccomp)?;
        }
    }
    needs_namespaces(spec)
}

/// Applies `rule` to every element of the array at `path`.
pub(super) fn each<T>(
    path: &str,
    list: &Option<Vec<T>>,
    rule: impl Fn(&str, &T) -> Result<()>,
) -> Result<()> {
    for (index, item) in list.iter().flatten().enumerate() {
        rule(&format!("{path}[{index}]"), item)?;
    }
    Ok(())
}

/// A string for the kernel ends at its first NUL: the rest would be lost silently (BXM-35).
pub(super) fn no_nul(path: &str, value: &str) -> Result<()> {
    ensure!(!value.contains('\0'), "{path}: {value:?} contains a NUL byte");
    Ok(())
}

pub(super) fn absolute(path: &str, value: &Path) -> Result<()> {
    ensure!(value.is_absolute(), "{path}: {value:?} is not an absolute path");
    no_nul(path, &value.to_string_lossy())
}

/// Returns the first key that was there before, with its index.
pub(super) fn repeated<T: Clone + Eq + Hash>(keys: impl Iterator<Item = T>) -> Option<(usize, T)> {
    let mut seen = HashSet::new();
    keys.enumerate().find(|(_, key)| !seen.insert(key.clone()))
}

/// Semantic Versioning 2.0.0, and a major version whose rules we know (VER-01, AMB-01).
fn version(text: &str) -> Result<()> {
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<_> = core.split('.').collect();
    let number = |part: &&str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && (part.len() == 1 || !part.starts_with('0'))
    };
    let suffix = text.get(core.len()..).unwrap_or_default();
    let suffix_ok = suffix.split(['-', '+', '.']).skip(1).all(|part| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    }) || suffix.contains("--");
    if parts.len() != 3 || !parts.iter().all(number) || !suffix_ok {
        bail!("ociVersion: {text:?} is not a version as in 1.3.0");
    }
    ensure!(parts.first() == Some(&"1"), "ociVersion: {text:?} is not supported, only 1.x.y is");
    Ok(())
}

fn mount(path: &str, mount: &Mount) -> Result<()> {
    let destination = mount.destination();
    ensure!(!destination.as_os_str().is_empty(), "{path}.destination: empty");
    no_nul(&format!("{path}.destination"), &destination.to_string_lossy())?;
    if let Some(source) = mount.source() {
        no_nul(&format!("{path}.source"), &source.to_string_lossy())?;
    }
    if let Some(kind) = mount.typ() {
        no_nul(&format!("{path}.type"), kind)?;
    }
    each(&format!("{path}.options"), mount.options(), |path, option| no_nul(path, option))?;
    let (uids, gids) = (mount.uid_mappings().is_some(), mount.gid_mappings().is_some());
    ensure!(uids == gids, "{path}: uidMappings and gidMappings need each other");
    ranges(&format!("{path}.uidMappings"), mount.uid_mappings())?;
    ranges(&format!("{path}.gidMappings"), mount.gid_mappings())
}

fn hooks(hooks: &Hooks) -> Result<()> {
    each("hooks.prestart", hooks.prestart(), hook)?;
    each("hooks.createRuntime", hooks.create_runtime(), hook)?;
    each("hooks.createContainer", hooks.create_container(), hook)?;
    each("hooks.startContainer", hooks.start_container(), hook)?;
    each("hooks.poststart", hooks.poststart(), hook)?;
    each("hooks.poststop", hooks.poststop(), hook)
}

fn hook(path: &str, hook: &Hook) -> Result<()> {
    absolute(&format!("{path}.path"), hook.path())?;
    each(&format!("{path}.args"), hook.args(), |path, arg| no_nul(path, arg))?;
    each(&format!("{path}.env"), hook.env(), |path, entry| {
        no_nul(path, entry)?;
        ensure!(entry.contains('='), "{path}: {entry:?} has no \"=\"");
        Ok(())
    })?;
    if let Some(timeout) = hook.timeout() {
        ensure!(timeout > 0, "{path}.timeout: {timeout} is not above 0");
    }
    Ok(())
}

fn linux(linux: &Linux) -> Result<()> {
    namespaces(linux.namespaces().as_deref().unwrap_or_default())?;
    mappings(linux)?;
    time_offsets(linux)?;
    net_devices(linux)?;
    if let Some(policy) = linux.memory_policy() {
        super::memory_policy::check(policy)?;
    }
    each("linux.devices", linux.devices(), device)?;
    if let Some(resources) = linux.resources() {
        super::resources::check(resources)?;
    }
    if let Some(rdt) = linux.intel_rdt() {
        super::rdt::check(rdt)?;
    }
    for (name, paths) in restricted_paths(linux) {
        let path = format!("linux.{name}");
        each(&path, paths, |path, value| absolute(path, Path::new(value)))?;
    }
    if let Some(word) = linux.rootfs_propagation() {
        let known = PROPAGATION.contains(&word.as_str());
        ensure!(known, "linux.rootfsPropagation: {word:?} is none of {:?}", &PROPAGATION[1..]);
    }
    if let Some(path) = linux.cgroups_path() {
        no_nul("linux.cgroupsPath", &path.to_string_lossy())?;
    }
    Ok(())
}

type Paths = Option<Vec<String>>;

fn restricted_paths(linux: &Linux) -> [(&'static str, &Paths); 2] {
    [("maskedPaths", linux.masked_paths()), ("readonlyPaths", linux.readonly_paths())]
}

fn namespaces(list: &[LinuxNamespace]) -> Result<()> {
    if let Some((index, kind)) = repeated(list.iter().map(LinuxNamespace::typ)) {
        bail!("linux.namespaces[{index}].type: {kind} is listed twice");
    }
    for (index, namespace) in list.iter().enumerate() {
        // An empty path is what Go leaves out.
        let path = namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty());
        if let Some(path) = path {
            absolute(&format!("linux.namespaces[{index}].path"), path)?;
        }
    }
    Ok(())
}

/// Returns whether the document lists the namespace, and whether it is to be joined by path.
fn listed(linux: &Linux, kind: LinuxNamespaceType) -> Option<bool> {
    let list = linux.namespaces().as_deref().unwrap_or_default();
    let namespace = list.iter().find(|namespace| namespace.typ() == kind)?;
    Some(namespace.path().as_ref().is_some_and(|path| !path.as_os_str().is_empty()))
}

fn mappings(linux: &Linux) -> Result<()> {
    let lists = [("uidMappings", linux.uid_mappings()), ("gidMappings", linux.gid_mappings())];
    let given = |list: &Option<Vec<_>>| list.as_ref().is_some_and(|list| !list.is_empty());
    match listed(linux, LinuxNamespaceType::User) {
        None => {
            let stray = lists.iter().find(|(_, list)| given(list));
            if let Some((name, _)) = stray {
                bail!("linux.{name}: mappings need a user namespace in linux.namespaces");
            }
        }
        Some(false) => {
            let missing = lists.iter().find(|(_, list)| !given(list));
            if let Some((name, _)) = missing {
                bail!("linux.{name}: a new user namespace needs mappings");
            }
        }
        Some(true) => {}
    }
    lists.into_iter().try_for_each(|(name, list)| ranges(&format!("linux.{name}"), list))
}

/// The kernel takes 340 of them: user_namespaces(7).
fn ranges(path: &str, list: &Option<Vec<LinuxIdMapping>>) -> Result<()> {
    let count = list.iter().flatten().count();
    ensure!(count <= 340, "{path}: {count} ranges, where the kernel takes no more than 340");
    each(path, list, |path, map| {
        ensure!(map.size() > 0, "{path}.size: 0 ids");
        let last = |first: u32| first.checked_add(map.size() - 1);
        let fits = last(map.host_id()).is_some() && last(map.container_id()).is_some();
        ensure!(fits, "{path}: the range goes beyond the largest id");
        Ok(())
    })
}

fn time_offsets(linux: &Linux) -> Result<()> {
    let offsets = linux.time_offsets().as_ref().filter(|offsets| !offsets.is_empty());
    let Some(offsets) = offsets else { return Ok(()) };
    match listed(linux, LinuxNamespaceType::Time) {
        None => bail!("linux.timeOffsets: offsets need a time namespace in linux.namespaces"),
        Some(true) => bail!("linux.timeOffsets: a joined time namespace keeps its offsets"),
        Some(false) => {}
    }
    for (clock, offset) in offsets {
        let known = matches!(clock.as_str(), "monotonic" | "boottime");
        ensure!(known, "linux.timeOffsets: {clock:?} is neither \"monotonic\" nor \"boottime\"");
        let nanos = offset.nanosecs().unwrap_or(0);
        ensure!(nanos < 1_000_000_000, "linux.timeOffsets.{clock}.nanosecs: {nanos} is a second");
    }
    Ok(())
}

/// Interfaces need a network namespace that is not the host's, and names that the kernel takes
/// (`dev_valid_name`).
fn net_devices(linux: &Linux) -> Result<()> {
    let devices = linux.net_devices().iter().flatten();
    for (name, device) in devices {
        let path = format!("linux.netDevices.{name}");
        ensure!(
            listed(linux, LinuxNamespaceType::Network).is_some(),
            "{path}: unable to move network devices without a private NET namespace"
        );
        interface_name(&path, name)?;
        if let Some(inside) = device.name().as_ref().filter(|inside| !inside.is_empty()) {
            interface_name(&format!("{path}.name"), inside)?;
        }
    }
    Ok(())
}

fn interface_name(path: &str, name: &str) -> Result<()> {
    let odd = |c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace();
    let fits = !name.is_empty() && name.len() < libc::IFNAMSIZ;
    let plain = fits && !matches!(name, "." | "..") && !name.contains(odd);
    ensure!(plain, "{path}: {name:?} is not the name of an interface");
    Ok(())
}

fn device(path: &str, device: &LinuxDevice) -> Result<()> {
    absolute(&format!("{path}.path"), device.path())?;
    ensure!(device.typ() != LinuxDeviceType::A, "{path}.type: \"a\" is no type of a device node");
    if device.typ() == LinuxDeviceType::P {
        return Ok(());
    }
    // The kernel's device numbers have 12 and 20 bits.
    for (name, number, bits) in [("major", device.major(), 12), ("minor", device.minor(), 20)] {
        let allowed = 0..1_i64 << bits;
        ensure!(allowed.contains(&number), "{path}.{name}: {number} is not in 0..{}", 1 << bits);
    }
    Ok(())
}

pub(super) fn device_rule(path: &str, rule: &LinuxDeviceCgroup) -> Result<()> {
    use LinuxDeviceType::{A, B, C};
    if let Some(kind) = rule.typ() {
        let known = matches!(kind, A | B | C);
        ensure!(known, "{path}.type: {:?} is none of a, b, c", kind.as_str());
    }
    if let Some(access) = rule.access().as_ref().filter(|access| !access.is_empty()) {
        // An `a` beside the others says nothing to runc either.
        let known = access.chars().all(|letter| "rwma".contains(letter)) && access != "a";
        ensure!(known, "{path}.access: {access:?} has other letters than r, w, m");
    }
    for (name, number) in [("major", rule.major()), ("minor", rule.minor())] {
        // Podman and Kubernetes write -1 for «all».
        let allowed = -1..=i64::from(u32::MAX);
        let number = number.unwrap_or(-1);
        ensure!(allowed.contains(&number), "{path}.{name}: {number} is no device number");
    }
    Ok(())
}

/// What needs a namespace of the container's own, or would change the host.
fn needs_namespaces(spec: &Spec) -> Result<()> {
    let has = |kind| spec.linux().as_ref().is_some_and(|linux| listed(linux, kind).is_some());
    let uts = has(LinuxNamespaceType::Uts);
    for (name, value) in [("hostname", spec.hostname()), ("domainname", spec.domainname())] {
        let Some(value) = value.as_ref().filter(|value| !value.is_empty()) else { continue };
        no_nul(name, value)?;
        ensure!(uts, "{name}: unable to set {name} without a private UTS namespace");
        let fits = value.len() <= UTS_LENGTH;
        ensure!(fits, "{name}: {value:?} is longer than {UTS_LENGTH} bytes");
    }
    let mount = has(LinuxNamespaceType::Mount);
    for (name, paths) in spec.linux().iter().flat_map(restricted_paths) {
        let asked = paths.as_ref().is_some_and(|paths| !paths.is_empty());
        ensure!(
            mount || !asked,
            "linux.{name}: unable to restrict sys entries without a private MNT namespace"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tests::{accepted, refused};
    use serde_json::json;

    #[test]
    fn versions() {
        for text in ["1.0.0", "1.0.2-dev", "1.3.0+dev", "1.1.0-rc.2", "1.99.7", "1.0.0-a--b"] {
            assert!(version(text).is_ok(), "{text}");
        }
        for text in ["", "1", "1.0", "banana", "2.0.0", "0.9.0", "1.0.0.0", "01.0.0", "1.0.0-"] {
            assert!(version(text).is_err(), "{text}");
        }
    }

    #[test]
    fn namespaces_and_what_needs_them() {
        let linux = |change| json!({"linux": change});
        let map = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
        let user = json!([{"type": "user"}]);
        let time = json!([{"type": "time"}]);
        refused([
            (linux(json!({"namespaces": [{"type": "pid"}, {"type": "pid"}]})), "[1].type: pid"),
            (
                linux(json!({"namespaces": [{"type": "pid", "path": "ns"}]})),
                "linux.namespaces[0].path: \"ns\" is not an absolute path",
            ),
            (linux(json!({"uidMappings": map})), "linux.uidMappings: mappings need a user"),
            (linux(json!({"namespaces": user})), "linux.uidMappings: a new user namespace needs"),
            (
                linux(json!({"namespaces": user, "uidMappings": map})),
                "linux.gidMappings: a new user namespace needs",
            ),
            (
                linux(json!({"namespaces": user, "gidMappings": map, "uidMappings":
                    [{"containerID": 0, "hostID": 4_294_967_295_u32, "size": 2}]})),
                "linux.uidMappings[0]: the range goes beyond",
            ),
            (
                linux(json!({"netDevices": {"eth0": {}}})),
                "linux.netDevices.eth0: unable to move network devices without a private NET",
            ),
            (linux(json!({"timeOffsets": {"boottime": {"secs": 1}}})), "linux.timeOffsets: "),
            (
                linux(json!({"namespaces": time, "timeOffsets": {"realtime": {}}})),
                "\"realtime\" is neither",
            ),
            (
                linux(json!({"namespaces": time,
                    "timeOffsets": {"boottime": {"nanosecs": 1_000_000_000}}})),
                "linux.timeOffsets.boottime.nanosecs: ",
            ),
            (
                json!({"hostname": "x", "linux": {"namespaces": []}}),
                "unable to set hostname without a private UTS namespace",
            ),
            (
                linux(json!({"namespaces": [], "maskedPaths": ["/proc/x"]})),
                "unable to restrict sys entries without a private MNT namespace",
            ),
            (json!({"hostname": "x".repeat(65)}), "longer than 64 bytes"),
        ]);
        accepted([
            linux(json!({"namespaces": user, "uidMappings": map, "gidMappings": map})),
            linux(json!({"namespaces": [{"type": "user", "path": "/proc/1/ns/user"}]})),
            linux(json!({"namespaces": [], "maskedPaths": [], "readonlyPaths": []})),
            json!({"hostname": "", "linux": {"namespaces": []}}),
        ]);
    }

    #[test]
    fn mounts_devices_and_rules() {
        let linux = |change| json!({"linux": change});
        let rule = |rule| json!({"linux": {"resources": {"devices": [rule]}}});
        refused([
            (json!({"mounts": [{"destination": ""}]}), "mounts[0].destination: empty"),
            (json!({"mounts": [{"destination": "/a\0"}]}), "mounts[0].destination: "),
            (
                json!({"mounts": [{"destination": "/a", "uidMappings": []}]}),
                "mounts[0]: uidMappings and gidMappings need each other",
            ),
            (
                linux(json!({"devices": [{"path": "x", "type": "c", "major": 1, "minor": 1}]})),
                "linux.devices[0].path: ",
            ),
            (
                linux(json!({"devices": [{"path": "/x", "type": "a", "major": 1, "minor": 1}]})),
                "linux.devices[0].type: ",
            ),
            (
                linux(json!({"devices": [{"path": "/x", "type": "b", "major": 4096, "minor": 1}]})),
                "linux.devices[0].major: 4096",
            ),
            (rule(json!({"allow": true, "access": "rx"})), "devices[0].access: \"rx\""),
            (rule(json!({"allow": true, "type": "p"})), "devices[0].type: \"p\""),
            (rule(json!({"allow": true, "major": -2})), "devices[0].major: -2"),
            (linux(json!({"rootfsPropagation": "foo"})), "linux.rootfsPropagation: \"foo\""),
            (linux(json!({"maskedPaths": ["proc"]})), "linux.maskedPaths[0]: "),
            (json!({"annotations": {"": "x"}}), "annotations: a key is empty"),
        ]);
        accepted([
            rule(json!({"allow": false, "access": "rwm"})),
            rule(json!({"allow": true, "type": "c", "major": 1, "minor": -1, "access": "m"})),
            json!({"annotations": {"a": ""}}),
        ]);
    }

    #[test]
    fn hooks_are_absolute_and_end() {
        let hook = |hook| json!({"hooks": {"createRuntime": [hook]}});
        refused([
            (hook(json!({"path": "x"})), "hooks.createRuntime[0].path: "),
            (hook(json!({"path": "/x", "timeout": 0})), "hooks.createRuntime[0].timeout: 0"),
            (hook(json!({"path": "/x", "timeout": -1})), "hooks.createRuntime[0].timeout: -1"),
        ]);
        accepted([hook(json!({"path": "/x", "args": [], "env": [], "timeout": 1}))]);
    }
}
