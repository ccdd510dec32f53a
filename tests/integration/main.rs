//! Integration tests: the real binary on real bundles, observed from inside by a probe and from
//! outside. `RUNTIME=runc` runs the same cases against another runtime.
//!
//! Every case that cannot run says why. The numbers of cases are kept in `counts.txt`; with
//! `CHECK_COUNTS=1` a case too few, or a skip that is not listed there, is a failure.

#![allow(unreachable_pub, clippy::print_stdout, reason = "a test is nobody's library")]

mod harness;

mod activation;
mod as_runc;
mod attacks;
mod bad_input;
mod bus;
mod capabilities;
mod cgroups;
mod cgroups_v2;
mod commands;
mod containerd_lines;
mod controllers;
mod destinations;
mod documents;
mod drop_in;
mod engine_errors;
mod engine_texts;
mod events;
mod exec;
mod exec_cgroups;
mod exec_documents;
mod exec_security;
mod filesystems;
mod hooks;
mod id_maps;
mod joining;
mod labels;
mod leftovers;
mod lifecycle;
mod mount_options;
mod mounts;
mod namespaces;
mod net_devices;
mod option_words;
mod pausing;
mod podman_lines;
mod process;
mod races;
mod rootfs;
mod rootless;
mod sandboxes;
mod scheduling;
mod seccomp;
mod seccomp_listener;
mod security;
mod terminal;
mod units;
mod updates;
mod verification;

use std::process::ExitCode;

use harness::host;
use harness::suite::{Suite, run};

/// What tests of cgroups begin with: `DRIVER=systemd` runs them, with cgroups that systemd makes.
/// With a name, such as `T=::` which all have, others run like that too.
const ABOUT_CGROUPS: [&str; 9] = [
    "cgroups",
    "controllers::",
    "events::",
    "exec_cgroups::",
    "leftovers::cgroups",
    "lifecycle::delete",
    "lifecycle::kill",
    "pausing::",
    "updates::",
];

fn is_meant(name: &str) -> bool {
    !host::by_systemd() || ABOUT_CGROUPS.iter().any(|start| name.starts_with(start))
}

fn main() -> ExitCode {
    let suites = [
        Suite { name: "activation", tests: activation::TESTS },
        Suite { name: "as_runc", tests: as_runc::TESTS },
        Suite { name: "attacks", tests: attacks::TESTS },
        Suite { name: "bad_input", tests: bad_input::TESTS },
        Suite { name: "bus", tests: bus::TESTS },
        Suite { name: "capabilities", tests: capabilities::TESTS },
        Suite { name: "cgroups", tests: cgroups::TESTS },
        Suite { name: "cgroups_v2", tests: cgroups_v2::TESTS },
        Suite { name: "commands", tests: commands::TESTS },
        Suite { name: "containerd_lines", tests: containerd_lines::TESTS },
        Suite { name: "controllers", tests: controllers::TESTS },
        Suite { name: "destinations", tests: destinations::TESTS },
        Suite { name: "documents", tests: documents::TESTS },
        Suite { name: "drop_in", tests: drop_in::TESTS },
        Suite { name: "engine_errors", tests: engine_errors::TESTS },
        Suite { name: "engine_texts", tests: engine_texts::TESTS },
        Suite { name: "events", tests: events::TESTS },
        Suite { name: "exec", tests: exec::TESTS },
        Suite { name: "exec_cgroups", tests: exec_cgroups::TESTS },
        Suite { name: "exec_documents", tests: exec_documents::TESTS },
        Suite { name: "exec_security", tests: exec_security::TESTS },
        Suite { name: "filesystems", tests: filesystems::TESTS },
        Suite { name: "hooks", tests: hooks::TESTS },
        Suite { name: "id_maps", tests: id_maps::TESTS },
        Suite { name: "joining", tests: joining::TESTS },
        Suite { name: "labels", tests: labels::TESTS },
        Suite { name: "leftovers", tests: leftovers::TESTS },
        Suite { name: "lifecycle", tests: lifecycle::TESTS },
        Suite { name: "mount_options", tests: mount_options::TESTS },
        Suite { name: "mounts", tests: mounts::TESTS },
        Suite { name: "namespaces", tests: namespaces::TESTS },
        Suite { name: "net_devices", tests: net_devices::TESTS },
        Suite { name: "option_words", tests: option_words::TESTS },
        Suite { name: "pausing", tests: pausing::TESTS },
        Suite { name: "podman_lines", tests: podman_lines::TESTS },
        Suite { name: "process", tests: process::TESTS },
        Suite { name: "races", tests: races::TESTS },
        Suite { name: "rootfs", tests: rootfs::TESTS },
        Suite { name: "rootless", tests: rootless::TESTS },
        Suite { name: "sandboxes", tests: sandboxes::TESTS },
        Suite { name: "scheduling", tests: scheduling::TESTS },
        Suite { name: "seccomp", tests: seccomp::TESTS },
        Suite { name: "seccomp_listener", tests: seccomp_listener::TESTS },
        Suite { name: "security", tests: security::TESTS },
        Suite { name: "terminal", tests: terminal::TESTS },
        Suite { name: "units", tests: units::TESTS },
        Suite { name: "updates", tests: updates::TESTS },
        Suite { name: "verification", tests: verification::TESTS },
    ];
    run(&suites, is_meant)
}
