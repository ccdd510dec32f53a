//! bpf(2), for the device programs of a cgroup.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

const BPF_PROG_LOAD: i32 = 5;
const BPF_PROG_ATTACH: i32 = 8;
const BPF_PROG_DETACH: i32 = 9;
const BPF_PROG_GET_FD_BY_ID: i32 = 13;
const BPF_PROG_QUERY: i32 = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;
/// How many programs of one type a cgroup can have (`BPF_CGROUP_MAX_PROGS`).
const MAX_PROGRAMS: usize = 64;

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

// The members of `union bpf_attr` for BPF_PROG_ATTACH and BPF_PROG_DETACH.
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
    attach_or_detach(BPF_PROG_ATTACH, BPF_F_ALLOW_MULTI, cgroup, program)
}

fn attach_or_detach(
    command: i32,
    flags: u32,
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
) -> nix::Result<()> {
    let attach = Attach {
        target: cgroup.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        kind: BPF_CGROUP_DEVICE,
        flags,
    };
    let attr = std::ptr::from_ref(&attach);
    // SAFETY: `attr` has the size given and lives during the call.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<Attach>()) };
    Errno::result(rc).map(drop)
}

// The members of `union bpf_attr` for BPF_PROG_QUERY. From Linux 6.17 on the kernel writes to the
// last one whatever size it was told.
#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
    programs_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

// The first members of `union bpf_attr` for BPF_PROG_GET_FD_BY_ID.
#[repr(C)]
struct ById {
    id: u32,
    next_id: u32,
    flags: u32,
}

/// Detaches every device program that is attached to the open cgroup itself.
///
/// # Errors
/// EPERM without the capability.
pub fn detach_device_programs(cgroup: BorrowedFd<'_>) -> nix::Result<()> {
    for id in device_programs(cgroup)? {
        match device_program(id) {
            // It went meanwhile.
            Err(Errno::ENOENT) => {}
            program => attach_or_detach(BPF_PROG_DETACH, 0, cgroup, program?.as_fd())?,
        }
    }
    Ok(())
}

fn device_programs(cgroup: BorrowedFd<'_>) -> nix::Result<Vec<u32>> {
    let mut ids = vec![0_u32; MAX_PROGRAMS];
    let mut query = Query {
        target: cgroup.as_raw_fd().cast_unsigned(),
        kind: BPF_CGROUP_DEVICE,
        ids: ids.as_mut_ptr() as u64,
        count: u32::try_from(MAX_PROGRAMS).map_err(|_| Errno::E2BIG)?,
        ..Query::default()
    };
    let attr = std::ptr::from_mut(&mut query);
    // SAFETY: `attr` has the size given and lives during the call, as does `ids`, whose length it
    // holds; the kernel writes to both.
    let rc = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, attr, size_of::<Query>()) };
    Errno::result(rc)?;
    ids.truncate(usize::try_from(query.count).unwrap_or(MAX_PROGRAMS));
    Ok(ids)
}

fn device_program(id: u32) -> nix::Result<OwnedFd> {
    let by_id = ById { id, next_id: 0, flags: 0 };
    let attr = std::ptr::from_ref(&by_id);
    // SAFETY: `attr` has the size given and lives during the call.
    let rc =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_GET_FD_BY_ID, attr, size_of::<ById>()) };
    let fd = i32::try_from(Errno::result(rc)?).map_err(|_| Errno::EOVERFLOW)?;
    // SAFETY: the kernel has just made this descriptor for the caller; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
