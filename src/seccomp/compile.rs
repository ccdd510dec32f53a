//! From a profile to a program.
//!
//! For each architecture the numbers are cut into ranges with equal decisions, which a balanced
//! search finds; behind it stand the tests of arguments, for the calls that have any.

use anyhow::{Result, ensure};
use libc::sock_filter;
use oci_spec::runtime::{Arch, LinuxSeccompOperator as Operator};

use super::arch::{audit, is_little_endian, is_wide};
use super::emit::emit;
use super::graph::{Comparison, Graph, Node, Test, Word};
use super::rules::{Calls, Condition, Profile, Rule};

/// Where x32 begins among the numbers of x86-64: `__X32_SYSCALL_BIT`.
const X32: u32 = 0x4000_0000;

/// What happens to calls of an architecture that the profile is not for, as with libseccomp.
const FOREIGN: u32 = libc::SECCOMP_RET_KILL_THREAD;

const NO_SUCH_CALL: u32 = libc::SECCOMP_RET_ERRNO | 38; // ENOSYS

/// Above this many tests for one call, no more of them are looked for that could be left out.
const SIMPLIFIED: usize = 256;

/// A graph this large has no program that the kernel takes.
const MAX_NODES: usize = 1 << 16;

/// Compiles a profile.
///
/// # Errors
/// When the program gets longer than the kernel takes.
pub fn compile(profile: &Profile) -> Result<Vec<sock_filter>> {
    let mut graph = Graph::default();
    let mut root = graph.verdict(FOREIGN);
    // x86-64 and x32 stand side by side and come with the same number.
    let sections = profile.architectures.chunk_by(|a, b| audit(*a) == audit(*b));
    let sections: Vec<_> = sections.collect();
    // The native architecture comes first in the program.
    for section in sections.into_iter().rev() {
        let Some(arch) = section.first() else { continue };
        let ranges = Ranges::of(section, profile, &mut graph)?;
        let found = search(&mut graph, &ranges.list);
        root = graph.branch(equal(Word::ARCH, audit(*arch)), found, root);
    }
    emit(&graph, root)
}

/// The numbers of an architecture, each range with its first number and what decides about it.
struct Ranges {
    list: Vec<(u32, Node)>,
}

impl Ranges {
    fn of(section: &[Arch], profile: &Profile, graph: &mut Graph) -> Result<Self> {
        let mut ranges = Self { list: Vec::new() };
        let lists = |arch| section.contains(&arch);
        let x86_64 = lists(Arch::ScmpArchX86_64) || lists(Arch::ScmpArchX32);
        if x86_64 && !lists(Arch::ScmpArchX86_64) {
            ranges.push(0, graph.verdict(FOREIGN));
        }
        for arch in section {
            let first = if *arch == Arch::ScmpArchX32 { X32 } else { 0 };
            ranges.fill(first, &profile.calls(*arch), profile, graph)?;
        }
        if x86_64 && !lists(Arch::ScmpArchX32) {
            ranges.push(X32, graph.verdict(FOREIGN));
            // A tracer sets this number to skip a call, which is then looked at again
            // (seccomp(2)).
            ranges.push(u32::MAX, graph.verdict(profile.default));
        }
        Ok(ranges)
    }

    /// Adds the numbers of one architecture, from `first` on.
    fn fill(
        &mut self,
        first: u32,
        calls: &Calls<'_>,
        profile: &Profile,
        graph: &mut Graph,
    ) -> Result<()> {
        let default = graph.verdict(profile.default);
        let enosys = graph.verdict(NO_SUCH_CALL);
        let unknown = if profile.unknown_is_enosys { enosys } else { default };
        self.push(first, default);
        let is_s390 = matches!(calls.arch(), Arch::ScmpArchS390x | Arch::ScmpArchS390);
        if is_s390 && profile.unknown_is_enosys {
            // The kernel reports a number that it does not know as 0, which was setup(2).
            self.push(0, enosys);
            self.push(1, default);
        }
        for (number, rules) in calls.decisions() {
            let decision = decide(graph, rules.rules(), calls.arch(), default);
            self.push(number, decision);
            self.push(number.saturating_add(1), default);
            ensure!(
                graph.len() <= MAX_NODES,
                "linux.seccomp: the profile is too large for the instructions that the kernel takes"
            );
        }
        if let Some(newest) = calls.newest {
            self.push(newest.saturating_add(1), unknown);
        }
        Ok(())
    }

    /// Ends the last range before `first` and begins another one.
    fn push(&mut self, first: u32, node: Node) {
        while self.list.last().is_some_and(|(last, _)| *last >= first) {
            self.list.pop();
        }
        if self.list.last().is_none_or(|(_, last)| *last != node) {
            self.list.push((first, node));
        }
    }
}

/// Finds the range of a number in as few steps as there are doublings.
fn search(graph: &mut Graph, ranges: &[(u32, Node)]) -> Node {
    match ranges {
        [(_, only)] => *only,
        // One number that is unlike those around it.
        [(_, around), (number, inside), (next, after)]
            if around == after && number + 1 == *next =>
        {
            graph.branch(equal(Word::NUMBER, *number), *inside, *around)
        }
        _ => {
            let (below, above) = ranges.split_at(ranges.len() / 2);
            let Some((first, _)) = above.first() else { return graph.verdict(FOREIGN) };
            let test = Test { word: Word::NUMBER, comparison: Comparison::AtLeast, value: *first };
            let (above, below) = (search(graph, above), search(graph, below));
            graph.branch(test, above, below)
        }
    }
}

fn equal(word: Word, value: u32) -> Test {
    Test { word, comparison: Comparison::Equal { mask: u32::MAX }, value }
}

/// The tests of the arguments of one call.
fn decide(graph: &mut Graph, rules: &[&Rule], arch: Arch, default: Node) -> Node {
    let mut builder = Arguments { limit: graph.len() + SIMPLIFIED, graph, arch };
    rules.iter().rev().fold(default, |otherwise, rule| builder.rule(rule, otherwise))
}

struct Arguments<'a> {
    graph: &'a mut Graph,
    arch: Arch,
    /// With more nodes than this the graph is not simplified any more.
    limit: usize,
}

impl Arguments<'_> {
    fn rule(&mut self, rule: &Rule, otherwise: Node) -> Node {
        let action = self.graph.verdict(rule.action);
        let conditions = rule.conditions.iter().rev();
        conditions
            .filter_map(|condition| condition.seen_by(self.arch))
            .collect::<Vec<_>>()
            .into_iter()
            .fold(action, |then, condition| self.condition(condition, then, otherwise))
    }

    fn condition(&mut self, condition: Condition, then: Node, otherwise: Node) -> Node {
        let Condition { index, operator, mask, value } = condition;
        let (comparison, yes, no) = match operator {
            Operator::ScmpCmpEq | Operator::ScmpCmpMaskedEq => {
                return self.equal(index, mask, value, then, otherwise);
            }
            Operator::ScmpCmpNe => return self.equal(index, mask, value, otherwise, then),
            Operator::ScmpCmpGt => (Comparison::Greater, then, otherwise),
            Operator::ScmpCmpLe => (Comparison::Greater, otherwise, then),
            Operator::ScmpCmpGe => (Comparison::AtLeast, then, otherwise),
            Operator::ScmpCmpLt => (Comparison::AtLeast, otherwise, then),
        };
        let low = Test { word: self.word(index, false), comparison, value: low(value) };
        let low = self.branch(low, yes, no);
        if !is_wide(self.arch) {
            return low;
        }
        let word = self.word(index, true);
        let same = self.branch(equal(word, high(value)), low, no);
        let above = Test { word, comparison: Comparison::Greater, value: high(value) };
        self.branch(above, yes, same)
    }

    fn equal(&mut self, index: u8, mask: u64, value: u64, yes: Node, no: Node) -> Node {
        let bits = |word, mask, value| Test { word, comparison: Comparison::Equal { mask }, value };
        let test = bits(self.word(index, false), low(mask), low(value));
        let low = self.branch(test, yes, no);
        if !is_wide(self.arch) {
            return low;
        }
        let test = bits(self.word(index, true), high(mask), high(value));
        self.branch(test, low, no)
    }

    /// The offset of an argument in `struct seccomp_data`, or of its upper half.
    fn word(&self, index: u8, high: bool) -> Word {
        let second = high == is_little_endian(self.arch);
        Word(16 + 8 * index + if second { 4 } else { 0 })
    }

    fn branch(&mut self, test: Test, yes: Node, no: Node) -> Node {
        if self.graph.len() < self.limit {
            self.graph.branch_assuming(test, yes, no)
        } else {
            self.graph.branch(test, yes, no)
        }
    }
}

fn low(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}

fn high(value: u64) -> u32 {
    (value >> 32) as u32
}
