//! Every `unsafe` block of the program: one kernel call per function, no policy.
//!
//! A function here says which man page describes it and since which kernel it exists; what
//! happens on older kernels is decided by the caller and listed in `docs/kernel.md`. Calls that
//! nix offers as safe functions are used from there and do not appear here.
#![allow(unsafe_code)]

pub mod bpf;
pub mod caps;
pub mod clone;
pub mod keyring;
pub mod mount;
pub mod namespace;
pub mod net;
pub mod process;
pub mod scheduler;
pub mod sealed;
pub mod seccomp;
pub mod socket;
pub mod stat;
pub mod tty;
