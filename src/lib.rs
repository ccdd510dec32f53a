//! orlop, the lowest deck: an OCI container runtime.
//!
//! `docs/architecture.md` says which module holds what and who may use whom.

pub mod cgroups;
pub mod cli;
pub mod commands;
pub mod container;
pub mod error;
pub mod handshake;
pub mod hooks;
pub mod host;
pub mod init;
pub mod log;
pub mod namespaces;
pub mod plan;
pub mod process;
pub mod procfs;
pub mod resolve;
pub mod rootfs;
pub mod seccomp;
pub mod spec;
pub mod sys;
pub mod usage;
