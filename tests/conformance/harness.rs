//! What these tests share with the integration tests.

#![allow(dead_code, reason = "the integration tests use the rest")]

#[path = "../integration/harness/host.rs"]
pub mod host;
#[path = "../integration/harness/process.rs"]
mod process;

pub use process::{Output, runtime};

/// How long a test may take before it is taken for a hang: some wait three times ten seconds.
pub const DEADLINE: std::time::Duration = std::time::Duration::from_secs(180);
