//! bpf(2), for the device program of a cgroup.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

const BPF_PROG_LOAD: i32 = 5;
const BPF_PROG_ATTACH: i32 = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

// The first members of `union bpf_attr` for BPF_PROG_LOAD (include/uapi/linux/bpf.h).
#[repr(C)]
struct Load {
    kind: u32,
    instructions: u32,
    program: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
}

// The members of `union bpf_attr` for BPF_PROG_ATTACH.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Loads a program of type cgroup device: Linux 4.15.
///
/// # Errors
/// EPERM without the capability, EINVAL or EACCES when the verifier refuses the program.
pub fn load_device_program(program: &[u64], license: &CStr) -> nix::Result<OwnedFd> {
    let load = Load {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        instructions: u32::try_from(program.len()).map_err(|_| Errno::E2BIG)?,
        program: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buffer: 0,
        kernel_version: 0,
        flags: 0,
    };
    let attr = std::ptr::from_ref(&load);
    // SAFETY: `attr` has the size given and lives during the call, as do the instructions, whose
    // number it holds, and the license, which ends in NUL; the kernel copies all of them.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, attr, size_of::<Load>()) };
    let fd = i32::try_from(Errno::result(rc)?).map_err(|_| Errno::EOVERFLOW)?;
    // SAFETY: the kernel has just made this descriptor for the caller; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches the program to the open cgroup, beside those that others attached.
///
/// The attachment lives as long as the cgroup.
///
/// # Errors
/// EPERM without the capability.
pub fn attach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> nix::Result<()> {
    let attach = Attach {
        target: cgroup.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        kind: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    let attr = std::ptr::from_ref(&attach);
    // SAFETY: `attr` has the size given and lives during the call.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, attr, size_of::<Attach>()) };
    Errno::result(rc).map(drop)
}
