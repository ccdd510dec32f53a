//! Kernel parameters: each belongs to a namespace of the container's own, or is refused.

use anyhow::{Result, bail};
use oci_spec::runtime::Linux;

use super::{Kind, Namespaces};
use crate::procfs::Procfs;

/// Parameters of the IPC namespace outside `fs.mqueue.` (ipc_namespaces(7)).
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// One parameter and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// The path below `/proc/sys`.
    path: String,
    value: String,
    /// The namespace it is a property of.
    pub kind: Kind,
}

impl std::fmt::Display for Sysctl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sysctl {:?}", self.path.replace('/', "."))
    }
}

impl Sysctl {
    /// Takes over `linux.sysctl`, sorted by name.
    ///
    /// # Errors
    /// For a parameter that would change the host.
    pub fn from_spec(linux: Option<&Linux>, namespaces: &Namespaces) -> Result<Vec<Self>> {
        let parameters = linux.and_then(|linux| linux.sysctl().as_ref()).into_iter().flatten();
        let mut list = Vec::new();
        for (name, value) in parameters {
            let path = path(name);
            let kind = match owner(&path.replace('/', ".")) {
                Ok(kind) => kind,
                Err(why) => bail!("linux.sysctl.{name}: {why}"),
            };
            if !namespaces.has(kind) {
                bail!(
                    "linux.sysctl.{name}: sysctl {name:?} is not allowed in the host's {} namespace",
                    kind.file()
                );
            }
            if value.contains(['\0', '\n']) {
                bail!("linux.sysctl.{name}: the value has more than one line");
            }
            list.push(Self { path, value: value.clone(), kind });
        }
        list.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(list)
    }

    /// Writes the parameter for the namespaces that the caller is in.
    ///
    /// # Errors
    /// When the kernel has no such parameter or refuses the value.
    pub fn write(&self, procfs: &Procfs) -> Result<()> {
        procfs.write(&format!("sys/{}", self.path), &self.value)
    }
}

/// `net.ipv4.ip_forward` and `net/ipv4/ip_forward` are the same. The first separator decides:
/// `net/ipv4/conf/eno2.100/forwarding` keeps the dot of its interface (sysctl(8), BXS-10).
fn path(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(first) if name.as_bytes().get(first) == Some(&b'.') => name
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
        _ => name.to_string(),
    }
}

/// The namespace that the parameter belongs to, or why it cannot be set.
fn owner(name: &str) -> Result<Kind, String> {
    if name.split('.').any(|part| part.is_empty()) {
        return Err(format!("{name:?} is not the name of a kernel parameter"));
    }
    match name {
        name if IPC.contains(&name) || name.starts_with("fs.mqueue.") => Ok(Kind::Ipc),
        name if name.starts_with("net.") => Ok(Kind::Network),
        name if name.starts_with("user.") => Ok(Kind::User),
        "kernel.domainname" => Ok(Kind::Uts),
        "kernel.hostname" => {
            Err("sysctl \"kernel.hostname\" is not allowed as it conflicts with hostname".into())
        }
        name => Err(format!("sysctl {name:?} is not in a separate kernel namespace")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_become_paths() {
        for (name, want) in [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/conf/eno2.100/forwarding", "net/ipv4/conf/eno2.100/forwarding"),
            ("net.ipv4.conf.eno2/100.forwarding", "net/ipv4/conf/eno2.100/forwarding"),
        ] {
            assert_eq!(path(name), want);
        }
    }

    #[test]
    fn each_class_needs_its_namespace() {
        for (name, kind, want) in [
            ("kernel.shmmax", "ipc", Ok(())),
            ("fs.mqueue.msg_max", "ipc", Ok(())),
            ("net.core.somaxconn", "network", Ok(())),
            ("kernel.domainname", "uts", Ok(())),
            ("user.max_net_namespaces", "user", Ok(())),
            ("kernel.shmmax", "uts", Err("is not allowed in the host's ipc namespace")),
            ("net.core.somaxconn", "uts", Err("is not allowed in the host's net namespace")),
            ("user.max_net_namespaces", "uts", Err("the host's user namespace")),
            ("kernel.hostname", "uts", Err("conflicts with hostname")),
            ("vm.swappiness", "uts", Err("is not in a separate kernel namespace")),
            ("net...", "network", Err("is not the name of a kernel parameter")),
            ("fs/mqueue/../../kernel/core_pattern", "ipc", Err("is not")),
        ] {
            let linux = json!({"namespaces": [{"type": kind}], "sysctl": {name: "1"}});
            let linux: Linux = serde_json::from_value(linux).unwrap();
            let namespaces = Namespaces::from_spec(Some(&linux));
            let got = Sysctl::from_spec(Some(&linux), &namespaces).map(drop);
            match want {
                Ok(()) => assert!(got.is_ok(), "{name}: {got:?}"),
                Err(text) => {
                    let error = format!("{:#}", got.unwrap_err());
                    assert!(error.contains(text), "{error}");
                }
            }
        }
    }
}
