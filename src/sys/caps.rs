//! capget(2) and capset(2) in one call each, without allocating: between a filter and the program
//! every call counts.

use nix::errno::Errno;

/// `_LINUX_CAPABILITY_VERSION_3`
const VERSION: u32 = 0x2008_0522;

/// `CAP_SYS_ADMIN` as a bit.
pub const SYS_ADMIN: u64 = 1 << 21;

/// `CAP_MKNOD` as a bit.
pub const MKNOD: u64 = 1 << 27;

/// The sets that one call sets, a bit for each capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sets {
    /// Used for checks.
    pub effective: u64,
    /// What may become effective.
    pub permitted: u64,
    /// What may survive execve.
    pub inheritable: u64,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// The lower or the upper half of each set.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// The sets of this thread.
///
/// # Errors
/// None that is known.
pub fn get() -> nix::Result<Sets> {
    let header = Header { version: VERSION, pid: 0 };
    let mut halves = [Half::default(); 2];
    let (header, data) = (std::ptr::from_ref(&header), halves.as_mut_ptr());
    // SAFETY: version 3 writes two halves, for which there is room, and the header lives during
    // the call.
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, header, data) })?;
    let [low, high] = halves;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok(Sets {
        effective: join(low.effective, high.effective),
        permitted: join(low.permitted, high.permitted),
        inheritable: join(low.inheritable, high.inheritable),
    })
}

/// Sets the sets of this thread.
///
/// # Errors
/// EPERM for what is not permitted now.
pub fn set(sets: Sets) -> nix::Result<()> {
    let header = Header { version: VERSION, pid: 0 };
    let half = |shift: u32| {
        let cut = |set: u64| (set >> shift & 0xffff_ffff) as u32;
        Half {
            effective: cut(sets.effective),
            permitted: cut(sets.permitted),
            inheritable: cut(sets.inheritable),
        }
    };
    let halves = [half(0), half(32)];
    let (header, data) = (std::ptr::from_ref(&header), halves.as_ptr());
    // SAFETY: version 3 reads two halves; they and the header live during the call.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, header, data) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_can_be_set() {
        let sets = get().unwrap();
        set(sets).unwrap();
        assert_eq!(get().unwrap(), sets);
        assert_eq!(sets.effective & !sets.permitted, 0);
    }
}
