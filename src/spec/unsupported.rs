//! What this version cannot do yet is refused by name, before anything is touched.
//!
//! A value that asks for nothing (empty, zero, false) is accepted: engines write those.

use anyhow::{Result, bail};
use oci_spec::runtime::{Linux, Spec};

/// Refuses a document that asks for something this version cannot do.
pub(super) fn refuse(spec: &Spec) -> Result<()> {
    let mut asked = Vec::new();
    if let Some(linux) = spec.linux() {
        self::linux(linux, &mut asked);
    }
    refuse_first(asked)
}

fn refuse_first(asked: Asked) -> Result<()> {
    match asked.into_iter().find(|(_, asked)| *asked) {
        Some((path, _)) => bail!("{path}: not supported by this version"),
        None => Ok(()),
    }
}

type Asked = Vec<(String, bool)>;

fn linux(linux: &Linux, asked: &mut Asked) {
    let flags = linux.personality().as_ref().and_then(|personality| personality.flags().as_ref());
    asked.extend(
        [("linux.personality.flags", flags.is_some_and(|flags| !flags.is_empty()))]
            .map(|(path, asked)| (path.to_string(), asked)),
    );
}

#[cfg(test)]
mod tests {
    use crate::spec::tests::{accepted, refused};
    use serde_json::json;

    #[test]
    fn what_asks_for_something_is_refused() {
        let linux = |change| json!({"linux": change});
        refused([
            (linux(json!({"intelRdt": {"closID": "x"}})), "linux.intelRdt: "),
            (
                linux(json!({"personality": {"domain": "LINUX", "flags": ["X"]}})),
                "linux.personality.flags: ",
            ),
        ]);
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
