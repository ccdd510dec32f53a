//! What this version cannot do yet is refused by name, before anything is touched.
//!
//! A value that asks for nothing (empty, zero, false) is accepted: engines write those.

use anyhow::{Result, ensure};
use oci_spec::runtime::Spec;

/// Refuses a document that asks for something this version cannot do.
pub(super) fn refuse(spec: &Spec) -> Result<()> {
    let personality = spec.linux().as_ref().and_then(|linux| linux.personality().as_ref());
    let flags = personality.and_then(|personality| personality.flags().as_ref());
    let asks = flags.is_some_and(|flags| !flags.is_empty());
    ensure!(!asks, "linux.personality.flags: not supported by this version");
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::spec::tests::{accepted, refused};
    use serde_json::json;

    #[test]
    fn what_asks_for_something_is_refused() {
        let linux = |change| json!({"linux": change});
        refused([(
            linux(json!({"personality": {"domain": "LINUX", "flags": ["X"]}})),
            "linux.personality.flags: ",
        )]);
    }

    #[test]
    fn what_asks_for_nothing_is_accepted() {
        let resources = |change| json!({"linux": {"resources": change}});
        accepted([
            json!({"process": {"terminal": false, "apparmorProfile": "", "selinuxLabel": ""}}),
            json!({"linux": {"netDevices": {}, "mountLabel": ""}}),
            resources(json!({"blockIO": {"weight": 0, "weightDevice": []}, "cpu": {"shares": 0}})),
            resources(json!({"memory": {"disableOOMKiller": false}, "hugepageLimits": []})),
            resources(json!({"network": {"classID": 0}, "rdma": {}, "unified": {}})),
        ]);
    }
}
