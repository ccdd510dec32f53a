//! The mount calls that work on descriptors: fsopen(2) and its family, open_tree(2),
//! move_mount(2), mount_setattr(2).
//!
//! A mount is made detached, gets its attributes while nobody can see it, and is moved onto a
//! descriptor: no path is resolved twice. All of them are Linux 5.2, mount_setattr is 5.12.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::c_long;
use nix::errno::Errno;

pub use libc::{
    MOUNT_ATTR__ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NOSYMFOLLOW, MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
};

use super::caps;

/// What mount_setattr(2) changes: bits of `MOUNT_ATTR_*` and one propagation type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Bits to set.
    pub set: u64,
    /// Bits to clear, applied before `set`.
    pub clear: u64,
    /// One of `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`, or 0 for no change.
    pub propagation: u64,
}

/// The numbers of these calls.
pub const DESCRIPTOR_CALLS: [c_long; 6] = [
    libc::SYS_mount_setattr,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
];

/// Whether this machine has all of these calls: a kernel before Linux 5.12 lacks mount_setattr(2),
/// and sandboxes answer ENOSYS to any of them.
#[must_use]
pub fn descriptor_calls_exist() -> bool {
    DESCRIPTOR_CALLS.into_iter().all(|number| {
        // SAFETY: each of these calls refuses -1 as its first argument, be that a descriptor or an
        // address, and null for all others.
        let rc = unsafe { libc::syscall(number, -1_i64, 0_i64, 0_i64, 0_i64, 0_i64) };
        Errno::result(rc) != Err(Errno::ENOSYS)
    })
}

fn owned(rc: c_long) -> nix::Result<OwnedFd> {
    let fd = Errno::result(rc)?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EOVERFLOW)?;
    // SAFETY: the kernel has just made this descriptor for the caller; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Opens a file system of type `fstype` for configuration: fsopen(2), Linux 5.2.
pub fn fsopen(fstype: &CStr) -> nix::Result<OwnedFd> {
    // SAFETY: the kernel copies the NUL-terminated type name and keeps no pointer to it.
    owned(unsafe { libc::syscall(libc::SYS_fsopen, fstype.as_ptr(), libc::FSOPEN_CLOEXEC) })
}

/// Sets the parameter `key` to `value`, which the kernel limits to 255 bytes: fsconfig(2).
pub fn fsconfig_string(fs: BorrowedFd<'_>, key: &CStr, value: &CStr) -> nix::Result<()> {
    let cmd = libc::FSCONFIG_SET_STRING;
    // SAFETY: both strings end in NUL and live during the call; the kernel copies them.
    let rc = unsafe {
        libc::syscall(libc::SYS_fsconfig, fs.as_raw_fd(), cmd, key.as_ptr(), value.as_ptr(), 0)
    };
    Errno::result(rc).map(drop)
}

/// Sets the parameter `key`, which takes no value: fsconfig(2).
pub fn fsconfig_flag(fs: BorrowedFd<'_>, key: &CStr) -> nix::Result<()> {
    let cmd = libc::FSCONFIG_SET_FLAG;
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: the key ends in NUL and is copied; a flag has no value, so NULL is asked for.
    let rc =
        unsafe { libc::syscall(libc::SYS_fsconfig, fs.as_raw_fd(), cmd, key.as_ptr(), none, 0) };
    Errno::result(rc).map(drop)
}

/// Makes the superblock that `fs` describes: fsconfig(2) with `FSCONFIG_CMD_CREATE`.
pub fn fsconfig_create(fs: BorrowedFd<'_>) -> nix::Result<()> {
    let cmd = libc::FSCONFIG_CMD_CREATE;
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: this command takes neither key nor value, so both pointers are NULL.
    let rc = unsafe { libc::syscall(libc::SYS_fsconfig, fs.as_raw_fd(), cmd, none, none, 0) };
    Errno::result(rc).map(drop)
}

/// Returns a detached mount of the superblock made by [`fsconfig_create`]: fsmount(2), Linux 5.2.
///
/// `attributes` are bits of `MOUNT_ATTR_*`; without an access-time bit the mount is relatime.
pub fn fsmount(fs: BorrowedFd<'_>, attributes: u64) -> nix::Result<OwnedFd> {
    let flags = libc::FSMOUNT_CLOEXEC;
    // SAFETY: only numbers are passed.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, fs.as_raw_fd(), flags, attributes) })
}

/// Returns a detached copy of the mount at `path` below `dir`: open_tree(2), Linux 5.2.
///
/// An empty path means `dir` itself. With `recursive` the mounts below it are copied as well.
pub fn open_tree_clone(dir: BorrowedFd<'_>, path: &CStr, recursive: bool) -> nix::Result<OwnedFd> {
    let mut flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    flags |= libc::AT_EMPTY_PATH.cast_unsigned();
    if recursive {
        flags |= libc::AT_RECURSIVE.cast_unsigned();
    }
    // SAFETY: the path ends in NUL and lives during the call; the kernel copies it.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), flags) })
}

/// `OPEN_TREE_NAMESPACE`, Linux 7.0; the C library does not have it.
const OPEN_TREE_NAMESPACE: libc::c_uint = 1 << 1;

/// Whether open_tree(2) makes mount namespaces: see [`open_tree_namespace`].
#[must_use]
pub fn namespaces_of_trees_exist() -> bool {
    let flags = OPEN_TREE_NAMESPACE | libc::AT_EMPTY_PATH.cast_unsigned();
    // A flag that is not known is refused first (EINVAL), then a caller without rights, whom a new
    // user namespace will give them, then the descriptor.
    match open_nothing(flags) {
        Err(Errno::EBADF) => true,
        Err(Errno::EPERM) => {
            let without_rights = caps::get().is_ok_and(|own| own.effective & caps::SYS_ADMIN == 0);
            // A sandbox may forbid the call as a whole.
            without_rights && open_nothing(libc::AT_EMPTY_PATH.cast_unsigned()) == Err(Errno::EBADF)
        }
        _ => false,
    }
}

/// Calls open_tree(2) with a descriptor that does not exist.
fn open_nothing(flags: libc::c_uint) -> nix::Result<c_long> {
    // SAFETY: the path is a literal that ends in NUL, and -1 is no descriptor.
    Errno::result(unsafe { libc::syscall(libc::SYS_open_tree, -1, c"".as_ptr(), flags) })
}

/// Makes a mount namespace whose root is a copy of the mount of `dir`, with the mounts below it,
/// and returns it for setns(2): open_tree(2) with `OPEN_TREE_NAMESPACE`, Linux 7.0.
///
/// # Errors
/// EPERM without `CAP_SYS_ADMIN` in the own user namespace, to which the mount namespace belongs.
pub fn open_tree_namespace(dir: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    let flags = OPEN_TREE_NAMESPACE | libc::OPEN_TREE_CLOEXEC | flags.cast_unsigned();
    // SAFETY: the path is a literal that ends in NUL.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), c"".as_ptr(), flags) })
}

/// Attaches the detached `mount` at `target`: move_mount(2), Linux 5.2.
pub fn move_mount(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> nix::Result<()> {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    let (from, to) = (mount.as_raw_fd(), target.as_raw_fd());
    let empty = c"".as_ptr();
    // SAFETY: both paths are the same literal that ends in NUL; the flags say to use the
    // descriptors themselves.
    let rc = unsafe { libc::syscall(libc::SYS_move_mount, from, empty, to, empty, flags) };
    Errno::result(rc).map(drop)
}

/// Changes the attributes of `mount` and, with `recursive`, of every mount below it.
///
/// mount_setattr(2), Linux 5.12 (2a1867219c7b): the whole tree changes, or none of it.
pub fn mount_setattr(
    mount: BorrowedFd<'_>,
    attributes: Attributes,
    recursive: bool,
) -> nix::Result<()> {
    let attr = libc::mount_attr {
        attr_set: attributes.set,
        attr_clr: attributes.clear,
        propagation: attributes.propagation,
        userns_fd: 0,
    };
    setattr(mount, &attr, recursive)
}

/// Maps the ids of files below `mount`, which is attached nowhere, by the mapping of the user
/// namespace: `MOUNT_ATTR_IDMAP`, Linux 5.12.
///
/// # Errors
/// EINVAL when the file system cannot do that, EPERM when the caller may not administer it.
pub fn map_ids(
    mount: BorrowedFd<'_>,
    namespace: BorrowedFd<'_>,
    recursive: bool,
) -> nix::Result<()> {
    let userns_fd = u64::try_from(namespace.as_raw_fd()).map_err(|_| Errno::EBADF)?;
    let attr_set = libc::MOUNT_ATTR_IDMAP;
    let attr = libc::mount_attr { attr_set, attr_clr: 0, propagation: 0, userns_fd };
    setattr(mount, &attr, recursive)
}

fn setattr(mount: BorrowedFd<'_>, attr: &libc::mount_attr, recursive: bool) -> nix::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a literal that ends in NUL, and the kernel copies
    // `size_of::<mount_attr>()` bytes from `attr` and keeps no pointer to it.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(rc).map(drop)
}

// include/uapi/linux/mount.h, size MNT_ID_REQ_SIZE_VER0 (Linux 6.8).
#[repr(C)]
struct MountIdRequest {
    size: u32,
    spare: u32,
    mount: u64,
    parameter: u64,
}

/// `LSMT_ROOT`: everything below the caller's root.
const FROM_ROOT: u64 = u64::MAX;

/// Returns the unique ids of all mounts below the caller's root: listmount(2), Linux 6.8.
///
/// # Errors
/// ENOSYS where the kernel or a sandbox lacks it.
pub fn list_mounts() -> nix::Result<Vec<u64>> {
    let mut all = Vec::new();
    let mut some = [0_u64; 256];
    loop {
        let request = MountIdRequest {
            size: 24,
            spare: 0,
            mount: FROM_ROOT,
            parameter: all.last().copied().unwrap_or(0),
        };
        let (request, buffer) = (std::ptr::from_ref(&request), some.as_mut_ptr());
        // SAFETY: the request has the size that it gives; the kernel writes at most as many
        // numbers as the buffer has, and returns how many.
        let rc = unsafe { libc::syscall(SYS_LISTMOUNT, request, buffer, some.len(), 0) };
        let count = usize::try_from(Errno::result(rc)?).map_err(|_| Errno::EOVERFLOW)?;
        all.extend_from_slice(some.get(..count).unwrap_or_default());
        if count < some.len() {
            return Ok(all);
        }
    }
}

/// The same number on every architecture; libc does not have it for all of them.
const SYS_LISTMOUNT: c_long = 458;
