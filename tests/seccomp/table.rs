//! The table of system calls, beside libseccomp's.

use std::collections::BTreeSet;

use oci_spec::runtime::Arch;
use orlop::seccomp::syscalls::Syscall;

use crate::libseccomp::{Library, library};

/// The architectures that have a table here and may have one in libseccomp.
pub(crate) const ARCHITECTURES: [Arch; 23] = [
    Arch::ScmpArchX86_64,
    Arch::ScmpArchX86,
    Arch::ScmpArchX32,
    Arch::ScmpArchAarch64,
    Arch::ScmpArchArm,
    Arch::ScmpArchMips,
    Arch::ScmpArchMipsel,
    Arch::ScmpArchMips64,
    Arch::ScmpArchMipsel64,
    Arch::ScmpArchMips64n32,
    Arch::ScmpArchMipsel64n32,
    Arch::ScmpArchPpc,
    Arch::ScmpArchPpc64,
    Arch::ScmpArchPpc64le,
    Arch::ScmpArchRiscv64,
    Arch::ScmpArchS390x,
    Arch::ScmpArchLoongarch64,
    Arch::ScmpArchM68k,
    Arch::ScmpArchSh,
    Arch::ScmpArchSheb,
    Arch::ScmpArchS390,
    Arch::ScmpArchParisc,
    Arch::ScmpArchParisc64,
];

/// Names whose numbers are not the same everywhere here and there.
pub(crate) fn differing(library: &Library) -> BTreeSet<String> {
    differences(library).into_iter().map(|(name, ..)| name.to_string()).collect()
}

type Difference = (&'static str, Arch, Option<u32>, Option<i32>);

fn differences(library: &Library) -> Vec<Difference> {
    let mut found = Vec::new();
    for arch in ARCHITECTURES.into_iter().filter(|arch| library.knows_arch(*arch)) {
        for call in Syscall::all().filter(|call| library.knows(call.name())) {
            let (ours, theirs) = (call.number(arch), library.number(arch, call.name()));
            // A number below zero stands for a call that only other architectures have, or for a
            // part of socketcall or ipc.
            let same = match (ours, theirs) {
                (Some(ours), Some(theirs)) if theirs >= 0 => i64::from(ours) == i64::from(theirs),
                (Some(_), Some(_)) => call.within().is_some(),
                (None, Some(theirs)) => theirs < 0,
                (_, None) => false,
            };
            if !same {
                found.push((call.name(), arch, ours, theirs));
            }
        }
    }
    found
}

#[test]
fn numbers_are_those_of_libseccomp() {
    let Some(library) = library() else { return };
    let newer: Vec<_> = Syscall::all().map(Syscall::name).filter(|n| !library.knows(n)).collect();
    println!("{} names are not known to the library: {newer:?}", newer.len());
    let differences = differences(library);
    assert!(differences.is_empty(), "{differences:#?}");
    let missing: Vec<_> =
        library.names().filter(|(.., name)| Syscall::named(name).is_none()).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
