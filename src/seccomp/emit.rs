//! From a graph to instructions of classic BPF.
//!
//! Only those are used that the kernel runs at load time to find calls which are always allowed
//! (`seccomp_is_const_allow`, Linux 5.11): such a call costs one look into a bitmap.
//!
//! Jumps go forward and a condition reaches 255 instructions far, so the program is written from
//! its end: when a jump is written, the place it goes to is known.

use anyhow::{Result, ensure};
use libc::sock_filter;

use super::graph::{Comparison, Graph, Kind, Node, Test, Word};

/// `BPF_MAXINSNS` of the kernel.
const MAX_INSTRUCTIONS: usize = 4096;

// linux/filter.h and linux/bpf_common.h
const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const JUMP_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const JUMP_ANY_BIT: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// The farthest that a condition may reach, less one that may still be written between.
const REACH: usize = 254;

/// Writes the program that decides as `root` does.
///
/// # Errors
/// When it gets longer than the kernel takes.
pub(super) fn emit(graph: &Graph, root: Node) -> Result<Vec<sock_filter>> {
    let order = children_first(graph, root);
    let mut writer = Writer {
        graph,
        code: Vec::with_capacity(order.len() * 2),
        places: vec![Place::default(); graph.len()],
        load: loads(graph, &order, root),
    };
    for node in order {
        writer.write(node);
        let count = writer.code.len();
        ensure!(
            count <= MAX_INSTRUCTIONS,
            "linux.seccomp: the profile needs more than the {MAX_INSTRUCTIONS} instructions that \
            the kernel takes"
        );
    }
    writer.code.reverse();
    Ok(writer.code)
}

/// The nodes that can be reached, each after those it leads to. The larger part of a search comes
/// first, which is last in the program.
fn children_first(graph: &Graph, root: Node) -> Vec<Node> {
    let mut order = Vec::new();
    let mut seen = vec![false; graph.len()];
    let mut stack = vec![(root, false)];
    while let Some((node, children_done)) = stack.pop() {
        if children_done {
            order.push(node);
            continue;
        }
        let Some(seen) = seen.get_mut(node.index()).filter(|seen| !**seen) else { continue };
        *seen = true;
        stack.push((node, true));
        if let Kind::Branch { yes, no, .. } = graph.kind(node) {
            stack.push((no, false));
            stack.push((yes, false));
        }
    }
    order
}

/// Which nodes have to load their word, as somebody comes to them who has another one.
fn loads(graph: &Graph, order: &[Node], root: Node) -> Vec<bool> {
    let mut load = vec![false; graph.len()];
    let mut need = |node: Node| {
        if let Some(load) = load.get_mut(node.index()) {
            *load = true;
        }
    };
    need(root);
    for node in order {
        let Kind::Branch { test, yes, no } = graph.kind(*node) else { continue };
        for child in [yes, no] {
            let Kind::Branch { test: next, .. } = graph.kind(child) else { continue };
            if Some(next.word) != test.leaves() {
                need(child);
            }
        }
    }
    load
}

impl Test {
    /// The word that is still whole in the accumulator afterwards.
    fn leaves(self) -> Option<Word> {
        (!self.needs_and()).then_some(self.word)
    }

    /// Whether some bits have to be cut out; if they are to be zero, one instruction does that.
    fn needs_and(self) -> bool {
        matches!(self.comparison, Comparison::Equal { mask } if mask != u32::MAX && self.value != 0)
    }

    /// The instruction, its constant, and whether its answer is the opposite.
    fn jump(self) -> (u16, u32, bool) {
        match self.comparison {
            Comparison::Equal { mask } if mask != u32::MAX && self.value == 0 => {
                (JUMP_ANY_BIT, mask, true)
            }
            Comparison::Equal { .. } => (JUMP_EQUAL, self.value, false),
            Comparison::Greater => (JUMP_GREATER, self.value, false),
            Comparison::AtLeast => (JUMP_AT_LEAST, self.value, false),
        }
    }
}

/// Where a node begins, counted from the end of the program.
#[derive(Clone, Copy, Default)]
struct Place {
    /// For those who come with another word.
    start: usize,
    /// For those who come with its word.
    loaded: usize,
}

struct Writer<'a> {
    graph: &'a Graph,
    /// From the end to the beginning.
    code: Vec<sock_filter>,
    places: Vec<Place>,
    load: Vec<bool>,
}

impl Writer<'_> {
    fn push(&mut self, code: u16, k: u32) -> usize {
        self.code.push(sock_filter { code, jt: 0, jf: 0, k });
        self.code.len() - 1
    }

    fn place(&self, node: Node) -> Place {
        self.places.get(node.index()).copied().unwrap_or_default()
    }

    fn set_place(&mut self, node: Node, place: Place) {
        if let Some(slot) = self.places.get_mut(node.index()) {
            *slot = place;
        }
    }

    fn write(&mut self, node: Node) {
        let (test, yes, no) = match self.graph.kind(node) {
            Kind::Verdict(value) => return self.write_verdict(node, value),
            Kind::Branch { test, yes, no } => (test, yes, no),
        };
        let (code, k, opposite) = test.jump();
        let (yes, no) = if opposite { (no, yes) } else { (yes, no) };
        let no = self.within_reach(no, test);
        let yes = self.within_reach(yes, test);
        let here = self.code.len();
        // Both were brought within reach of a byte.
        let distance = |to: usize| u8::try_from(here - to - 1).unwrap_or(u8::MAX);
        self.code.push(sock_filter { code, jt: distance(yes), jf: distance(no), k });
        let mut loaded = here;
        if let (true, Comparison::Equal { mask }) = (test.needs_and(), test.comparison) {
            loaded = self.push(AND, mask);
        }
        let mut start = loaded;
        if self.load.get(node.index()) == Some(&true) {
            start = self.push(LOAD, test.word.0.into());
        }
        self.set_place(node, Place { start, loaded });
    }

    fn write_verdict(&mut self, node: Node, value: u32) {
        let start = self.push(RETURN, value);
        self.set_place(node, Place { start, loaded: start });
    }

    /// The place of a node, or of a long jump to it, or of a verdict once more.
    fn within_reach(&mut self, node: Node, from: Test) -> usize {
        let place = self.place(node);
        let to = match self.graph.kind(node) {
            Kind::Branch { test, .. } if Some(test.word) == from.leaves() => place.loaded,
            _ => place.start,
        };
        let here = self.code.len();
        if here - to <= REACH {
            return to;
        }
        if let Kind::Verdict(value) = self.graph.kind(node) {
            self.write_verdict(node, value);
            return here;
        }
        // The length of a program is far below what a constant holds.
        self.push(JUMP, u32::try_from(here - to - 1).unwrap_or(u32::MAX))
    }
}
