//! Rules about `linux.seccomp`: what can be said without knowing a single system call's number.

use anyhow::{Result, bail, ensure};
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSyscall, Spec,
};

/// The highest error number that the kernel returns for a filter: its `MAX_ERRNO`.
const MAX_ERRNO: u32 = 4095;

/// crun's name for `listenerPath`, as an annotation.
pub const RECEIVER: &str = "run.oci.seccomp.receiver";

/// The socket to which the listener goes: `listenerPath`, or else crun's annotation.
#[must_use]
pub fn listener_path(spec: &Spec) -> Option<(&'static str, String)> {
    let seccomp = spec.linux().as_ref()?.seccomp().as_ref()?;
    let member = seccomp.listener_path().as_ref().map(|path| path.to_string_lossy().into_owned());
    let annotation = spec.annotations().as_ref().and_then(|all| all.get(RECEIVER).cloned());
    let named = [("linux.seccomp.listenerPath", member), ("annotations", annotation)];
    named.into_iter().find_map(|(name, path)| Some((name, path.filter(|path| !path.is_empty())?)))
}

/// Checks a profile.
pub(super) fn check(spec: &Spec, seccomp: &LinuxSeccomp) -> Result<()> {
    errno("linux.seccomp.defaultErrnoRet", seccomp.default_action(), seccomp.default_errno_ret())?;
    ensure!(
        seccomp.default_action() != Action::ScmpActNotify,
        "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be used as default action: nobody \
        could hand the listener over"
    );
    let mut notifies = false;
    for (index, rule) in seccomp.syscalls().iter().flatten().enumerate() {
        self::rule(&format!("linux.seccomp.syscalls[{index}]"), rule)?;
        notifies |= rule.action() == Action::ScmpActNotify;
    }
    listener(spec, seccomp, notifies)
}

fn rule(path: &str, rule: &LinuxSyscall) -> Result<()> {
    ensure!(!rule.names().is_empty(), "{path}.names: empty");
    for (index, name) in rule.names().iter().enumerate() {
        ensure!(!name.is_empty(), "{path}.names[{index}]: empty");
        // The container's init writes the number of the listener to the runtime, and nobody
        // could answer before that.
        ensure!(
            rule.action() != Action::ScmpActNotify || name != "write",
            "{path}.names[{index}]: SCMP_ACT_NOTIFY cannot be used for the write syscall"
        );
    }
    errno(&format!("{path}.errnoRet"), rule.action(), rule.errno_ret())?;
    for (index, arg) in rule.args().iter().flatten().enumerate() {
        argument(&format!("{path}.args[{index}]"), arg)?;
    }
    Ok(())
}

fn argument(path: &str, arg: &LinuxSeccompArg) -> Result<()> {
    ensure!(arg.index() <= 5, "{path}.index: {} is above 5", arg.index());
    Ok(())
}

/// An error number goes with an action that has one (SEC-04, SEC-12).
fn errno(path: &str, action: Action, value: Option<u32>) -> Result<()> {
    let Some(value) = value else { return Ok(()) };
    let has_one = matches!(action, Action::ScmpActErrno | Action::ScmpActTrace);
    ensure!(has_one, "{path}: {action} has no error number");
    ensure!(value <= MAX_ERRNO, "{path}: {value} is above {MAX_ERRNO}");
    Ok(())
}

fn listener(spec: &Spec, seccomp: &LinuxSeccomp, notifies: bool) -> Result<()> {
    let path = listener_path(spec);
    let metadata = seccomp.listener_metadata().as_ref().filter(|text| !text.is_empty());
    match &path {
        None if notifies => {
            bail!("linux.seccomp.listenerPath: required, since a rule has SCMP_ACT_NOTIFY")
        }
        None if metadata.is_some() => {
            bail!("linux.seccomp.listenerMetadata: needs a listenerPath")
        }
        Some((name, path)) if notifies => {
            ensure!(path.starts_with('/'), "{name}: {path:?} is not an absolute path");
            super::check::no_nul(name, path)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::spec::tests::{accepted, refused};
    use serde_json::{Value, json};

    fn seccomp(change: Value) -> Value {
        let mut seccomp = json!({"defaultAction": "SCMP_ACT_ERRNO"});
        seccomp.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({"linux": {"seccomp": seccomp}})
    }

    fn rule(change: Value) -> Value {
        let mut rule = json!({"names": ["read"], "action": "SCMP_ACT_ALLOW"});
        rule.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        seccomp(json!({"syscalls": [{"names": ["close"], "action": "SCMP_ACT_ALLOW"}, rule]}))
    }

    fn arg(arg: Value) -> Value {
        rule(json!({"args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}, arg]}))
    }

    #[test]
    fn unknown_words_are_named_by_path() {
        refused([
            (json!({"linux": {"seccomp": {}}}), "linux.seccomp.defaultAction: required"),
            (
                seccomp(json!({"defaultAction": "SCMP_ACT_FOO"})),
                "linux.seccomp.defaultAction: unknown variant `SCMP_ACT_FOO`",
            ),
            (
                seccomp(json!({"architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_VAX"]})),
                "linux.seccomp.architectures[1]: unknown variant `SCMP_ARCH_VAX`",
            ),
            (
                seccomp(json!({"flags": ["SECCOMP_FILTER_FLAG_FOO"]})),
                "linux.seccomp.flags[0]: unknown variant",
            ),
            (rule(json!({"action": "ALLOW"})), "linux.seccomp.syscalls[1].action: unknown variant"),
            (rule(json!({"action": null})), "linux.seccomp.syscalls[1].action: required"),
            (rule(json!({"names": null})), "linux.seccomp.syscalls[1].names: required"),
            (
                arg(json!({"index": 1, "value": 1, "op": "EQ"})),
                "linux.seccomp.syscalls[1].args[1].op: unknown variant",
            ),
            (arg(json!({"index": 1, "value": 1})), "syscalls[1].args[1].op: required"),
            (
                arg(json!({"index": 1, "value": -1, "op": "SCMP_CMP_EQ"})),
                "linux.seccomp.syscalls[1].args[1].value: ",
            ),
        ]);
    }

    #[test]
    fn values_are_checked() {
        refused([
            (
                arg(json!({"index": 6, "value": 1, "op": "SCMP_CMP_EQ"})),
                "linux.seccomp.syscalls[1].args[1].index: 6 is above 5",
            ),
            (rule(json!({"names": []})), "linux.seccomp.syscalls[1].names: empty"),
            (rule(json!({"names": ["a", ""]})), "linux.seccomp.syscalls[1].names[1]: empty"),
            (
                rule(json!({"errnoRet": 1})),
                "linux.seccomp.syscalls[1].errnoRet: SCMP_ACT_ALLOW has no error number",
            ),
            (
                rule(json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 4096})),
                "linux.seccomp.syscalls[1].errnoRet: 4096 is above 4095",
            ),
            (
                seccomp(json!({"defaultErrnoRet": 5000})),
                "linux.seccomp.defaultErrnoRet: 5000 is above 4095",
            ),
            (
                seccomp(json!({"defaultAction": "SCMP_ACT_KILL", "defaultErrnoRet": 1})),
                "linux.seccomp.defaultErrnoRet: SCMP_ACT_KILL has no error number",
            ),
        ]);
        accepted([
            seccomp(json!({"defaultErrnoRet": 4095, "syscalls": [], "architectures": []})),
            rule(json!({"action": "SCMP_ACT_TRACE", "errnoRet": 0})),
            rule(json!({"action": "SCMP_ACT_KILL_THREAD", "args": null})),
            rule(json!({"action": "SCMP_ACT_ERRNO"})),
            seccomp(json!({"architectures": ["SCMP_ARCH_SHEB", "SCMP_ARCH_PARISC64"]})),
        ]);
    }

    #[test]
    fn a_listener_is_needed_only_for_notifications() {
        let notify = |change| {
            let mut document = rule(json!({"action": "SCMP_ACT_NOTIFY"}));
            let seccomp = document["linux"]["seccomp"].as_object_mut().unwrap();
            let change: &Value = &change;
            seccomp.extend(change.as_object().unwrap().clone());
            document
        };
        refused([
            (notify(json!({})), "linux.seccomp.listenerPath: required"),
            (notify(json!({"listenerPath": ""})), "linux.seccomp.listenerPath: required"),
            (notify(json!({"listenerPath": "a"})), "listenerPath: \"a\" is not an absolute path"),
            (
                seccomp(json!({"listenerMetadata": "x"})),
                "linux.seccomp.listenerMetadata: needs a listenerPath",
            ),
            (
                seccomp(json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/a"})),
                "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be used as default action",
            ),
            (
                rule(json!({"names": ["write"], "action": "SCMP_ACT_NOTIFY"})),
                "SCMP_ACT_NOTIFY cannot be used for the write syscall",
            ),
        ]);
        let mut annotated = notify(json!({}));
        annotated["annotations"] = json!({"run.oci.seccomp.receiver": "/run/agent"});
        accepted([
            notify(json!({"listenerPath": "/nonexistent", "listenerMetadata": "x"})),
            seccomp(json!({"listenerPath": "relative", "listenerMetadata": ""})),
            annotated,
        ]);
    }
}
