//! What the tests are written with.

pub mod bus;
mod case;
pub mod compare;
pub mod engine;
pub mod host;
pub mod ordinary;
mod process;
pub mod reference;
pub mod schema;
pub mod sentinel;
pub mod suite;
pub mod terminal;

pub use case::Case;
pub use process::{Background, Output, copy_program, runtime, spawn, wait_until_gone};

/// How long anything may take before it is taken for a hang.
pub const DEADLINE: std::time::Duration = std::time::Duration::from_secs(30);
