//! Resource limits: getrlimit(2).

use anyhow::{Context, Result};
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
        sys::process::prlimit(pid, number(kind), soft, hard).with_context(|| {
            format!("process.rlimits[{index}]: set {kind} to soft {soft}, hard {hard}")
        })?;
    }
    Ok(())
}

fn number(kind: PosixRlimitType) -> u32 {
    match kind {
        PosixRlimitType::RlimitCpu => libc::RLIMIT_CPU,
        PosixRlimitType::RlimitFsize => libc::RLIMIT_FSIZE,
        PosixRlimitType::RlimitData => libc::RLIMIT_DATA,
        PosixRlimitType::RlimitStack => libc::RLIMIT_STACK,
        PosixRlimitType::RlimitCore => libc::RLIMIT_CORE,
        PosixRlimitType::RlimitRss => libc::RLIMIT_RSS,
        PosixRlimitType::RlimitNproc => libc::RLIMIT_NPROC,
        PosixRlimitType::RlimitNofile => libc::RLIMIT_NOFILE,
        PosixRlimitType::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        PosixRlimitType::RlimitAs => libc::RLIMIT_AS,
        PosixRlimitType::RlimitLocks => libc::RLIMIT_LOCKS,
        PosixRlimitType::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        PosixRlimitType::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        PosixRlimitType::RlimitNice => libc::RLIMIT_NICE,
        PosixRlimitType::RlimitRtprio => libc::RLIMIT_RTPRIO,
        PosixRlimitType::RlimitRttime => libc::RLIMIT_RTTIME,
    }
}
