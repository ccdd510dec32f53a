//! Values for arguments at which a profile's answers change.

use std::collections::BTreeSet;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompArg, LinuxSeccompOperator};
use orlop::seccomp::syscalls::{Syscall, Within};

use crate::random::Random;

/// More combinations than this are not tried for one call; which ones are is left to chance.
const COMBINATIONS: usize = 300;

/// Combinations of values for the conditions that the profile has for a call.
pub(crate) fn arguments(
    profile: &LinuxSeccomp,
    call: Option<Syscall>,
    random: &mut Random,
) -> Vec<[u64; 6]> {
    let mut values: [BTreeSet<u64>; 6] = Default::default();
    let Some(call) = call else { return vec![[0; 6], [u64::MAX; 6]] };
    for rule in profile.syscalls().iter().flatten() {
        for name in rule.names() {
            let part = Syscall::named(name).and_then(Syscall::within).map(Within::parts);
            let code = part.filter(|(container, _)| *container == call.name());
            if let Some((_, code)) = code {
                values[0].extend([u64::from(code), u64::from(code) + 1, 1 << 32]);
            }
            if name == call.name() || code.is_some() {
                let args = rule.args().iter().flatten();
                args.for_each(|arg| values[arg.index()].extend(around(arg)));
            }
        }
    }
    combine(&values, random)
}

/// The values at which the answer of a condition changes, and some far from them.
fn around(arg: &LinuxSeccompArg) -> Vec<u64> {
    let (value, two) = (arg.value(), arg.value_two().unwrap_or(0));
    let mut values = vec![0, 1, u64::MAX, u32::MAX.into(), 1 << 32];
    if arg.op() == LinuxSeccompOperator::ScmpCmpMaskedEq {
        let highest = value.checked_ilog2().map_or(0, |bit| 1 << bit);
        let lowest = value & value.wrapping_neg();
        let inside = two & value;
        values.extend([inside, inside | !value, inside ^ lowest, inside ^ highest, value, !value]);
    } else {
        let (low, high) = (value & 0xffff_ffff, value & !0xffff_ffff);
        values.extend([value, value.wrapping_sub(1), value.wrapping_add(1), low, high]);
        values.extend([value ^ 1 << 32, value.wrapping_add(1 << 32), value.wrapping_sub(1 << 32)]);
    }
    values
}

fn combine(values: &[BTreeSet<u64>; 6], random: &mut Random) -> Vec<[u64; 6]> {
    let lists: Vec<Vec<u64>> = values.iter().map(|set| set.iter().copied().collect()).collect();
    let product: usize = lists.iter().map(|list| list.len().max(1)).fold(1, usize::saturating_mul);
    let choose = |mut pick: Box<dyn FnMut(usize) -> usize + '_>| {
        let mut args = [0; 6];
        for (arg, list) in args.iter_mut().zip(&lists).filter(|(_, list)| !list.is_empty()) {
            *arg = list[pick(list.len())];
        }
        args
    };
    if product > COMBINATIONS {
        return (0..COMBINATIONS).map(|_| choose(Box::new(|count| random.below(count)))).collect();
    }
    (0..product)
        .map(|mut rest| {
            choose(Box::new(move |count| {
                let digit = rest % count;
                rest /= count;
                digit
            }))
        })
        .collect()
}
