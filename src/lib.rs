//! orlop, the lowest deck: an OCI container runtime.
//!
//! `docs/architecture.md` says which module holds what and who may use whom.

pub mod error;
pub mod host;
pub mod log;
pub mod procfs;
pub mod resolve;
pub mod spec;
pub mod sys;
