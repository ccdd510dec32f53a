//! Running from an image that no container can write to: CVE-2019-5736.
//!
//! A process on its way into a container can be read by the container as `/proc/PID/exe`: with
//! the entrypoint `#!/proc/self/exe`, or from a process that shares its PID namespace. Whoever
//! holds that descriptor can open the file for writing once nobody executes it. So a command
//! that enters a container never runs from the installed file: the file is mounted a second
//! time, read-only and attached nowhere, and executed from there. Every descriptor of the image
//! then leads to the read-only mount. No byte is copied.
//!
//! This happens at the executable's entry point, before the C library starts, because the
//! library's own start is most of the time that a second execve costs (see `make bench`). At that
//! point nothing is relocated, so nothing can be called that lies in another object file: the
//! code below consists of operators, literals and system calls, and not even methods of slices. Where the mount cannot be made (before Linux 5.12, without
//! privilege, in a sandbox) the entry point goes on as if nothing had happened, and
//! [`image`] and [`run_from_memory`] let `main` find that out and take the slower way.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::fstat;
use nix::sys::statfs::fstatfs;

use super::process::Vector;

/// How the kernel names a program that was executed by descriptor (execveat(2)).
const BY_DESCRIPTOR: &[u8] = b"/dev/fd/";

/// What this process runs from.
#[derive(Debug)]
pub enum Image {
    /// The file that was named, writable for whoever may write to it.
    Installed,
    /// The read-only mount that the entry point made. The mount goes away with the last
    /// descriptor of it, or with the mount namespace it is moved into.
    Mount(OwnedFd),
    /// The sealed copy that [`run_from_memory`] made.
    Memory,
}

/// Finds out what this process runs from. Call it once: it takes the descriptor over.
///
/// # Errors
/// Those of looking at `/proc/self/exe`.
pub fn image() -> io::Result<Image> {
    // SAFETY: getauxval has no precondition. AT_EXECFN is the address of a string at the top
    // of the stack, which the kernel wrote and which lives as long as the process, or 0.
    let name = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const libc::c_char;
    if name.is_null() {
        return Ok(Image::Installed);
    }
    // SAFETY: see above; the kernel ends the string in NUL.
    let name = unsafe { CStr::from_ptr(name) };
    let Some(fd) = name.to_bytes().strip_prefix(BY_DESCRIPTOR).and_then(number) else {
        return Ok(Image::Installed);
    };
    let exe = File::open("/proc/self/exe")?;
    let here = fstat(&exe)?;
    if fcntl(&exe, FcntlArg::F_GET_SEALS).is_ok_and(|seals| seals & SEALS.bits() == SEALS.bits()) {
        return Ok(Image::Memory);
    }
    // 1 is ST_RDONLY, which statfs(2) reports for the mount and not only for the file system.
    let read_only = fstatfs(&exe)?.flags().bits() & libc::ST_RDONLY != 0;
    match fstat_raw(fd) {
        Some((dev, ino)) if read_only && (dev, ino) == (here.st_dev, here.st_ino) => {
            // SAFETY: the entry point made this descriptor, as the same file under the same
            // number shows, and left it to whoever asks first.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            fcntl(&fd, FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
            Ok(Image::Mount(fd))
        }
        _ => Ok(Image::Installed),
    }
}

const SEALS: SealFlag = SealFlag::F_SEAL_SEAL
    .union(SealFlag::F_SEAL_SHRINK)
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_WRITE);

fn number(digits: &[u8]) -> Option<RawFd> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn fstat_raw(fd: RawFd) -> Option<(u64, u64)> {
    // SAFETY: `stat` is plain data for which all zeroes is a valid value.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel checks the number and writes one `stat` to the pointer.
    let rc = unsafe { libc::fstat(fd, &raw mut stat) };
    (rc == 0).then_some((stat.st_dev, stat.st_ino))
}

/// Copies this image into a sealed memfd and executes it with the same arguments.
///
/// memfd_create(2), fcntl(2) `F_ADD_SEALS`, execveat(2). Returns only an error.
pub fn run_from_memory(argv: &Vector, envp: &Vector) -> io::Error {
    let copy = || -> io::Result<OwnedFd> {
        let mut exe = File::open("/proc/self/exe")?;
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let mut memory = File::from(memfd_create("orlop", flags)?);
        io::copy(&mut exe, &mut memory)?;
        fcntl(memory.as_fd(), FcntlArg::F_ADD_SEALS(SEALS))?;
        Ok(memory.into())
    };
    match copy() {
        Ok(memory) => super::process::execveat(memory.as_fd(), argv, envp).into(),
        Err(error) => error,
    }
}

/// Where the kernel starts this program: see the module text. `build.rs` names it to the linker.
///
/// # Safety
/// Only the kernel, or the dynamic loader, may jump here: the stack pointer must point to the
/// argument count.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn orlop_entry() -> ! {
    // rdx is a function that the C library is to call at exit (System V ABI, 3.4.1).
    core::arch::naked_asm!(
        "mov rbx, rsp",
        "mov r12, rdx",
        "mov rdi, rsp",
        "and rsp, -16",
        "call {seal}",
        "mov rsp, rbx",
        "mov rdx, r12",
        "xor ebp, ebp",
        "jmp _start",
        seal = sym seal,
    )
}

/// Where the kernel starts this program: see the module text. `build.rs` names it to the linker.
///
/// # Safety
/// Only the kernel, or the dynamic loader, may jump here: the stack pointer must point to the
/// argument count.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn orlop_entry() -> ! {
    // x0 is a function that the C library is to call at exit (System V ABI for AArch64).
    core::arch::naked_asm!(
        "mov x20, x0",
        "mov x0, sp",
        "bl {seal}",
        "mov x0, x20",
        "mov x29, xzr",
        "mov x30, xzr",
        "b _start",
        seal = sym seal,
    )
}

/// Executes the program again from a read-only mount of itself, or returns and changes nothing.
///
/// # Safety
/// `stack` must be what the kernel hands to a new program: the argument count, that many
/// pointers to strings, NULL, the environment likewise, the auxiliary vector.
unsafe extern "C" fn seal(stack: *const usize) {
    // SAFETY: the caller vouches for the layout, which begins with the argument count.
    let argc = unsafe { *stack };
    let argv = stack as usize + WORD;
    // The environment begins after the NULL that ends the arguments.
    let envp = argv + (argc + 1) * WORD;
    // SAFETY: there are `argc` pointers to strings at `argv`.
    let enters = unsafe { enters_container(argv, argc) };
    // SAFETY: the environment at `envp` ends in NULL and the auxiliary vector follows.
    if !enters || unsafe { by_descriptor(envp) } {
        return;
    }
    let (here, clone) = (libc::AT_FDCWD as Arg, libc::OPEN_TREE_CLONE as Arg);
    let (empty, at_empty) = (b"\0" as *const u8 as Arg, libc::AT_EMPTY_PATH as Arg);
    let exe = b"/proc/self/exe\0" as *const u8 as Arg;
    // SAFETY: open_tree(2) reads the path, a literal that ends in NUL.
    let fd = unsafe { call(libc::SYS_open_tree, here, exe, clone, 0, 0) };
    if fd < 0 {
        return;
    }
    // `struct mount_attr`: set, clear, propagation, user namespace.
    let attr = [libc::MOUNT_ATTR_RDONLY, 0, 0, 0];
    let (attr, size) = (&raw const attr as Arg, (4 * WORD) as Arg);
    // SAFETY: mount_setattr(2) reads the literal and `size` bytes of `attr`.
    let done = unsafe { call(libc::SYS_mount_setattr, fd, empty, at_empty, attr, size) };
    if done == 0 {
        let (argv, envp) = (argv as Arg, envp as Arg);
        // SAFETY: execveat(2) reads the literal and the two arrays that the kernel made. The
        // descriptor stays open for `image`.
        unsafe { call(libc::SYS_execveat, fd, empty, argv, envp, at_empty) };
    }
    // SAFETY: close(2) of the descriptor made above, which nobody else knows.
    unsafe { call(libc::SYS_close, fd, 0, 0, 0, 0) };
}

/// The size of a pointer; `size_of` would be a call.
const WORD: usize = usize::BITS as usize / 8;

/// An argument or the result of a system call.
type Arg = libc::c_long;

/// Says whether one of the arguments is a command whose process enters a container.
///
/// A word that merely looks like one costs an execve and nothing else.
///
/// # Safety
/// At `argv` there must be `argc` pointers to strings that end in NUL.
unsafe fn enters_container(argv: usize, argc: usize) -> bool {
    let mut index = 1;
    while index < argc {
        let place = (argv + index * WORD) as *const *const u8;
        // SAFETY: `index` is below `argc`.
        let arg = unsafe { *place };
        // SAFETY: `arg` and the literals end in NUL.
        let enters = unsafe { equal(arg, b"create\0" as *const u8) }
            // SAFETY: as above.
            || unsafe { equal(arg, b"run\0" as *const u8) }
            // SAFETY: as above.
            || unsafe { equal(arg, b"exec\0" as *const u8) }
            // SAFETY: as above.
            || unsafe { equal(arg, b"restore\0" as *const u8) };
        if enters {
            return true;
        }
        index += 1;
    }
    false
}

/// Says whether the program was executed by descriptor, that is: already here once.
///
/// # Safety
/// At `envp` there must be an array that ends in NULL, with the auxiliary vector behind it.
unsafe fn by_descriptor(envp: usize) -> bool {
    let mut entry = envp;
    // SAFETY: the array ends in NULL.
    while unsafe { *(entry as *const usize) } != 0 {
        entry += WORD;
    }
    // The auxiliary vector begins after the NULL: pairs of type and value.
    let mut pair = entry + WORD;
    loop {
        // SAFETY: the vector ends in a pair of type AT_NULL, which returns below.
        let kind = unsafe { *(pair as *const usize) };
        // SAFETY: a value follows each type.
        let value = unsafe { *((pair + WORD) as *const usize) };
        match kind as libc::c_ulong {
            libc::AT_NULL => return false,
            libc::AT_EXECFN => {
                let by_descriptor = b"/dev/fd/\0" as *const u8;
                // SAFETY: the value is the address of a string that ends in NUL.
                return unsafe { common_length(value as *const u8, by_descriptor) } == 8;
            }
            _ => pair += 2 * WORD,
        }
    }
}

/// Says whether two strings are equal.
///
/// # Safety
/// Both must end in NUL.
unsafe fn equal(a: *const u8, b: *const u8) -> bool {
    // SAFETY: the caller vouches for both.
    let length = unsafe { common_length(a, b) };
    let (a, b) = ((a as usize + length) as *const u8, (b as usize + length) as *const u8);
    // SAFETY: the bytes before these were equal and not NUL, so both strings reach this far.
    let a = unsafe { *a };
    // SAFETY: as above.
    a == 0 && unsafe { *b } == 0
}

/// The number of bytes at the start that two strings have in common.
///
/// # Safety
/// Both must end in NUL.
unsafe fn common_length(a: *const u8, b: *const u8) -> usize {
    let mut length = 0;
    loop {
        let (a, b) = ((a as usize + length) as *const u8, (b as usize + length) as *const u8);
        // SAFETY: the bytes before these were equal and not NUL, so both strings reach this far.
        let a = unsafe { *a };
        // SAFETY: as above.
        let b = unsafe { *b };
        if a != b || a == 0 {
            return length;
        }
        length += 1;
    }
}

/// A system call without the C library, whose `errno` does not exist yet.
///
/// # Safety
/// As for the call in question.
#[expect(clippy::many_single_char_names, reason = "the arguments of a system call have no names")]
#[cfg(target_arch = "x86_64")]
unsafe fn call(number: Arg, a: Arg, b: Arg, c: Arg, d: Arg, e: Arg) -> Arg {
    let result: Arg;
    // SAFETY: the calling convention of syscall(2) for x86-64; the instruction overwrites rcx
    // and r11 only.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, in("r8") e,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// A system call without the C library, whose `errno` does not exist yet.
///
/// # Safety
/// As for the call in question.
#[expect(clippy::many_single_char_names, reason = "the arguments of a system call have no names")]
#[cfg(target_arch = "aarch64")]
unsafe fn call(number: Arg, a: Arg, b: Arg, c: Arg, d: Arg, e: Arg) -> Arg {
    let result;
    // SAFETY: the calling convention of syscall(2) for arm64.
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e,
            options(nostack),
        );
    }
    result
}

/// Whether the file this process runs from could be written to by somebody who is not the
/// host's root: the ids of a rootless container are the caller's own.
///
/// # Errors
/// Those of looking at `/proc/self/exe`.
pub fn installed_file_is_root_only() -> io::Result<bool> {
    let stat = fstat(File::open("/proc/self/exe")?)?;
    Ok(stat.st_uid == 0 && stat.st_mode & 0o022 == 0)
}

impl Image {
    /// The mount that the entry point made, if any.
    #[must_use]
    pub fn into_mount(self) -> Option<OwnedFd> {
        match self {
            Self::Mount(fd) => Some(fd),
            Self::Installed | Self::Memory => None,
        }
    }

    /// The number under which the entry point left that mount open.
    #[must_use]
    pub fn raw_fd(&self) -> Option<RawFd> {
        match self {
            Self::Mount(fd) => Some(fd.as_raw_fd()),
            Self::Installed | Self::Memory => None,
        }
    }
}
