//! Rules about `linux.memoryPolicy`, in runc's words.

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::{
    LinuxMemoryPolicy, MemoryPolicyFlagType as Flag, MemoryPolicyModeType as Mode,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::numbers::mask;

/// Checks the names of the mode and of the flags, before types are made of them.
///
/// # Errors
/// When the mode is missing, or one of them is unknown.
pub(super) fn words(tree: &Value) -> Result<()> {
    let Some(policy) = tree.pointer("/linux/memoryPolicy").filter(|policy| policy.is_object())
    else {
        return Ok(());
    };
    let path = "linux.memoryPolicy";
    let mode = policy.get("mode").cloned().unwrap_or_else(|| "".into());
    ensure!(is::<Mode>(&mode), "{path}.mode: invalid memory policy mode {mode}: not known");
    let flags = policy.get("flags").and_then(Value::as_array);
    for (index, flag) in flags.into_iter().flatten().enumerate() {
        ensure!(
            is::<Flag>(flag),
            "{path}.flags[{index}]: invalid memory policy flag {flag}: not known"
        );
    }
    Ok(())
}

fn is<T: DeserializeOwned>(word: &Value) -> bool {
    serde_json::from_value::<T>(word.clone()).is_ok()
}

/// Checks the nodes, and which modes go with some (MPO-03).
///
/// # Errors
/// When they are no list of numbers, or do not go with the mode.
pub(super) fn check(policy: &LinuxMemoryPolicy) -> Result<()> {
    let (path, mode) = ("linux.memoryPolicy.nodes", policy.mode());
    let nodes = mask(policy.nodes().as_deref().unwrap_or_default());
    let nodes = nodes.context("invalid memory policy node").context(path)?;
    let count: u32 = nodes.iter().map(|byte| byte.count_ones()).sum();
    match mode {
        Mode::MpolPreferred => {}
        Mode::MpolDefault | Mode::MpolLocal if count > 0 => {
            bail!("{path}: {mode} mode requires 0 nodes but got {count}")
        }
        Mode::MpolDefault | Mode::MpolLocal => {}
        _ => ensure!(count > 0, "{path}: {mode} mode requires at least 1 node but got 0"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::spec::tests::{accepted, refused};
    use serde_json::json;

    #[test]
    fn memory_policies() {
        let policy = |change| json!({"linux": {"memoryPolicy": change}});
        refused([
            (policy(json!({})), "linux.memoryPolicy.mode: invalid memory policy mode \"\""),
            (policy(json!({"mode": "INTERLEAVE"})), "invalid memory policy mode \"INTERLEAVE\""),
            (policy(json!({"mode": "MPOL_BIND"})), "MPOL_BIND mode requires at least 1 node"),
            (
                policy(json!({"mode": "MPOL_LOCAL", "nodes": "0,4-6"})),
                "linux.memoryPolicy.nodes: MPOL_LOCAL mode requires 0 nodes but got 4",
            ),
            (
                policy(json!({"mode": "MPOL_BIND", "nodes": "1-0"})),
                "linux.memoryPolicy.nodes: invalid memory policy node: ",
            ),
            (
                policy(json!({"mode": "MPOL_BIND", "nodes": "0-9876543210"})),
                "linux.memoryPolicy.nodes: invalid memory policy node: ",
            ),
            (
                policy(json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NONE"]})),
                "linux.memoryPolicy.flags[0]: invalid memory policy flag \"MPOL_F_NONE\"",
            ),
        ]);
        accepted([
            policy(json!({"mode": "MPOL_DEFAULT", "nodes": ""})),
            policy(json!({"mode": "MPOL_PREFERRED"})),
            policy(json!({"mode": "MPOL_PREFERRED", "nodes": "0-3, 7"})),
        ]);
    }
}
