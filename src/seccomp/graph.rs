//! Decisions as a graph: tests with two ways out, and verdicts at the ends.
//!
//! Equal parts exist once, whoever asks for them: that is how tails are shared, within a call,
//! between calls and between architectures. A node is made after those it leads to, so the graph
//! has no circles.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A word of 32 bits of the kernel's `struct seccomp_data`, by its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Word(pub(super) u8);

impl Word {
    /// The number of the call.
    pub(super) const NUMBER: Self = Self(0);
    /// Its architecture.
    pub(super) const ARCH: Self = Self(4);
}

/// How a word is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Comparison {
    /// The bits of the mask are those of the value.
    Equal { mask: u32 },
    /// Unsigned.
    Greater,
    /// Unsigned.
    AtLeast,
}

/// A question with two answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Test {
    pub(super) word: Word,
    pub(super) comparison: Comparison,
    pub(super) value: u32,
}

/// A node of a [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Node(u32);

impl Node {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// What is at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// The end, with the value that the program returns.
    Verdict(u32),
    /// A test and where it leads.
    Branch { test: Test, yes: Node, no: Node },
}

/// All nodes.
#[derive(Debug, Default)]
pub(super) struct Graph {
    kinds: Vec<Kind>,
    known: Map<Kind, Node>,
}

type Map<K, V> = HashMap<K, V, BuildHasherDefault<Mixer>>;

/// A hash of few instructions: looking nodes up is most of the work of compiling. Whoever writes
/// a profile in which many collide waits for the compiler alone.
#[derive(Debug, Default)]
pub(super) struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        // The map takes the lowest and the highest bits; only those in the middle are well mixed.
        self.0 ^ self.0 >> 29
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(value.into());
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value.cast_unsigned() as u64);
    }

    fn write_u64(&mut self, value: u64) {
        // An odd number with as many ones as zeroes: 2^64 divided by the golden ratio.
        self.0 = (self.0.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Graph {
    pub(super) fn len(&self) -> usize {
        self.kinds.len()
    }

    pub(super) fn kind(&self, node: Node) -> Kind {
        // Nodes come from this graph alone.
        self.kinds.get(node.index()).copied().unwrap_or(Kind::Verdict(0))
    }

    fn node(&mut self, kind: Kind) -> Node {
        *self.known.entry(kind).or_insert_with(|| {
            self.kinds.push(kind);
            Node(u32::try_from(self.kinds.len() - 1).unwrap_or(u32::MAX))
        })
    }

    pub(super) fn verdict(&mut self, value: u32) -> Node {
        self.node(Kind::Verdict(value))
    }

    /// A test, unless its answer is known or does not matter.
    pub(super) fn branch(&mut self, test: Test, yes: Node, no: Node) -> Node {
        match test.always() {
            Some(answer) => pick(answer, yes, no),
            None if yes == no => yes,
            None => self.node(Kind::Branch { test, yes, no }),
        }
    }

    /// As [`Graph::branch`], after both ways were relieved of what this test already answers.
    pub(super) fn branch_assuming(&mut self, test: Test, yes: Node, no: Node) -> Node {
        if let Some(answer) = test.always() {
            return pick(answer, yes, no);
        }
        let yes = self.assume(yes, test, true, &mut Map::default());
        let no = self.assume(no, test, false, &mut Map::default());
        self.branch(test, yes, no)
    }

    /// The node without tests whose answers follow from that of `test`.
    fn assume(&mut self, node: Node, test: Test, answer: bool, done: &mut Map<Node, Node>) -> Node {
        let Kind::Branch { test: own, yes, no } = self.kind(node) else { return node };
        if let Some(known) = done.get(&node) {
            return *known;
        }
        let simpler = match test.implies(answer, own) {
            Some(follows) => self.assume(pick(follows, yes, no), test, answer, done),
            None => {
                let new_yes = self.assume(yes, test, answer, done);
                let new_no = self.assume(no, test, answer, done);
                self.branch(own, new_yes, new_no)
            }
        };
        done.insert(node, simpler);
        simpler
    }
}

fn pick(answer: bool, yes: Node, no: Node) -> Node {
    if answer { yes } else { no }
}

impl Test {
    /// The answer, if it is the same for every word.
    fn always(self) -> Option<bool> {
        match self.comparison {
            Comparison::Equal { mask } if self.value & !mask != 0 => Some(false),
            Comparison::Equal { mask: 0 } | Comparison::AtLeast if self.value == 0 => Some(true),
            Comparison::Greater if self.value == u32::MAX => Some(false),
            _ => None,
        }
    }

    fn answer(self, word: u32) -> bool {
        match self.comparison {
            Comparison::Equal { mask } => word & mask == self.value,
            Comparison::Greater => word > self.value,
            Comparison::AtLeast => word >= self.value,
        }
    }

    /// What follows for `other` from an answer to this one, if anything does.
    fn implies(self, answer: bool, other: Self) -> Option<bool> {
        if self.word != other.word || other.always().is_some() {
            return other.always();
        }
        if self == other {
            return Some(answer);
        }
        match (self.comparison, answer) {
            (Comparison::Equal { mask: u32::MAX }, true) => Some(other.answer(self.value)),
            (Comparison::Equal { mask }, true) => other.answer_for_bits(mask, self.value),
            (Comparison::Equal { .. }, false) => None,
            (Comparison::Greater, true) => other.answer_between(self.value + 1, u32::MAX),
            (Comparison::Greater, false) => other.answer_between(0, self.value),
            (Comparison::AtLeast, true) => other.answer_between(self.value, u32::MAX),
            (Comparison::AtLeast, false) => other.answer_between(0, self.value - 1),
        }
    }

    /// The answer for all words in a range, if they agree.
    fn answer_between(self, first: u32, last: u32) -> Option<bool> {
        match self.comparison {
            Comparison::Equal { mask: u32::MAX } if self.value < first || self.value > last => {
                Some(false)
            }
            Comparison::Equal { .. } if first < last => None,
            _ => {
                let answer = self.answer(first);
                (answer == self.answer(last)).then_some(answer)
            }
        }
    }

    /// The answer for all words with these bits under a mask, if they agree.
    fn answer_for_bits(self, mask: u32, bits: u32) -> Option<bool> {
        let Comparison::Equal { mask: own } = self.comparison else { return None };
        if (self.value ^ bits) & own & mask != 0 {
            return Some(false);
        }
        (own & !mask == 0).then_some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(comparison: Comparison, value: u32) -> Test {
        Test { word: Word(16), comparison, value }
    }

    /// All tests of small values, to be compared with trying all small words and the ends.
    fn tests() -> Vec<Test> {
        let comparisons = [
            Comparison::Equal { mask: u32::MAX },
            Comparison::Equal { mask: 6 },
            Comparison::Equal { mask: 3 },
            Comparison::Equal { mask: 2 },
            Comparison::Greater,
            Comparison::AtLeast,
        ];
        let values = [0, 1, 2, 3, 4, 6, 7, u32::MAX - 1, u32::MAX];
        comparisons.iter().flat_map(|c| values.map(|value| test(*c, value))).collect()
    }

    const WORDS: [u32; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, u32::MAX - 2, u32::MAX - 1, u32::MAX];

    #[test]
    fn what_is_implied_is_true() {
        for one in tests().into_iter().filter(|test| test.always().is_none()) {
            for (other, word) in tests().iter().flat_map(|test| WORDS.map(|word| (*test, word))) {
                let implied = one.implies(one.answer(word), other);
                let right = implied.is_none_or(|implied| implied == other.answer(word));
                assert!(right, "{one:?} {other:?} {word}");
            }
        }
    }

    #[test]
    fn what_is_always_so_is_so() {
        for test in tests() {
            if let Some(always) = test.always() {
                assert!(WORDS.iter().all(|word| test.answer(*word) == always), "{test:?}");
            }
        }
    }

    #[test]
    fn equal_parts_exist_once() {
        let mut graph = Graph::default();
        let equal = Comparison::Equal { mask: u32::MAX };
        let (allow, deny) = (graph.verdict(1), graph.verdict(2));
        let one = graph.branch(test(equal, 5), allow, deny);
        let again = graph.branch(test(equal, 5), allow, deny);
        assert_eq!(one, again);
        assert_eq!(graph.branch(test(equal, 6), one, one), one);
        // Another value than 5 cannot be 5.
        let known = graph.branch_assuming(test(equal, 6), one, one);
        assert_eq!(graph.kind(known), Kind::Branch { test: test(equal, 6), yes: deny, no: one });
    }
}
