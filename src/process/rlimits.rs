//! Resource limits: getrlimit(2).

use anyhow::{Context, Result};
use nix::errno::Errno;
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

/// Sets `limits` for the caller, and returns the places of those that it may not set.
///
/// Whoever sets them, this comes last, since a low limit would make other steps fail. The caller
/// is the program's user by then. Lowering is open to everybody; raising a hard limit takes
/// `CAP_SYS_RESOURCE` on the host, so those are left to the runtime, which could in turn not lower
/// a limit of another user without that capability (getrlimit(2)).
///
/// # Errors
/// Those of prlimit(2) but EPERM.
pub fn set_own(limits: &[Rlimit]) -> Result<Vec<usize>> {
    let mut left = Vec::new();
    for (index, limit) in limits.iter().enumerate() {
        match limit.set(Pid::from_raw(0)) {
            Err(Errno::EPERM) => left.push(index),
            other => other.with_context(|| limit.context(index))?,
        }
    }
    Ok(left)
}

/// Sets those `limits` for the process `pid` that it has `left` to the runtime.
///
/// # Errors
/// EPERM without `CAP_SYS_RESOURCE`.
pub fn set(limits: &[Rlimit], left: &[usize], pid: Pid) -> Result<()> {
    let left = left.iter().filter_map(|index| Some((index, limits.get(*index)?)));
    for (index, limit) in left {
        limit.set(pid).with_context(|| limit.context(*index))?;
    }
    Ok(())
}

impl Rlimit {
    fn set(&self, pid: Pid) -> nix::Result<()> {
        sys::process::prlimit(pid, resource(self.kind), self.soft, self.hard)
    }

    fn context(&self, index: usize) -> String {
        let Self { kind, soft, hard } = self;
        format!("process.rlimits[{index}]: set {kind} to soft {soft}, hard {hard}")
    }
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
