//! The versions of containerd that pods are tested with: that of the system's package, and one that
//! `make engines` builds.

use std::path::PathBuf;

use crate::docker::{OURS, REFERENCE};
use crate::harness::{host, reference, runtime};

/// What differs between the versions.
#[derive(Clone, Copy)]
pub enum Version {
    /// Of the package: containerd 1.
    Packaged,
    /// containerd 2, which has pods with user namespaces.
    Second,
}

impl Version {
    /// The daemon.
    pub fn program(self) -> PathBuf {
        match self {
            Self::Packaged => host::program("containerd").expect("containerd"),
            Self::Second => host::built_for_engines("containerd"),
        }
    }

    /// Its own tests of its CRI plugin.
    pub fn tests(self) -> PathBuf {
        host::built_for_engines(match self {
            Self::Packaged => host::CRI_TESTS,
            Self::Second => host::CRI2_TESTS,
        })
    }

    /// What they are told of the daemon, whose files are in this directory.
    pub fn words(self, place: &str) -> String {
        match self {
            Self::Packaged => format!("-cri-root={place}/root/io.containerd.grpc.v1.cri"),
            Self::Second => format!("-address={place}/containerd.sock"),
        }
    }

    /// The daemon's settings, to have its files in this directory.
    pub fn settings(self, place: &str) -> String {
        let service = "plugins.'io.containerd.grpc.v1.cri'";
        let images = "plugins.'io.containerd.cri.v1.images'";
        let pause = "docker.io/library/pause:latest";
        let plugins = host::NETWORK_PLUGINS;
        let (version, section, sandbox, networks) = match self {
            Self::Packaged => {
                let sandbox = format!("sandbox_image = '{pause}'");
                (2, service, sandbox, format!("bin_dir = '{plugins}'"))
            }
            Self::Second => {
                let sandbox = format!("[{images}.pinned_images]\nsandbox = '{pause}'");
                let section = "plugins.'io.containerd.cri.v1.runtime'";
                (3, section, sandbox, format!("bin_dirs = ['{plugins}']"))
            }
        };
        format!(
            "version = {version}\nroot = '{place}/root'\nstate = '{place}/state'\n\
             [grpc]\naddress = '{place}/containerd.sock'\n\
             [{service}]\nstream_server_address = '127.0.0.1'\n{sandbox}\n{}\
             [{section}.cni]\n{networks}\nconf_dir = '{place}/networks'\n\
             [{section}.containerd]\ndefault_runtime_name = '{OURS}'\n{}",
            self.process_settings(section),
            self.runtimes(section),
        )
    }

    /// A table that is open already cannot be opened again.
    fn process_settings(self, section: &str) -> String {
        let settings = "restrict_oom_score_adj = true\ndisable_apparmor = true\n";
        match self {
            Self::Packaged => settings.to_string(),
            Self::Second => format!("[{section}]\n{settings}"),
        }
    }

    fn runtimes(self, section: &str) -> String {
        let shim = match self {
            Self::Packaged => String::new(),
            Self::Second => {
                let shim = host::built_for_engines("containerd-shim-runc-v2");
                format!("runtime_path = '{}'\n", shim.display())
            }
        };
        let runtimes = [Some((OURS, runtime())), reference::runc().map(|runc| (REFERENCE, runc))];
        let tables = runtimes.into_iter().flatten().map(|(name, path)| {
            let table = format!("{section}.containerd.runtimes.{name}");
            format!(
                "[{table}]\nruntime_type = 'io.containerd.runc.v2'\n{shim}\
                 [{table}.options]\nBinaryName = '{}'\n",
                path.display()
            )
        });
        tables.collect()
    }
}
