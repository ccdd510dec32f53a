//! sched_setattr(2), ioprio_set(2), set_mempolicy(2).

use nix::errno::Errno;

/// A scheduling policy with its parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// One of `SCHED_*`.
    pub policy: u32,
    /// Bits of `SCHED_FLAG_*`.
    pub flags: u64,
    /// The nice value, for `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// The static priority, for `SCHED_FIFO` and `SCHED_RR`.
    pub priority: u32,
    /// For `SCHED_DEADLINE`, in nanoseconds.
    pub runtime: u64,
    /// For `SCHED_DEADLINE`, in nanoseconds.
    pub deadline: u64,
    /// For `SCHED_DEADLINE`, in nanoseconds.
    pub period: u64,
}

// `struct sched_attr` of include/uapi/linux/sched/types.h, SCHED_ATTR_SIZE_VER1.
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
    util_min: u32,
    util_max: u32,
}

/// Sets the policy of the caller: sched_setattr(2), Linux 3.14.
pub fn set_attributes(attributes: Attributes) -> nix::Result<()> {
    let Attributes { policy, flags, nice, priority, runtime, deadline, period } = attributes;
    let attr = SchedAttr {
        size: u32::try_from(size_of::<SchedAttr>()).map_err(|_| Errno::E2BIG)?,
        policy,
        flags,
        nice,
        priority,
        runtime,
        deadline,
        period,
        util_min: 0,
        util_max: 0,
    };
    let attr = std::ptr::from_ref(&attr);
    // SAFETY: the kernel reads as many bytes as the first member says, which live during the
    // call; 0 is the caller.
    Errno::result(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, attr, 0) }).map(drop)
}

/// Sets the I/O class and level of the caller: ioprio_set(2).
pub fn set_io_priority(class: u16, level: u16) -> nix::Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    let value = libc::c_int::from(class) << 13 | libc::c_int::from(level);
    // SAFETY: only numbers are passed; 0 is the caller.
    let rc = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) };
    Errno::result(rc).map(drop)
}

/// Sets from which nodes the memory of the caller comes: set_mempolicy(2).
///
/// `mode` includes flags; bits of the mask count from the lowest one of the first byte.
///
/// # Errors
/// EINVAL for nodes that are not there and combinations that the kernel refuses.
pub fn set_memory_policy(mode: u32, nodes: &[u8]) -> nix::Result<()> {
    let words: Vec<_> = nodes
        .chunks(8)
        .map(|bytes| bytes.iter().rev().fold(0_u64, |word, byte| word << 8 | u64::from(*byte)))
        .collect();
    // The kernel takes one bit less than it is told: get_nodes of mm/mempolicy.c.
    let (words, bits) = (words.as_ptr(), words.len() * 64 + 1);
    // SAFETY: the kernel reads `bits - 1` bits from the words, which live during the call.
    let rc = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, words, bits) };
    Errno::result(rc).map(drop)
}
