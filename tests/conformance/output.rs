//! Reads what a program of the suite prints.
//!
//! It is TAP only roughly. A program may print several plans, one for each container whose own
//! output it passes on; `1..0` with a failure that is only an `error` in a YAML block; or nothing
//! at all when it succeeds. An `error` in a block after a result is none: it tells what a command
//! that had to fail said.

use std::collections::BTreeSet;

/// One point of a test's outcome that is not as it should be, as `expected.txt` spells it.
pub type Point = String;

/// Joins points for a message.
pub fn listed(points: &BTreeSet<Point>) -> String {
    let words: Vec<_> = points.iter().map(String::as_str).collect();
    if words.is_empty() { "nothing".to_string() } else { words.join(",") }
}

/// What a test made of the runtime.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The points that failed: `#3` for the third result, `error` for one outside of results,
    /// `exit` for a program that failed, `plan` for results that are missing.
    pub failed: BTreeSet<Point>,
}

/// What the previous lines were.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Result,
    Block,
    Other,
}

/// Reads the output of a program that ended with this code.
pub fn read(stdout: &str, code: i32) -> Outcome {
    let mut failed = BTreeSet::new();
    let (mut results, mut planned, mut plans) = (0, 0, 0);
    let mut after = After::Other;
    let mut lines = stdout.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "---" {
            let error = lines
                .by_ref()
                .take_while(|line| line.trim() != "...")
                .any(|line| line.trim_start().starts_with("\"error\":"));
            if error && after != After::Result {
                failed.insert("error".to_string());
            }
            after = After::Block;
        } else if let Some(count) = line.strip_prefix("1..") {
            let digits: String = count.chars().take_while(char::is_ascii_digit).collect();
            planned += digits.parse().unwrap_or(0);
            plans += 1;
            after = After::Other;
        } else if is_result(line) {
            results += 1;
            if line.starts_with("not ok") {
                failed.insert(format!("#{results}"));
            }
            after = After::Result;
        }
    }
    if code != 0 {
        failed.insert("exit".to_string());
    } else if planned != results || plans == 0 && results > 0 {
        failed.insert("plan".to_string());
    }
    Outcome { failed }
}

fn is_result(line: &str) -> bool {
    let rest = line.strip_prefix("not ").unwrap_or(line);
    rest.strip_prefix("ok").is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}
