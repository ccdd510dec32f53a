//! The interpreter of these tests, beside the kernel.
#![allow(unsafe_code, reason = "filters are installed and calls are made")]

use libc::sock_filter;
use nix::errno::Errno;
use orlop::seccomp::arch::NATIVE;
use orlop::seccomp::compile::compile;
use orlop::seccomp::rules::Profile;
use orlop::sys::seccomp::install;

use crate::interpreter::{Data, run};
use crate::random::{self, Random};

/// A call that does nothing with these arguments but fail, in a way that no program chooses.
const CALL: i64 = libc::SYS_ioprio_get;

/// Programs that load, calculate, store and jump at will, and return an error number.
fn program(random: &mut Random) -> Vec<sock_filter> {
    let count = 3 + random.below(40);
    let mut program = Vec::new();
    // The kernel refuses loads from cells that may not have been stored to.
    for cell in 0..16 {
        program.push(sock_filter { code: 0x02, jt: 0, jf: 0, k: cell });
    }
    for at in 0..count {
        program.push(instruction(random, count - at));
    }
    // The result is an error number from 1 to 128, the lowest bits of what was calculated.
    for (code, k) in [(0x54, 0x7f), (0x04, 1), (0x44, libc::SECCOMP_RET_ERRNO), (0x16, 0)] {
        program.push(sock_filter { code, jt: 0, jf: 0, k });
    }
    program
}

fn instruction(random: &mut Random, left: usize) -> sock_filter {
    let value = match random.below(3) {
        0 => random.pick(&[0, 1, 2, 3, 4, 5, 6, 7]),
        1 => 1 << random.below(32),
        _ => (random.next() & 0xffff_ffff) as u32,
    };
    let mut jump = || u8::try_from(random.below(left.min(200))).expect("a short jump");
    let (jt, jf) = (jump(), jump());
    let plain = |code: u16, k: u32| sock_filter { code, jt: 0, jf: 0, k };
    match random.below(8) {
        0 | 1 => plain(0x20, random.pick(&[0, 4, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60])),
        2 => plain(random.pick(&[0x00, 0x01, 0x80, 0x81]), value),
        3 => plain(random.pick(&[0x60, 0x61, 0x02, 0x03]), value % 16),
        4 => plain(random.pick(&[0x07, 0x87, 0x84]), 0),
        5 => match random.pick(&[0x04, 0x14, 0x24, 0x34, 0x44, 0x54, 0x64, 0x74, 0xa4]) {
            // A division by zero and a shift by more than there are bits are refused.
            0x34 => plain(0x34, value.max(1)),
            shift @ (0x64 | 0x74) => plain(shift, value % 32),
            code => plain(code | random.pick(&[0, 8]), value),
        },
        6 => plain(0x05, jt.into()),
        _ => {
            let code = random.pick(&[0x15, 0x25, 0x35, 0x45]) | random.pick(&[0, 8]);
            sock_filter { code, jt, jf, k: value }
        }
    }
}

/// Installs the program in a child, makes the calls there, and returns the error numbers.
fn observe(program: &[sock_filter], calls: &[[u64; 6]]) -> Vec<i32> {
    let mut pipe = [0; 2];
    // SAFETY: there is room for two descriptors.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    let mut results = vec![0; calls.len()];
    // SAFETY: the child allocates nothing and calls nothing that may be locked.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: it takes numbers.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        let installed = guarded(program);
        for (result, args) in results.iter_mut().zip(calls) {
            let [a, b, c, d, e, f] = *args;
            // SAFETY: the filter answers the call, so that it does nothing.
            unsafe { libc::syscall(CALL, a, b, c, d, e, f) };
            *result = if installed { Errno::last_raw() } else { -1 };
        }
        // SAFETY: the buffer has that length.
        unsafe { libc::write(pipe[1], results.as_ptr().cast(), size_of_val(results.as_slice())) };
        // SAFETY: it ends the process without running what belongs to the parent.
        unsafe { libc::_exit(0) };
    }
    let size = size_of_val(results.as_slice());
    // SAFETY: the buffer has that length.
    let read = unsafe { libc::read(pipe[0], results.as_mut_ptr().cast(), size) };
    assert_eq!(usize::try_from(read), Ok(size));
    // SAFETY: the descriptors and the child are ours.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    for descriptor in pipe {
        // SAFETY: nobody else has it.
        unsafe { libc::close(descriptor) };
    }
    results
}

/// Installs the program for one call alone: the others are allowed first.
fn guarded(program: &[sock_filter]) -> bool {
    const ROOM: usize = 128;
    let mut whole = [sock_filter { code: 0, jt: 0, jf: 0, k: 0 }; ROOM];
    let number = u32::try_from(CALL).unwrap_or(0);
    whole[0] = sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 };
    whole[1] = sock_filter { code: 0x15, jt: 1, jf: 0, k: number };
    whole[2] = sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW };
    // The program begins with empty registers.
    whole[3] = sock_filter { code: 0x00, jt: 0, jf: 0, k: 0 };
    whole[4..4 + program.len()].copy_from_slice(program);
    install(&whole[..4 + program.len()], 0).is_ok()
}

#[test]
fn the_interpreter_decides_as_the_kernel() {
    let mut random = Random::new(random::seed());
    let mut calls = Vec::new();
    for number in 0..random::count(300, 3000) {
        let program = program(&mut random);
        let args = |random: &mut Random| {
            [0; 6].map(
                |_: u64| if random.below(2) == 0 { random.next() } else { random.below(9) as u64 },
            )
        };
        calls.clear();
        calls.extend((0..8).map(|_| args(&mut random)));
        let observed = observe(&program, &calls);
        for (args, errno) in calls.iter().zip(observed) {
            let data = Data::new(NATIVE, u32::try_from(CALL).expect("a number"), *args);
            let verdict = run(&program, &data).verdict;
            let want = i32::try_from(verdict & 0xffff).expect("an error number");
            assert_eq!(errno, want, "program {number} on {args:x?}");
        }
    }
}

/// What a child says whose program the kernel refused. After a filter it may not say anything.
const REFUSED: i32 = 42;

#[test]
fn the_kernel_takes_every_program() {
    let mut random = Random::new(random::seed());
    let names = random::names(|_| true);
    for number in 0..random::count(300, 3000) {
        let seccomp = random::profile(&mut random, &names);
        let profile = Profile::new(&seccomp, NATIVE, false).expect("a profile");
        let program = compile(&profile).expect("a program");
        let length = program.len();
        assert!(takes(&program), "program {number}, {length} instructions: {seccomp:?}");
    }
}

/// Whether the kernel takes a program.
pub(crate) fn takes(program: &[sock_filter]) -> bool {
    // SAFETY: the child allocates nothing and calls nothing that may be locked.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: it takes numbers.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        // The handler of Rust's runtime makes calls, and a program may forbid any.
        // SAFETY: the default action is no function.
        unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
        let status = if install(program, 0).is_ok() { 0 } else { REFUSED };
        // SAFETY: it ends the process; if the filter forbids that, the C library crashes it.
        unsafe { libc::_exit(status) };
    }
    let mut status = 0;
    // SAFETY: the child is ours, and the status is a number.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    !(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == REFUSED)
}

/// The nanoseconds that a call takes behind a program which allows it, and `write`; or behind
/// none.
pub(crate) fn time(program: Option<&[sock_filter]>, call: i64, argument: u64) -> u64 {
    const ROUNDS: u64 = 200_000;
    let mut pipe = [0; 2];
    // SAFETY: there is room for two descriptors.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    // SAFETY: the child allocates nothing and calls nothing that may be locked.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: it takes numbers.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        let installed = program.is_none_or(|program| install(program, 0).is_ok());
        let begin = std::time::Instant::now();
        for _ in 0..ROUNDS {
            // SAFETY: the calls in question take a number.
            unsafe { libc::syscall(call, argument) };
        }
        let taken = if installed { begin.elapsed().as_nanos() } else { 0 };
        let taken = (u64::try_from(taken).unwrap_or(0) / ROUNDS).to_ne_bytes();
        // SAFETY: the buffer has that length.
        unsafe { libc::write(pipe[1], taken.as_ptr().cast(), taken.len()) };
        // SAFETY: it ends the process without running what belongs to the parent.
        unsafe { libc::_exit(0) };
    }
    let mut taken = [0; 8];
    // SAFETY: the buffer has that length.
    let read = unsafe { libc::read(pipe[0], taken.as_mut_ptr().cast(), taken.len()) };
    assert_eq!(read, 8);
    // SAFETY: the child is ours.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    for descriptor in pipe {
        // SAFETY: nobody else has it.
        unsafe { libc::close(descriptor) };
    }
    u64::from_ne_bytes(taken)
}
