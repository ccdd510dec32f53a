//! Executes a program in a sandbox that lacks system calls: they answer ENOSYS.
//!
//! `without CALL… -- PROGRAM ARG…`, where a call is `NUMBER`, or `NUMBER:INDEX:BIT` if it lacks the
//! bit of that argument only.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Command;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

fn main() {
    let mut args = std::env::args().skip(1);
    let calls = args.by_ref().take_while(|word| word != "--");
    let rules: BTreeMap<i64, _> = calls.map(|word| rule(&word)).collect();
    let lacking = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let arch = std::env::consts::ARCH.try_into().expect("a known architecture");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, lacking, arch).expect("a filter");
    let program: BpfProgram = filter.try_into().expect("a program");
    apply_filter(&program).expect("load the filter");
    let error = Command::new(args.next().expect("a program")).args(args).exec();
    panic!("{error}");
}

fn rule(word: &str) -> (i64, Vec<SeccompRule>) {
    let mut parts = word.split(':').map(|part| part.parse::<u32>().expect("a number"));
    let number = parts.next().expect("a number").into();
    let (Some(index), Some(bit)) = (parts.next(), parts.next()) else {
        return (number, Vec::new());
    };
    let index = u8::try_from(index).expect("an index");
    let has_bit = SeccompCmpOp::MaskedEq(bit.into());
    let condition =
        SeccompCondition::new(index, SeccompCmpArgLen::Dword, has_bit, bit.into()).expect("a test");
    (number, vec![SeccompRule::new(vec![condition]).expect("a rule")])
}
