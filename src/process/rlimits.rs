//! Resource limits: getrlimit(2).

use anyhow::{Context, Result};
use nix::sys::resource::Resource;
use nix::unistd::Pid;
use oci_spec::runtime::{PosixRlimit, PosixRlimitType};

use crate::sys;

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rlimit {
    kind: PosixRlimitType,
    soft: u64,
    hard: u64,
}

pub(super) fn from_spec(limits: &[PosixRlimit]) -> Vec<Rlimit> {
    let convert =
        |limit: &PosixRlimit| Rlimit { kind: limit.typ(), soft: limit.soft(), hard: limit.hard() };
    limits.iter().map(convert).collect()
}

/// Sets `limits` for init. The runtime does this, because a hard limit can be raised only with
/// `CAP_SYS_RESOURCE` on the host, which init lacks in a user namespace; and it does it when init
/// has done its own work, which a low limit would make fail.
///
/// # Errors
/// EPERM when a hard limit is above the runtime's own and it lacks that capability.
pub fn set(limits: &[Rlimit], pid: Pid) -> Result<()> {
    for (index, limit) in limits.iter().enumerate() {
        let Rlimit { kind, soft, hard } = *limit;
        sys::process::prlimit(pid, resource(kind), soft, hard).with_context(|| {
            format!("process.rlimits[{index}]: set {kind} to soft {soft}, hard {hard}")
        })?;
    }
    Ok(())
}

fn resource(kind: PosixRlimitType) -> Resource {
    match kind {
        PosixRlimitType::RlimitCpu => Resource::RLIMIT_CPU,
        PosixRlimitType::RlimitFsize => Resource::RLIMIT_FSIZE,
        PosixRlimitType::RlimitData => Resource::RLIMIT_DATA,
        PosixRlimitType::RlimitStack => Resource::RLIMIT_STACK,
        PosixRlimitType::RlimitCore => Resource::RLIMIT_CORE,
        PosixRlimitType::RlimitRss => Resource::RLIMIT_RSS,
        PosixRlimitType::RlimitNproc => Resource::RLIMIT_NPROC,
        PosixRlimitType::RlimitNofile => Resource::RLIMIT_NOFILE,
        PosixRlimitType::RlimitMemlock => Resource::RLIMIT_MEMLOCK,
        PosixRlimitType::RlimitAs => Resource::RLIMIT_AS,
        PosixRlimitType::RlimitLocks => Resource::RLIMIT_LOCKS,
        PosixRlimitType::RlimitSigpending => Resource::RLIMIT_SIGPENDING,
        PosixRlimitType::RlimitMsgqueue => Resource::RLIMIT_MSGQUEUE,
        PosixRlimitType::RlimitNice => Resource::RLIMIT_NICE,
        PosixRlimitType::RlimitRtprio => Resource::RLIMIT_RTPRIO,
        PosixRlimitType::RlimitRttime => Resource::RLIMIT_RTTIME,
    }
}
