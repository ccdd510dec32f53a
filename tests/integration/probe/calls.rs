//! System calls as a program makes them that filters are in force for.

use std::process::exit;

use nix::sys::signal::{Signal, raise};

/// Makes a system call without arguments as 32-bit programs do.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "there is no other way")]
pub(super) fn syscall32(number: i32) -> i32 {
    let result;
    // SAFETY: the kernel changes rax, and may clear r8 to r11.
    unsafe {
        std::arch::asm!(
            "int 0x80", inlateout("eax") number => result,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    result
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn syscall32(number: i32) -> i32 {
    panic!("call {number} of what 32-bit programs?");
}

/// Traces a child that makes a call, says what a filter tells the tracer, and how the child ends.
#[expect(unsafe_code, reason = "ptrace(2)")]
pub(super) fn traced(name: &str) {
    // SAFETY: there is one thread, and the child goes on as a copy of it.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: this request takes no other argument.
        unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
        raise(Signal::SIGSTOP).expect("raise a signal");
        exit(i32::from(syscall(name, &[]).is_err()));
    }
    let wait = || {
        let mut status = 0;
        // SAFETY: the status is a number.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        status
    };
    let go_on = || {
        // SAFETY: the child is ours and has stopped.
        unsafe { libc::ptrace(libc::PTRACE_CONT, child, 0, 0) };
    };
    wait();
    // SAFETY: the child is ours and has stopped.
    unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, child, 0, libc::PTRACE_O_TRACESECCOMP) };
    go_on();
    if wait() >> 8 == libc::SIGTRAP | libc::PTRACE_EVENT_SECCOMP << 8 {
        let mut data: libc::c_ulong = 0;
        // SAFETY: the kernel writes one number.
        unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, child, 0, &raw mut data) };
        println!("asked with {data}");
        go_on();
    }
    println!("ended with {}", libc::WEXITSTATUS(wait()));
}

/// Makes a system call by its number or its name, with numbers as arguments.
#[expect(unsafe_code, reason = "any call may be asked for")]
pub(super) fn syscall(name: &str, args: &[&str]) -> std::io::Result<()> {
    let number = name.parse().unwrap_or_else(|_| match name {
        "getppid" => libc::SYS_getppid,
        "kexec_load" => libc::SYS_kexec_load,
        "mmap" => libc::SYS_mmap,
        "sched_get_priority_max" => libc::SYS_sched_get_priority_max,
        "umask" => libc::SYS_umask,
        other => panic!("unknown call {other}"),
    });
    let mut words = [0_u64; 6];
    for (word, arg) in words.iter_mut().zip(args) {
        *word = arg.parse().expect("a number");
    }
    let [a, b, c, d, e, f] = words;
    // SAFETY: the calls that are made so take numbers, or addresses that are null.
    let rc = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if rc < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}
