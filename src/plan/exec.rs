//! What will be done for a process that joins a container.

use std::path::PathBuf;

use anyhow::Result;
use oci_spec::runtime::Spec;

use crate::namespaces::{Kind, Namespaces};
use crate::process::Process;
use crate::rootfs::has_own_dev;
use crate::seccomp::Filter;

/// What will be done for one process.
#[derive(Debug)]
pub struct Exec {
    /// The name of the container.
    pub id: String,
    /// The program.
    pub process: Process,
    /// The namespaces of the container that the runtime is not in.
    pub namespaces: Vec<Kind>,
    /// The root file system on the host, when the container has no mount namespace.
    pub root: Option<PathBuf>,
    /// Join the session keyring of the container.
    pub keyring: bool,
    /// Its `/dev` is not the host's, and its `/dev/null` replaces the host's.
    pub own_dev: bool,
    /// How many descriptors from 3 on the program inherits.
    pub preserve_fds: u32,
    /// The container's filter of system calls.
    pub seccomp: Option<Filter>,
}

/// What is known of the container and not in its document.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its name.
    pub id: String,
    /// Its root file system on the host.
    pub rootfs: PathBuf,
    /// It has a session keyring of its own.
    pub keyring: bool,
}

impl Exec {
    /// Makes a plan for `process` in the container made from `spec`.
    ///
    /// # Errors
    /// Capabilities that the runtime itself lacks and therefore cannot grant; a seccomp profile
    /// that is too large.
    pub fn new(
        container: Container,
        spec: &Spec,
        process: Process,
        preserve_fds: u32,
    ) -> Result<Self> {
        let namespaces = Namespaces::from_spec(spec.linux().as_ref());
        process.check(namespaces.has(Kind::User))?;
        let Container { id, rootfs, keyring } = container;
        Ok(Self {
            id,
            process,
            root: (!namespaces.has(Kind::Mount)).then_some(rootfs),
            namespaces: namespaces.kinds(),
            own_dev: has_own_dev(spec),
            keyring,
            preserve_fds,
            seccomp: Filter::from_spec(spec)?,
        })
    }

    /// The container has a namespace of this kind that the runtime is not in.
    #[must_use]
    pub fn joins(&self, kind: Kind) -> bool {
        self.namespaces.contains(&kind)
    }
}
