//! Which tests there are, which of them can run here, and whether all of them did.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use super::host::Needs;

/// One test.
pub struct Test {
    /// Its function's name.
    pub name: &'static str,
    /// What it does; a panic is a failure.
    pub run: fn(),
    /// What the machine has to have.
    pub needs: &'static [Needs],
    /// Where runc behaves otherwise, in a few words.
    pub unlike_runc: Option<&'static str>,
}

/// Lists tests by their functions: `name`, `name needs [Need]`, `name unlike runc "how"`.
#[macro_export]
macro_rules! tests {
    ($($name:ident $(needs [$($need:ident),*])? $(unlike runc $how:literal)?),* $(,)?) => {
        pub const TESTS: &[$crate::harness::suite::Test] = &[$(
            $crate::harness::suite::Test {
                name: stringify!($name),
                run: $name,
                needs: &[$($($crate::harness::host::Needs::$need),*)?],
                unlike_runc: $crate::tests!(@how $($how)?),
            }
        ),*];
    };
    (@how) => { None };
    (@how $how:literal) => { Some($how) };
}

/// The tests of one file.
pub struct Suite {
    /// Its name.
    pub name: &'static str,
    /// Its tests.
    pub tests: &'static [Test],
}

/// Runs the tests that were asked for; when nobody asks for any by name, those that are `meant`.
pub fn run(suites: &[Suite], meant: fn(&str) -> bool) -> ExitCode {
    let arguments = Arguments::from_args();
    let other_runtime = std::env::var_os("RUNTIME").is_some();
    let filtered = arguments.filter.is_some() || arguments.list;
    let mut trials = Vec::new();
    let mut skipped = BTreeMap::new();
    for suite in suites {
        for test in suite.tests {
            let name = format!("{}::{}", suite.name, test.name);
            if !filtered && !meant(&name) {
                continue;
            }
            let missing = test.needs.iter().find_map(Needs::missing);
            let unlike =
                test.unlike_runc.filter(|_| other_runtime).map(|how| format!("runc {how}"));
            match missing.or(unlike) {
                Some(why) => {
                    skipped.insert(name, why);
                }
                None => trials.push(Trial::test(name, trial(test.run))),
            }
        }
    }
    let ran = trials.len();
    let conclusion = libtest_mimic::run(&arguments, trials);
    for (name, why) in skipped.iter().filter(|_| !filtered) {
        println!("skipped {name}: {why}");
    }
    println!("ran {ran}, skipped {}", skipped.len());
    let complete = filtered || other_runtime || check_counts(suites, ran, &skipped);
    if complete { conclusion.exit_code() } else { ExitCode::FAILURE }
}

fn trial(test: fn()) -> impl FnOnce() -> Result<(), Failed> + Send + 'static {
    move || {
        std::panic::catch_unwind(test).map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
                .unwrap_or_default()
                .into()
        })
    }
}

/// Compares with the numbers that are kept beside the tests, one line for each kind of machine.
fn check_counts(suites: &[Suite], ran: usize, skipped: &BTreeMap<String, String>) -> bool {
    if std::env::var_os("CHECK_COUNTS").is_none() {
        return true;
    }
    let machine = super::host::kind();
    let machine = machine.as_str();
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/", env!("CARGO_CRATE_NAME"), "/counts.txt");
    let kept = fs::read_to_string(path).expect("read counts.txt");
    let lines: Vec<Vec<&str>> =
        kept.lines().map(|line| line.split_whitespace().collect()).collect();
    let wanted = lines.iter().find_map(|words| match words.as_slice() {
        ["ran", kind, count] if *kind == machine => count.parse::<usize>().ok(),
        _ => None,
    });
    let listed =
        |kind: &str, name: &str| lines.iter().any(|words| words.as_slice() == ["skip", kind, name]);
    let mut wrong = String::new();
    match wanted {
        Some(count) if ran >= count => {}
        Some(count) => writeln!(wrong, "{ran} cases ran, {count} are wanted").expect("a string"),
        None => writeln!(wrong, "no count is kept for a machine with {machine}").expect("a string"),
    }
    for name in skipped.keys().filter(|name| !listed(machine, name)) {
        writeln!(wrong, "{name} was skipped, which is not listed").expect("a string");
    }
    // What the other machine would say later.
    for (kind, need) in [("v1", Needs::CgroupV2), ("v2", Needs::CgroupV1)] {
        let all = suites.iter().flat_map(|suite| {
            let lacking = suite.tests.iter().filter(|test| test.needs.contains(&need));
            lacking.map(|test| format!("{}::{}", suite.name, test.name))
        });
        for name in all.filter(|name| !listed(kind, name)) {
            writeln!(wrong, "{name} has to be listed as skipped with {kind}").expect("a string");
        }
    }
    print!("{wrong}");
    wrong.is_empty()
}
