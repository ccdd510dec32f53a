//! The validation suite of opencontainers/runtime-tools, run against the real binary.
//!
//! `make conformance` builds the suite's programs at the version that `go.mod` names. Each runs
//! in mounts of its own, since one of them mounts over the host, and its output is read by
//! `output.rs`. `expected.txt` names what cannot pass, and why; a test that fails without being
//! named there, or passes although it is, fails the target.
//!
//! `RUNTIME=/usr/sbin/runc` runs the same tests against another runtime.

#![allow(unreachable_pub, clippy::print_stdout, reason = "a test is nobody's library")]

mod expected;
mod harness;
mod output;
mod reading;
mod sandbox;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use expected::Expected;

fn main() -> ExitCode {
    if let Some(program) = sandbox::program() {
        return sandbox::execute(&program);
    }
    let arguments = Arguments::from_args();
    if !nix::unistd::geteuid().is_root() && !arguments.list {
        println!("conformance needs root");
        return ExitCode::FAILURE;
    }
    if !sandbox::is_inside() && !arguments.list {
        return sandbox::run_inside();
    }
    if !arguments.list {
        sandbox::enter();
    }
    let mut arguments = arguments;
    // The suite's programs share names of cgroups.
    arguments.test_threads = Some(1);
    let conclusion = libtest_mimic::run(&arguments, trials());
    sandbox::remove_cgroups();
    conclusion.exit_code()
}

fn trials() -> Vec<Trial> {
    let programs = sandbox::programs();
    assert!(!programs.is_empty(), "the suite is not built: make conformance does that");
    let list = Expected::read();
    let names: BTreeSet<_> = programs.iter().map(|program| name(program)).collect();
    let strangers: Vec<_> = list.names().filter(|name| !names.contains(*name)).collect();
    let mut trials = reading::trials();
    trials.push(Trial::test("expected::names_are_those_of_tests", {
        let text = strangers.join(", ");
        move || if text.is_empty() { Ok(()) } else { Err(Failed::from(format!("no test {text}"))) }
    }));
    for program in programs {
        let name = name(&program);
        let wanted = list.of(&name);
        let missing = expected::missing(&name);
        let trial = Trial::test(format!("suite::{name}"), move || run(&program, &wanted));
        // What this machine cannot do is shown as ignored, with the reason in its kind.
        trials.push(match missing {
            Some(why) => trial.with_ignored_flag(true).with_kind(why),
            None => trial,
        });
    }
    trials
}

fn name(program: &Path) -> String {
    program.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Runs a program of the suite, and once more as long as luck may have decided.
fn run(program: &Path, wanted: &expected::Test) -> Result<(), Failed> {
    let mut last = String::new();
    for attempt in 1..=wanted.tries {
        let (outcome, text) = sandbox::run(program);
        let Some(complaint) = wanted.complaint(&outcome) else {
            if attempt > 1 {
                println!("{} passed at try {attempt}: {}", name(program), wanted.why_racy);
            }
            return Ok(());
        };
        last = format!("{complaint}\n{text}");
    }
    Err(last.into())
}
