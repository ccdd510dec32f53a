//! `pids.max`: cgroup-v1/pids of the kernel's documentation.

use anyhow::Result;
use oci_spec::runtime::LinuxResources;

use crate::cgroups::setting::Setting;

/// The same file in both versions. 0 becomes 1, as in runc: a container without a task cannot be
/// (see docs/conformance.md, HUG-09).
pub(in crate::cgroups) fn settings(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let limit = resources.pids().map(|pids| pids.limit());
    let value = match limit {
        None => return Ok(vec![]),
        Some(..0) => "max".to_string(),
        Some(0) => "1".to_string(),
        Some(limit) => limit.to_string(),
    };
    Ok(vec![Setting::new("pids.limit", "pids.max", value)])
}

#[cfg(test)]
mod tests {
    use crate::cgroups::tests::check;
    use serde_json::json;

    #[test]
    fn translation() {
        let limit = |limit: i64| json!({"pids": {"limit": limit}});
        check(
            super::settings,
            [
                (json!({}), Ok("")),
                (limit(7), Ok("pids.max=7")),
                (limit(0), Ok("pids.max=1")),
                (limit(-1), Ok("pids.max=max")),
                (limit(-9), Ok("pids.max=max")),
            ],
        );
    }
}
