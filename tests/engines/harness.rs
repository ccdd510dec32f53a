//! What these tests share with the integration tests.

#![allow(dead_code, reason = "the integration tests use the rest")]

#[path = "../integration/harness/host.rs"]
pub mod host;
#[path = "../integration/harness/process.rs"]
mod process;
#[path = "../integration/harness/reference.rs"]
pub mod reference;
#[path = "../integration/harness/suite.rs"]
pub mod suite;
#[path = "../integration/harness/terminal.rs"]
pub mod terminal;

pub use process::{Background, Output, copy_program, runtime, spawn, wait_until_gone};

/// How long anything may take before it is taken for a hang: a hundred containers at once take their
/// time on a small machine, and one does on an emulated one.
pub const DEADLINE: std::time::Duration = std::time::Duration::from_secs(300);
