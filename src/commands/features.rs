//! `features`

use anyhow::{Context, Result};
use serde_json::json;

use super::output;
use crate::cli::{NAME, VERSION};
use crate::rootfs::options;

/// Prints what this version can do, whatever this host can (FEA-02).
///
/// # Errors
/// When the output cannot be written.
pub(super) fn run() -> Result<i32> {
    let mut capabilities: Vec<_> = caps::all().iter().map(ToString::to_string).collect();
    capabilities.sort_unstable();
    let no = json!({"enabled": false});
    let features = json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": crate::spec::VERSION,
        "hooks": [
            "prestart", "createRuntime", "createContainer", "startContainer", "poststart",
            "poststop"
        ],
        "mountOptions": options::known(),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": capabilities,
            "cgroup": {
                "v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": false
            },
            "seccomp": no,
            "apparmor": no,
            "selinux": no,
            "intelRdt": no,
            "mountExtensions": {"idmap": {"enabled": true}},
            "netDevices": no,
        },
        "annotations": {format!("io.github.{NAME}.version"): VERSION},
        "potentiallyUnsafeConfigAnnotations": [],
    });
    let text = serde_json::to_string_pretty(&features).context("encode the features")?;
    output(&(text + "\n"))?;
    Ok(0)
}
