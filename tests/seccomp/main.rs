//! Filters: what they decide, beside what libseccomp's decide and what the kernel makes of them.
//!
//! libseccomp is looked for when the tests run; where it is not installed, the comparisons with it
//! say so and pass. `TORTURE=1` compares 10,000 random profiles instead of 500, and `SEED=`
//! repeats one run. `FUZZ_SECONDS=` has `fuzz` go on for that long.

#![allow(clippy::print_stdout, reason = "a test says what it skipped and with which seed it ran")]

mod bounds;
mod compare;
mod fuzz;
mod interpreter;
mod kernel;
mod libseccomp;
mod measure;
mod profiles;
mod random;
mod table;
