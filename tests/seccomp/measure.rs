//! How good programs are, beside libseccomp's: `make bench-seccomp` prints the numbers.

use std::time::Instant;

use libc::sock_filter;
use oci_spec::runtime::{Arch, LinuxSeccomp};
use orlop::seccomp::arch::NATIVE;
use orlop::seccomp::compile::compile;
use orlop::seccomp::rules::Profile;
use orlop::seccomp::syscalls::Syscall;

use crate::interpreter::{Data, run};
use crate::libseccomp::library;
use crate::{kernel, profiles};

const ARCHITECTURES: [Arch; 3] = [Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32];

/// Instructions executed for the calls of the native architecture, sorted.
fn steps(program: &[sock_filter]) -> Vec<usize> {
    let numbers = Syscall::all().filter_map(|call| call.number(Arch::ScmpArchX86_64));
    let mut steps: Vec<_> = numbers
        .map(|number| run(program, &Data::new(Arch::ScmpArchX86_64, number, [0; 6])).steps)
        .collect();
    steps.sort_unstable();
    steps
}

fn ours(seccomp: &LinuxSeccomp) -> Vec<sock_filter> {
    compile(&Profile::new(seccomp, Arch::ScmpArchX86_64, false).expect("a profile"))
        .expect("a program")
}

fn median(values: &[usize]) -> usize {
    values[values.len() / 2]
}

#[test]
fn half_the_instructions_of_libseccomp() {
    let Some(library) = library() else { return };
    for named in profiles::of_engines() {
        let own = ours(&named.profile);
        let theirs = library.compile(&named.profile, &ARCHITECTURES).expect("a program");
        let (a, b) = (steps(&own), steps(&theirs));
        println!(
            "{:32} instructions {:4} / {:4}  worst {:3} / {:4}  median {:3} / {:4}",
            named.name,
            own.len(),
            theirs.len(),
            a[a.len() - 1],
            b[b.len() - 1],
            median(&a),
            median(&b)
        );
        assert!(a[a.len() - 1] * 2 <= b[b.len() - 1], "the worst call");
        assert!(median(&a) * 2 <= median(&b), "the median call");
    }
}

#[test]
#[ignore = "make bench-seccomp"]
fn times() {
    for named in profiles::of_engines() {
        let mut times: Vec<_> = (0..200)
            .map(|_| {
                let begin = Instant::now();
                let profile = Profile::new(&named.profile, NATIVE, false).expect("a profile");
                compile(&profile).expect("a program");
                begin.elapsed().as_nanos()
            })
            .collect();
        let first = times[0];
        times.sort_unstable();
        let theirs = library().map(|library| {
            let mut times: Vec<_> =
                (0..5).map(|_| library.time(&named.profile, &ARCHITECTURES)).collect();
            times.sort_unstable();
            times[2] / 1000
        });
        println!(
            "{:32} compiled in {} µs (best {} µs, first {} µs), libseccomp {theirs:?} µs",
            named.name,
            times[100] / 1000,
            times[0] / 1000,
            first / 1000
        );
    }
}

/// One call is always allowed, so that the kernel looks it up (Linux 5.11); of the other the profiles
/// of engines look at the argument. 0xffffffff changes nothing.
#[test]
#[ignore = "make bench-seccomp"]
fn nanoseconds() {
    let calls =
        [("getppid", libc::SYS_getppid, 0), ("personality", libc::SYS_personality, 0xffff_ffff)];
    let best = |program: Option<&[sock_filter]>, call, argument| {
        (0..5).map(|_| kernel::time(program, call, argument)).min().unwrap_or(0)
    };
    for named in profiles::of_engines().iter().filter(|named| named.name != "runtime-tools") {
        let own = ours(&named.profile);
        let theirs =
            library().map(|library| library.compile(&named.profile, &ARCHITECTURES).expect("one"));
        for (name, call, argument) in calls {
            let without = best(None, call, argument);
            let behind = best(Some(&own), call, argument);
            let other = theirs.as_deref().map(|program| best(Some(program), call, argument));
            println!(
                "{:32} {name:12} {without} ns without a filter, {behind} ns, libseccomp {other:?} ns",
                named.name
            );
        }
    }
}
