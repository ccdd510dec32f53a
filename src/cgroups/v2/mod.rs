//! cgroup v2: one hierarchy for all controllers.

mod absent;
mod cpu;
pub(super) mod device_program;
pub(super) mod io;
mod memory;
mod unified;

use anyhow::Result;
use oci_spec::runtime::LinuxResources;

use super::setting::Setting;
pub(super) use super::v1::Translate;
use super::v1::{cpuset, hugetlb, pids, rdma};

/// The controllers that can be limited, by their names in `cgroup.controllers`. Some have the
/// same files as in v1. What is asked for by the names of files comes last, as it overrides
/// the rest.
pub(super) const CONTROLLERS: &[(&str, Translate)] = &[
    ("", absent::settings),
    ("pids", pids::settings),
    ("memory", memory::settings),
    ("io", io::settings),
    ("cpu", cpu::settings),
    ("cpuset", cpuset::settings),
    ("hugetlb", hugepages),
    ("rdma", rdma::settings),
    ("", unified::settings),
];

fn hugepages(resources: &LinuxResources) -> Result<Vec<Setting>> {
    Ok(hugetlb::limits(resources, "max"))
}
