//! cgroup v1: one hierarchy per controller or group of controllers.

mod cpu;
pub(super) mod cpuset;
mod memory;
pub(super) mod pids;

use anyhow::Result;
use oci_spec::runtime::LinuxResources;

use super::setting::Setting;

/// Translates the limits of a config for one controller. Reads and writes no file.
pub(super) type Translate = fn(&LinuxResources) -> Result<Vec<Setting>>;

/// The controllers that can be limited, by their names in `/proc/cgroups`.
pub(super) const CONTROLLERS: [(&str, Translate); 4] = [
    ("cpu", cpu::settings),
    ("cpuset", cpuset::settings),
    ("memory", memory::settings),
    ("pids", pids::settings),
];
