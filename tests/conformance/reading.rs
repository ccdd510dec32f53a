//! Tests of the reader: each of the suite's ways to say what happened.

use libtest_mimic::{Failed, Trial};

use crate::output::{listed, read};

/// Name, what the program printed, its exit code, and the points that failed.
const CASES: [(&str, &str, i32, &str); 12] = [
    ("nothing_is_success", "", 0, "nothing"),
    ("nothing_and_a_status_is_failure", "", 1, "exit"),
    ("a_plan_at_the_end", "TAP version 13\nok 1 - a\nok 2 - b\n1..2\n", 0, "nothing"),
    ("a_plan_at_the_beginning", "TAP version 13\n1..2\nok 1 - a\nnot ok 2 - b\n", 0, "#2"),
    ("several_plans", "ok 1\n1..1\nTAP version 13\nok 1\nnot ok 2\n1..2\n", 0, "#3"),
    ("a_result_too_few", "ok 1\n1..2\n", 0, "plan"),
    ("no_plan", "ok 1\n", 0, "plan"),
    ("a_program_that_ends_early", "TAP version 13\nnot ok 1\n", 1, "#1,exit"),
    (
        "an_empty_plan_with_an_error",
        "TAP version 13\n  ---\n  {\n    \"error\": \"late\"\n  }\n  ...\n1..0\n",
        0,
        "error",
    ),
    ("an_empty_plan", "TAP version 13\n1..0\n", 0, "nothing"),
    (
        "the_error_of_a_command_that_had_to_fail",
        "ok 1 - a\n  ---\n  {\n    \"error\": \"exit status 1\"\n  }\n  ...\n1..1\n",
        0,
        "nothing",
    ),
    (
        "an_error_in_place_of_a_result",
        "ok 1\n  ---\n  {\n  }\n  ...\n  ---\n  {\n    \"error\": \"x\"\n  }\n  ...\n1..1\n",
        0,
        "error",
    ),
];

/// The cases as tests.
pub fn trials() -> Vec<Trial> {
    let trial = |(name, text, code, want): (&str, &'static str, i32, &'static str)| {
        Trial::test(format!("reading::{name}"), move || {
            let got = listed(&read(text, code).failed);
            if got == want { Ok(()) } else { Err(Failed::from(format!("{got}, not {want}"))) }
        })
    };
    CASES.into_iter().map(trial).collect()
}
