//! What `spec` writes: a document to start from, equal in content to runc's.
//!
//! It is kept as text so that its members stay in the order in which people read them.

use crate::spec::VERSION;
use crate::spec::defaults::{MASKED_PATHS, READONLY_PATHS};

/// Who the document is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// A caller with the host's privileges.
    Root,
    /// An ordinary user: one mapped id, the host's network, no limits.
    Rootless {
        /// The caller's user id on the host.
        uid: u32,
        /// The caller's group id on the host.
        gid: u32,
    },
}

/// Returns the text of `config.json`, indented by tabs. On cgroup v2 the container gets a cgroup
/// namespace, as from runc.
#[must_use]
pub fn document(whom: For, cgroup_v2: bool) -> String {
    let mut namespaces = match whom {
        For::Root => vec!["pid", "network", "ipc", "uts", "mount"],
        For::Rootless { .. } => vec!["pid", "ipc", "uts", "mount"],
    };
    if cgroup_v2 {
        namespaces.push("cgroup");
    }
    if whom != For::Root {
        namespaces.push("user");
    }
    let namespaces: Vec<_> =
        namespaces.iter().map(|kind| format!("{{\"type\": \"{kind}\"}}")).collect();
    let first = match whom {
        For::Root => RESOURCES.to_string(),
        For::Rootless { uid, gid } => format!("{},\n\t\t{}", map("uid", uid), map("gid", gid)),
    };
    TEMPLATE
        .replace("@VERSION@", VERSION)
        .replace("@PTS_GID@", if whom == For::Root { ", \"gid=5\"" } else { "" })
        .replace("@SYS@", if whom == For::Root { SYS } else { SYS_ROOTLESS })
        .replace("@FIRST@", &first)
        .replace("@NAMESPACES@", &namespaces.join(",\n\t\t\t"))
        .replace("@MASKED@", &quoted(&MASKED_PATHS))
        .replace("@READONLY@", &quoted(&READONLY_PATHS))
}

fn map(kind: &str, id: u32) -> String {
    format!("\"{kind}Mappings\": [{{\"containerID\": 0, \"hostID\": {id}, \"size\": 1}}]")
}

fn quoted(paths: &[&str]) -> String {
    paths.iter().map(|path| format!("\"{path}\"")).collect::<Vec<_>>().join(",\n\t\t\t")
}

const RESOURCES: &str = r#""resources": {
			"devices": [{"allow": false, "access": "rwm"}]
		}"#;

const SYS: &str = r#""type": "sysfs",
			"source": "sysfs",
			"options": ["nosuid", "noexec", "nodev", "ro"]"#;

/// Without a network namespace of its own a user may not mount sysfs.
const SYS_ROOTLESS: &str = r#""type": "none",
			"source": "/sys",
			"options": ["rbind", "nosuid", "noexec", "nodev", "ro"]"#;

const TEMPLATE: &str = r#"{
	"ociVersion": "@VERSION@",
	"process": {
		"terminal": true,
		"user": {"uid": 0, "gid": 0},
		"args": ["sh"],
		"env": [
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"TERM=xterm"
		],
		"cwd": "/",
		"capabilities": {
			"bounding": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
			"effective": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
			"permitted": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
		},
		"rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
		"noNewPrivileges": true
	},
	"root": {"path": "rootfs", "readonly": true},
	"hostname": "orlop",
	"mounts": [
		{
			"destination": "/proc",
			"type": "proc",
			"source": "proc"
		},
		{
			"destination": "/dev",
			"type": "tmpfs",
			"source": "tmpfs",
			"options": ["nosuid", "strictatime", "mode=755", "size=65536k"]
		},
		{
			"destination": "/dev/pts",
			"type": "devpts",
			"source": "devpts",
			"options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"@PTS_GID@]
		},
		{
			"destination": "/dev/shm",
			"type": "tmpfs",
			"source": "shm",
			"options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]
		},
		{
			"destination": "/dev/mqueue",
			"type": "mqueue",
			"source": "mqueue",
			"options": ["nosuid", "noexec", "nodev"]
		},
		{
			"destination": "/sys",
			@SYS@
		},
		{
			"destination": "/sys/fs/cgroup",
			"type": "cgroup",
			"source": "cgroup",
			"options": ["nosuid", "noexec", "nodev", "relatime", "ro"]
		}
	],
	"linux": {
		@FIRST@,
		"namespaces": [
			@NAMESPACES@
		],
		"maskedPaths": [
			@MASKED@
		],
		"readonlyPaths": [
			@READONLY@
		]
	}
}
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn linux(whom: For, cgroup_v2: bool) -> Value {
        let document: Value = serde_json::from_str(&document(whom, cgroup_v2)).unwrap();
        document["linux"].clone()
    }

    #[test]
    fn both_kinds_are_documents() {
        let kinds = |linux: &Value| -> Vec<String> {
            let list = linux["namespaces"].as_array().unwrap();
            list.iter().map(|entry| entry["type"].as_str().unwrap().to_string()).collect()
        };
        let root = linux(For::Root, true);
        assert_eq!(kinds(&root), ["pid", "network", "ipc", "uts", "mount", "cgroup"]);
        assert_eq!(root["resources"]["devices"][0]["allow"], json!(false));
        let rootless = linux(For::Rootless { uid: 7, gid: 8 }, false);
        assert_eq!(kinds(&rootless), ["pid", "ipc", "uts", "mount", "user"]);
        assert_eq!(rootless["gidMappings"][0]["hostID"], json!(8));
        assert_eq!(rootless["resources"], Value::Null);
    }
}
