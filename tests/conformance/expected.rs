//! `expected.txt`: what cannot pass, what may or may not, and what luck decides about.

use std::collections::BTreeSet;

use crate::harness::host;
use crate::output::{Outcome, Point, listed};

/// The whole list.
pub struct Expected {
    lines: Vec<Line>,
}

/// One line: `fails TEST POINTS WHERE REASON`, `either TEST POINTS WHERE REASON` or
/// `racy TEST TRIES WHERE REASON`.
struct Line {
    kind: String,
    test: String,
    value: String,
    reason: String,
}

/// What is known about one test on this machine.
#[derive(Clone)]
pub struct Test {
    fails: BTreeSet<Point>,
    either: BTreeSet<Point>,
    /// How often it may run.
    pub tries: u32,
    /// Why more than once.
    pub why_racy: String,
}

impl Expected {
    /// Reads the lines that hold for this machine.
    pub fn read() -> Self {
        let lines = include_str!("expected.txt").lines();
        let lines = lines.filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        Self { lines: lines.filter_map(line).collect() }
    }

    /// The names of all tests in it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(|line| line.test.as_str())
    }

    /// What is known about one test.
    pub fn of(&self, name: &str) -> Test {
        let mut test = Test {
            fails: BTreeSet::new(),
            either: BTreeSet::new(),
            tries: 1,
            why_racy: String::new(),
        };
        for line in self.lines.iter().filter(|line| line.test == name) {
            let points = || line.value.split(',').map(str::to_string);
            match line.kind.as_str() {
                "fails" => test.fails.extend(points()),
                "either" => test.either.extend(points()),
                _ => {
                    test.tries = line.value.parse().expect("how often a racy test may run");
                    test.why_racy.clone_from(&line.reason);
                }
            }
        }
        test
    }
}

fn line(text: &str) -> Option<Line> {
    let words: Vec<_> = text.split_whitespace().collect();
    let [kind, test, value, place, reason @ ..] = words.as_slice() else {
        panic!("expected.txt: {text}")
    };
    let known = ["fails", "either", "racy"].contains(kind) && !reason.is_empty();
    assert!(known, "expected.txt: {text}");
    holds_here(place).then(|| Line {
        kind: (*kind).to_string(),
        test: (*test).to_string(),
        value: (*value).to_string(),
        reason: reason.join(" "),
    })
}

/// Whether this is a machine of which a line speaks.
fn holds_here(place: &str) -> bool {
    match place {
        "everywhere" => true,
        "without-sys-resource" => !host::has_sys_resource(),
        "without-hugetlb" => !host::cgroup("hugetlb", "").exists(),
        "without-leaf-weight" => !host::cgroup("blkio", "blkio.leaf_weight").exists(),
        "without-net" => !host::cgroup("net_cls", "").exists(),
        _ => panic!("expected.txt: what is {place}?"),
    }
}

/// Why a test cannot run here at all.
pub fn missing(name: &str) -> Option<&'static str> {
    let wants_v1 = name.starts_with("linux_cgroups_") || name == "delete_resources";
    (wants_v1 && host::is_v2()).then_some("needs cgroup v1")
}

impl Test {
    /// What is wrong with an outcome, if anything is.
    pub fn complaint(&self, outcome: &Outcome) -> Option<String> {
        let known: BTreeSet<_> = self.fails.union(&self.either).cloned().collect();
        let new: BTreeSet<_> = outcome.failed.difference(&known).cloned().collect();
        let passed: BTreeSet<_> = self.fails.difference(&outcome.failed).cloned().collect();
        let mut complaints = Vec::new();
        if !new.is_empty() {
            complaints.push(format!("fails: {}", listed(&new)));
        }
        if !passed.is_empty() {
            complaints.push(format!("listed as failing, but passes: {}", listed(&passed)));
        }
        (!complaints.is_empty()).then(|| complaints.join("; "))
    }
}
