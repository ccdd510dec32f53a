//! A machine that is thrown away: engines run on it as on an operator's, below its systemd, with
//! one driver of cgroups or the other. `CGROUP_DRIVER=systemd` or `=cgroupfs` says that this is one.

use nix::unistd::geteuid;

/// Who makes the cgroups of containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// The runtime.
    Cgroupfs,
    /// systemd, which the runtime asks for scopes.
    Systemd,
}

impl Driver {
    /// What engines call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cgroupfs => "cgroupfs",
            Self::Systemd => "systemd",
        }
    }
}

/// This is such a machine.
pub fn is_here() -> bool {
    std::env::var_os("CGROUP_DRIVER").is_some()
}

/// The driver of this run.
pub fn driver() -> Driver {
    match std::env::var("CGROUP_DRIVER").as_deref() {
        Ok("systemd") => Driver::Systemd,
        Ok("cgroupfs") | Err(_) => Driver::Cgroupfs,
        Ok(other) => panic!("CGROUP_DRIVER={other} is neither systemd nor cgroupfs"),
    }
}

/// Engines run as an ordinary user.
pub fn is_ordinary() -> bool {
    !geteuid().is_root()
}
