//! A profile as rules for numbers: what it says about each call of each architecture.
//!
//! Where the specification is silent, this is what profiles were written against, runc with
//! libseccomp:
//!
//! - A rule whose action is the default one is passed over, so that it overrides nothing.
//! - Several conditions on one argument are alternatives; a rule that has such is split into as
//!   many rules as it has conditions.
//! - Calls that an architecture also has as a part of socketcall(2) or ipc(2) get a rule there,
//!   whose first condition is the number of the part.

use anyhow::{Result, bail};
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompArg, LinuxSeccompOperator};

use super::arch::{column, family, is_wide};
use super::order;
use super::syscalls::Syscall;
use crate::log;

/// A condition on one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Which argument, from 0 to 5.
    pub index: u8,
    /// How it is compared.
    pub operator: LinuxSeccompOperator,
    /// The bits that are compared.
    pub mask: u64,
    /// What it is compared with.
    pub value: u64,
}

impl Condition {
    fn new(arg: &LinuxSeccompArg) -> Self {
        let operator = arg.op();
        let (mask, value) = match operator {
            LinuxSeccompOperator::ScmpCmpMaskedEq => (arg.value(), arg.value_two().unwrap_or(0)),
            _ => (u64::MAX, arg.value()),
        };
        // The index was checked with the document.
        let index = u8::try_from(arg.index()).unwrap_or(u8::MAX);
        Self { index, operator, mask, value: value & mask }
    }

    /// The condition as an architecture sees it; nothing if it always holds there.
    #[must_use]
    pub fn seen_by(self, arch: Arch) -> Option<Self> {
        let seen = if is_wide(arch) { u64::MAX } else { u64::from(u32::MAX) };
        let condition = Self { mask: self.mask & seen, value: self.value & seen, ..self };
        (condition.mask != 0).then_some(condition)
    }
}

/// What is done with a call if all conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// All have to hold.
    pub conditions: Vec<Condition>,
    /// The value that the program returns.
    pub action: u32,
    /// The index in `linux.seccomp.syscalls`.
    pub source: usize,
}

/// A profile with numbers.
#[derive(Debug)]
pub struct Profile {
    /// The value that the program returns where no rule decides.
    pub default: u32,
    /// The architectures that it is for, of those that the kernel can report.
    pub architectures: Vec<Arch>,
    /// Calls that are newer than all that the profile knows do not exist, as runc has it: programs
    /// go on without them, while EPERM would stop them.
    pub unknown_is_enosys: bool,
    rules: Vec<Rule>,
    /// Names with the rules they stand in, in the order of the document.
    named: Vec<(Syscall, usize)>,
    /// The same for rules that are passed over: the profile knows these names.
    idle: Vec<Syscall>,
}

impl Profile {
    /// Takes a profile over for a kernel of the architecture `native`.
    ///
    /// # Errors
    /// With `strict`, a name that no architecture knows.
    pub fn new(seccomp: &LinuxSeccomp, native: Arch, strict: bool) -> Result<Self> {
        let default = seccomp.default_action().as_u32(seccomp.default_errno_ret());
        let mut profile = Self {
            default,
            architectures: architectures(seccomp, native),
            unknown_is_enosys: !lets_pass(default),
            rules: Vec::new(),
            named: Vec::new(),
            idle: Vec::new(),
        };
        for (source, syscall) in seccomp.syscalls().iter().flatten().enumerate() {
            let action = syscall.action().as_u32(syscall.errno_ret());
            let mut calls = Vec::with_capacity(syscall.names().len());
            for (index, name) in syscall.names().iter().enumerate() {
                match Syscall::named(name) {
                    Some(call) => calls.push(call),
                    None if strict => bail!(
                        "linux.seccomp.syscalls[{source}].names[{index}]: {name:?} is not known"
                    ),
                    None => log::debug(|| format!("seccomp: {name:?} is not known and ignored")),
                }
            }
            if action == default {
                profile.idle.extend(calls);
                continue;
            }
            let conditions = alternatives(syscall.args().as_deref().unwrap_or_default());
            let first = profile.rules.len();
            profile.rules.extend(conditions.into_iter().map(|conditions| Rule {
                conditions,
                action,
                source,
            }));
            let rules = first..profile.rules.len();
            let named = calls.iter().flat_map(|call| rules.clone().map(|rule| (*call, rule)));
            profile.named.extend(named);
        }
        Ok(profile)
    }

    /// The rules for one architecture.
    #[must_use]
    pub fn calls(&self, arch: Arch) -> Calls<'_> {
        let mut calls = Calls {
            arch,
            rules: &self.rules,
            parts: Vec::new(),
            entries: Vec::with_capacity(self.named.len()),
            newest: None,
        };
        let Some(column) = column(arch) else { return calls };
        let number = |name| Syscall::named(name).and_then(|call| call.number_in(column));
        // Nobody but the architectures that have both passes calls through them.
        let containers = [("socketcall", number("socketcall")), ("ipc", number("ipc"))];
        for (call, rule) in &self.named {
            let within = call.within().map(super::syscalls::Within::parts);
            let container = within.and_then(|(name, code)| {
                let (_, number) = containers.iter().find(|(container, _)| *container == name)?;
                number.map(|number| (number, code))
            });
            if let Some((number, code)) = container {
                calls.add_part(number, code, *rule);
            }
            if let Some(number) = call.number_in(column) {
                calls.add(number, *rule);
            }
        }
        let named = self.named.iter().map(|(call, _)| call).chain(&self.idle);
        calls.newest = named.filter_map(|call| call.number_in(column)).max();
        calls.entries.sort_unstable();
        calls
    }
}

/// Whether a default action leaves the decision to others: for those a new call is no surprise.
fn lets_pass(action: u32) -> bool {
    let kind = action & libc::SECCOMP_RET_ACTION_FULL;
    [libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_LOG, libc::SECCOMP_RET_TRACE].contains(&kind)
}

/// Those of the profile and the native one, as far as the kernel can report them.
fn architectures(seccomp: &LinuxSeccomp, native: Arch) -> Vec<Arch> {
    let listed = seccomp.architectures().as_deref().unwrap_or_default();
    let family = family(native);
    for arch in listed.iter().filter(|arch| !family.contains(arch)) {
        if *arch != Arch::ScmpArchNative {
            log::debug(|| format!("seccomp: this kernel never reports {arch}"));
        }
    }
    family.iter().copied().filter(|arch| *arch == native || listed.contains(arch)).collect()
}

/// The conditions of the rules that one rule of the document stands for.
fn alternatives(args: &[LinuxSeccompArg]) -> Vec<Vec<Condition>> {
    let mut conditions: Vec<_> = args.iter().map(Condition::new).collect();
    let mut seen = [false; 256];
    let repeated = conditions.iter().any(|condition| {
        seen.get_mut(usize::from(condition.index)).is_some_and(|seen| std::mem::replace(seen, true))
    });
    if repeated {
        return conditions.into_iter().map(|condition| vec![condition]).collect();
    }
    conditions.sort_by_key(|condition| condition.index);
    vec![conditions]
}

/// The rules for one architecture, by number.
#[derive(Debug)]
pub struct Calls<'a> {
    arch: Arch,
    rules: &'a [Rule],
    /// Rules for parts of other calls; their indices follow those of `rules`.
    parts: Vec<Rule>,
    /// Numbers and the rules for them, in the order of the document.
    entries: Vec<Entry>,
    /// The highest number that the profile names.
    pub newest: Option<u32>,
}

/// A number in the upper half, so that entries are sorted by it, the place in the document in the
/// lower; and the index of a rule.
type Entry = (u64, u32);

fn number(entry: &Entry) -> u32 {
    (entry.0 >> 32) as u32
}

/// The rules that can decide about a call: mostly one, which then needs no list.
#[derive(Debug)]
pub enum Deciding<'a> {
    /// It decides alone.
    One(&'a Rule),
    /// The first whose conditions hold decides.
    Several(Vec<&'a Rule>),
}

impl<'a> Deciding<'a> {
    /// As a list.
    #[must_use]
    pub fn rules(&self) -> &[&'a Rule] {
        match self {
            Self::One(rule) => std::slice::from_ref(rule),
            Self::Several(rules) => rules,
        }
    }
}

impl Calls<'_> {
    fn add(&mut self, number: u32, rule: usize) {
        // A document of 16 MiB holds far fewer rules.
        let index = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
        let place = index(self.entries.len());
        self.entries.push((u64::from(number) << 32 | u64::from(place), index(rule)));
    }

    /// Adds a rule for the part `code` of the call `number`.
    fn add_part(&mut self, number: u32, code: u32, rule: usize) {
        let Some(whole) = self.rules.get(rule) else { return };
        let selected = Condition {
            index: 0,
            operator: LinuxSeccompOperator::ScmpCmpEq,
            mask: u64::MAX,
            value: code.into(),
        };
        let others = whole.conditions.iter().filter(|condition| condition.index != 0);
        let conditions = std::iter::once(selected).chain(others.copied()).collect();
        self.parts.push(Rule { conditions, ..*whole });
        self.add(number, self.rules.len() + self.parts.len() - 1);
    }

    fn rule(&self, index: u32) -> Option<&Rule> {
        let index = index as usize;
        self.rules.get(index).or_else(|| self.parts.get(index - self.rules.len()))
    }

    /// The numbers that have rules, in rising order, each with those rules that can decide.
    pub fn decisions(&self) -> impl Iterator<Item = (u32, Deciding<'_>)> {
        self.entries.chunk_by(|a, b| number(a) == number(b)).filter_map(|entries| {
            let rules = entries.iter().filter_map(|(.., rule)| self.rule(*rule));
            Some((number(entries.first()?), self.deciding(rules)))
        })
    }

    /// A rule without conditions decides alone, wherever it stands; the first such one does.
    fn deciding<'r>(&self, rules: impl Iterator<Item = &'r Rule> + Clone) -> Deciding<'r> {
        match rules.clone().find(|rule| self.is_unconditional(rule)) {
            Some(rule) => Deciding::One(rule),
            None => Deciding::Several(order::by_precedence(rules.collect(), self.arch)),
        }
    }

    fn is_unconditional(&self, rule: &Rule) -> bool {
        rule.conditions.iter().all(|condition| condition.seen_by(self.arch).is_none())
    }

    /// The architecture.
    #[must_use]
    pub fn arch(&self) -> Arch {
        self.arch
    }
}
