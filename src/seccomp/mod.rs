//! The system call filter: from the profile of the document to a program in the kernel.
//!
//! ```text
//! linux.seccomp ── rules ──▶ numbers and rules for each architecture
//!                              │ order: which of several rules comes first
//!                              ▼
//!                            compile ──▶ a graph of tests ── emit ──▶ classic BPF
//! ```
//!
//! `docs/seccomp.md` tells what profiles can rely on.

pub mod arch;
pub mod compile;
mod emit;
pub mod explain;
mod graph;
pub mod listener;
mod order;
pub mod rules;
pub mod syscalls;

use std::os::fd::RawFd;

use anyhow::{Context, Result, ensure};
use libc::sock_filter;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag as Flag, Spec};

use crate::{log, sys};
use listener::Listener;
use rules::Profile;

/// crun's annotation that makes an unknown name an error.
const FAIL_UNKNOWN: &str = "run.oci.seccomp_fail_unknown_syscall";

/// All flags that a document can name, and the kernel's bits for them.
pub const FLAGS: [(Flag, u64); 4] = [
    (Flag::SeccompFilterFlagTsync, libc::SECCOMP_FILTER_FLAG_TSYNC),
    (Flag::SeccompFilterFlagLog, libc::SECCOMP_FILTER_FLAG_LOG),
    (Flag::SeccompFilterFlagSpecAllow, libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW),
    (Flag::SeccompFilterFlagWaitKillableRecv, WAIT_KILLABLE_RECV),
];

/// Not in the C library's headers.
const WAIT_KILLABLE_RECV: u64 = 1 << 5;

/// A compiled filter and how it is to be installed.
pub struct Filter {
    program: Vec<sock_filter>,
    flags: u64,
    /// Who answers the calls that somebody else decides about.
    pub listener: Option<Listener>,
    /// The listener is taken by a runtime that may not look into hidden processes.
    pub shows_init: bool,
}

/// The program is shown by its length.
impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter")
            .field("instructions", &self.program.len())
            .field("flags", &self.flags)
            .field("listener", &self.listener)
            .finish()
    }
}

impl Filter {
    /// Compiles the profile of a checked document, if it has one.
    ///
    /// # Errors
    /// A profile that is too large for the kernel, a flag that this kernel does not know, and, if
    /// an annotation asks for that, a name that is not known.
    pub fn from_spec(spec: &Spec) -> Result<Option<Self>> {
        let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
        let Some(seccomp) = seccomp else { return Ok(None) };
        let annotation = spec.annotations().as_ref().and_then(|all| all.get(FAIL_UNKNOWN));
        let strict = annotation.is_some_and(|value| value != "0");
        let profile = Profile::new(seccomp, arch::NATIVE, strict)?;
        let listener = notifies(seccomp).then(|| Listener::from_spec(spec, seccomp)).flatten();
        let program = compile::compile(&profile)?;
        let flags = flags(seccomp, listener.is_some())?;
        log::debug(|| format!("seccomp filter flags: {flags}"));
        Ok(Some(Self { program, flags, listener, shows_init: false }))
    }

    /// Installs the filter for this process, for good; nothing but the system call is done. The
    /// result is the number of the listener's descriptor, if there is a listener.
    ///
    /// # Errors
    /// EACCES without `CAP_SYS_ADMIN` and without `no_new_privs`, and whatever the kernel finds
    /// wrong with the program.
    pub fn load(&self) -> Result<Option<RawFd>> {
        let number = sys::seccomp::install(&self.program, self.flags)
            .context("linux.seccomp: install the filter")?;
        Ok(self.listener.is_some().then_some(number))
    }
}

fn notifies(seccomp: &LinuxSeccomp) -> bool {
    let mut rules = seccomp.syscalls().iter().flatten();
    rules.any(|rule| rule.action() == LinuxSeccompAction::ScmpActNotify)
}

/// The bits of the flags that the document asks for. Without a word about them the mitigation of
/// speculative store bypass is left off, as runc and crun have it.
fn flags(seccomp: &LinuxSeccomp, listens: bool) -> Result<u64> {
    let Some(listed) = seccomp.flags() else {
        let listener = if listens { libc::SECCOMP_FILTER_FLAG_NEW_LISTENER } else { 0 };
        return Ok(libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW | listener);
    };
    let mut flags = if listens { libc::SECCOMP_FILTER_FLAG_NEW_LISTENER } else { 0 };
    for (index, flag) in listed.iter().enumerate() {
        let (_, bit) = FLAGS.iter().find(|(known, _)| known == flag).context("a flag")?;
        ensure!(
            is_supported(*bit),
            "linux.seccomp.flags[{index}]: this kernel does not know {flag}"
        );
        flags |= match flag {
            // There is one thread, so there is nothing to synchronise (as runc has it).
            Flag::SeccompFilterFlagTsync => 0,
            // It is about waiting for a listener, and refused without one.
            Flag::SeccompFilterFlagWaitKillableRecv if !listens => 0,
            _ => *bit,
        };
    }
    Ok(flags)
}

/// Whether this kernel knows a flag.
#[must_use]
pub fn is_supported(flag: u64) -> bool {
    // This one is refused alone.
    let companion =
        if flag == WAIT_KILLABLE_RECV { libc::SECCOMP_FILTER_FLAG_NEW_LISTENER } else { 0 };
    sys::seccomp::knows_flags(flag | companion)
}
