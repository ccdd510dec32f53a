//! Paired timings of runtimes: in each round every runtime does the same thing once, in another
//! order each time, so that whatever else the machine does falls on all of them.
//!
//! Warm rounds follow each other at once. Before a cold one the machine is idle for a moment, as
//! machines are that do not start containers in a loop: the kernel then has to wait for grace
//! periods which a tight loop hides. Runtimes whose containers are not the same are not timed.
#![allow(unreachable_pub, clippy::print_stdout, reason = "a benchmark is nobody's library")]

mod bundle;
#[path = "../integration/harness/compare.rs"]
mod compare;
mod measure;
#[path = "../integration/harness/reference.rs"]
mod reference;
mod runtime;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bundle::Bundle;
use measure::{Pace, Table};
use runtime::Runtime;

/// Long enough for the kernel's percpu semaphores to leave their slow state.
const IDLE: Duration = Duration::from_millis(150);

fn main() {
    let directory = example("bench-files");
    let _ = std::fs::remove_dir_all(&directory);
    let floor = bundle::compile_floor(&directory);
    let runtimes = Runtime::all();
    let spec = bundle::spec(&runtimes[0], &directory);
    for (name, document) in [("spec", spec), ("docker", bundle::docker())] {
        println!("\n# The document of {name}");
        let bundle = Bundle::make(&directory.join(name), &floor, document);
        let same: Vec<_> =
            runtimes.iter().filter(|other| bundle.is_same(&runtimes[0], other)).collect();
        let floor = (name == "spec").then_some(floor.as_path());
        for pace in [Pace::Warm, Pace::Cold(IDLE)] {
            compare_all(&bundle, &same, floor, pace);
        }
    }
}

/// Prints a table of every operation of every runtime.
fn compare_all(bundle: &Bundle, runtimes: &[&Runtime], floor: Option<&Path>, pace: Pace) {
    let rounds = if pace == Pace::Warm { number("ROUNDS", 40) } else { number("COLD", 20) };
    let only = std::env::var("OPERATION").unwrap_or_default();
    let mut table = Table::default();
    for round in 0..rounds {
        for index in 0..runtimes.len() {
            let runtime = runtimes[(round + index) % runtimes.len()];
            bundle.measure(runtime, pace, &only, &mut table);
        }
        if let Some(floor) = floor {
            bundle.measure_floor(floor, pace, &mut table);
        }
        table.end_of_round();
    }
    println!("\n{pace}, {rounds} rounds: median ms, median ratio to {}", runtimes[0].name);
    table.print(&runtimes[0].name);
}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Where cargo puts other examples.
fn example(name: &str) -> PathBuf {
    std::env::current_exe().expect("the path of this program").with_file_name(name)
}
