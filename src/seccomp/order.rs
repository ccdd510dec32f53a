//! Which of several rules for one call comes first, if all of them have conditions.
//!
//! The specification does not say. libseccomp asks its questions in an order of its own, and
//! profiles rely on what came out of that, so rules are put into the same order: those whose first
//! condition is on a later argument come first, then equality before «at most» before «at least»,
//! then by value. libseccomp compares 32 bits at a time and joins rules that begin with equal
//! comparisons, so the same is done here: each rule is a path of comparisons, and paths are
//! entered into a tree with sorted levels.

use oci_spec::runtime::{Arch, LinuxSeccompOperator as Operator};

use super::arch::is_wide;
use super::rules::{Condition, Rule};

/// Sorts the rules; those that can never decide are left out.
pub(super) fn by_precedence(rules: Vec<&Rule>, arch: Arch) -> Vec<&Rule> {
    if rules.len() < 2 {
        return rules;
    }
    let mut tree = Level::default();
    for rule in rules {
        tree.add(&path(rule, arch), rule);
    }
    let mut sorted = Vec::new();
    tree.collect(&mut sorted);
    sorted
}

/// How a word is compared; the way that a path takes is a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Equal,
    EqualBits,
    Greater,
    AtLeast,
}

/// One comparison of one word.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// The argument and its half: the later, the earlier asked.
    word: u8,
    question: Question,
    mask: u32,
    value: u32,
    /// Of the condition that it belongs to.
    operator: Operator,
    /// Which answer leads on.
    answer: bool,
}

impl Step {
    fn is_same_question(&self, other: &Self) -> bool {
        let parts = |step: &Self| (step.word, step.question, step.mask, step.value);
        parts(self) == parts(other)
    }

    /// Whether this one is asked after the other.
    fn is_after(&self, other: &Self) -> bool {
        let rank = |step: &Self| match step.operator {
            Operator::ScmpCmpEq | Operator::ScmpCmpNe | Operator::ScmpCmpMaskedEq => 3,
            Operator::ScmpCmpLe | Operator::ScmpCmpLt => 2,
            Operator::ScmpCmpGe | Operator::ScmpCmpGt => 1,
        };
        let (own, others) = ((self.word, rank(self)), (other.word, rank(other)));
        match (own == others, rank(self)) {
            (false, _) => own < others,
            (true, 2) => self.value > other.value,
            (true, _) => self.value < other.value,
        }
    }
}

fn path(rule: &Rule, arch: Arch) -> Vec<Step> {
    let seen = rule.conditions.iter().filter_map(|condition| condition.seen_by(arch));
    seen.flat_map(|condition| steps(condition, is_wide(arch))).collect()
}

fn steps(condition: Condition, wide: bool) -> Vec<Step> {
    let Condition { index, operator, mask, value } = condition;
    let word = |high: bool, question: Question, answer: bool| Step {
        word: index * 2 + u8::from(high),
        question,
        mask: half(mask, high),
        value: half(value, high),
        operator,
        answer,
    };
    let (question, answer) = match operator {
        Operator::ScmpCmpEq => (Question::Equal, true),
        Operator::ScmpCmpNe => (Question::Equal, false),
        Operator::ScmpCmpMaskedEq => (Question::EqualBits, true),
        Operator::ScmpCmpGt => (Question::Greater, true),
        Operator::ScmpCmpLe => (Question::Greater, false),
        Operator::ScmpCmpGe => (Question::AtLeast, true),
        Operator::ScmpCmpLt => (Question::AtLeast, false),
    };
    let low = word(false, question, answer);
    match (wide, question) {
        (false, _) => vec![low],
        (true, Question::Equal | Question::EqualBits) => vec![word(true, question, true), low],
        (true, Question::Greater | Question::AtLeast) => {
            vec![word(true, Question::Greater, false), word(true, Question::Equal, true), low]
        }
    }
}

fn half(value: u64, high: bool) -> u32 {
    if high { (value >> 32) as u32 } else { (value & 0xffff_ffff) as u32 }
}

/// The comparisons that are made when the same ones came before.
#[derive(Default)]
struct Level<'a> {
    nodes: Vec<Node<'a>>,
    /// The rule whose path ends here: what comes later is never asked.
    end: Option<&'a Rule>,
}

struct Node<'a> {
    step: Step,
    /// After yes and after no.
    next: [Level<'a>; 2],
}

impl<'a> Level<'a> {
    fn add(&mut self, path: &[Step], rule: &'a Rule) {
        let Some((step, rest)) = path.split_first() else {
            self.end = self.end.or(Some(rule));
            return;
        };
        if self.end.is_some() {
            return;
        }
        let mut index = 0;
        while let Some(node) = self.nodes.get_mut(index) {
            if node.step.is_same_question(step) {
                return node.next_mut(step.answer).add(rest, rule);
            }
            if node.step.is_after(step) {
                break;
            }
            index += 1;
        }
        let mut node = Node { step: *step, next: Default::default() };
        node.next_mut(step.answer).add(rest, rule);
        self.nodes.insert(index, node);
    }

    fn collect(&self, into: &mut Vec<&'a Rule>) {
        for node in &self.nodes {
            node.next.iter().for_each(|level| level.collect(into));
        }
        into.extend(self.end);
    }
}

impl<'a> Node<'a> {
    fn next_mut(&mut self, answer: bool) -> &mut Level<'a> {
        let [yes, no] = &mut self.next;
        if answer { yes } else { no }
    }
}
