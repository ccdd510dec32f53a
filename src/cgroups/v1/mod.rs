//! cgroup v1: one hierarchy per controller or group of controllers.

mod blkio;
mod cpu;
pub(super) mod cpuset;
pub(super) mod hugetlb;
mod memory;
mod net;
pub(super) mod pids;
pub(super) mod rdma;

use anyhow::Result;
use oci_spec::runtime::LinuxResources;

use super::setting::Setting;

/// Translates the limits of a config for one controller. Reads and writes no file.
pub(super) type Translate = fn(&LinuxResources) -> Result<Vec<Setting>>;

/// The controllers that can be limited, by their names in `/proc/cgroups`.
pub(super) const CONTROLLERS: &[(&str, Translate)] = &[
    ("blkio", blkio::settings),
    ("cpu", cpu::settings),
    ("cpuset", cpuset::settings),
    ("hugetlb", hugetlb::settings),
    ("memory", memory::settings),
    ("net_cls", net::class),
    ("net_prio", net::priorities),
    ("pids", pids::settings),
    ("rdma", rdma::settings),
];
