//! cgroup v2: one hierarchy for all controllers.

mod cpu;
pub(super) mod device_program;
mod memory;

pub(super) use super::v1::Translate;
use super::v1::{cpuset, pids};

/// The controllers that can be limited, by their names in `cgroup.controllers`. Two have the
/// same files as in v1.
pub(super) const CONTROLLERS: [(&str, Translate); 4] = [
    ("cpu", cpu::settings),
    ("cpuset", cpuset::settings),
    ("memory", memory::settings),
    ("pids", pids::settings),
];
