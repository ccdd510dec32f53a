//! Executes a program in a sandbox that lacks system calls: they answer ENOSYS.
//!
//! `without NUMBER… -- PROGRAM ARG…`

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Command;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

fn main() {
    let mut args = std::env::args().skip(1);
    let numbers = args.by_ref().take_while(|word| word != "--");
    let rules: BTreeMap<i64, _> =
        numbers.map(|word| (word.parse().expect("a number"), Vec::new())).collect();
    let lacking = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let arch = std::env::consts::ARCH.try_into().expect("a known architecture");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, lacking, arch).expect("a filter");
    let program: BpfProgram = filter.try_into().expect("a program");
    apply_filter(&program).expect("load the filter");
    let error = Command::new(args.next().expect("a program")).args(args).exec();
    panic!("{error}");
}
