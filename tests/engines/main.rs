//! Engine tests: a real Docker daemon whose containers are made by the real binary.
//!
//! Daemon, containers and tests live in namespaces of their own (`sandbox.rs`), so that bridges,
//! rules of iptables, mounts and processes end with them. Where a runc to compare with is there,
//! the same command runs under both and has to look the same.
//!
//! On a machine that is thrown away (`machine.rs`) a short matrix runs with each driver of cgroups.
//!
//! `RUNTIME=/usr/sbin/runc` runs the same cases against another runtime. Counts are kept as for
//! the integration tests.

#![allow(unreachable_pub, clippy::print_stdout, reason = "a test is nobody's library")]

mod daemon;
mod docker;
mod harness;
mod machine;
mod podman;
mod sandbox;

mod buildah;
mod buildkit;
mod commands;
mod confinement;
mod cri;
mod cri2;
mod cri_engine;
mod cri_images;
mod cri_version;
mod crictl;
mod critest;
mod ctr;
mod errors;
mod files;
mod identity;
mod lifecycle;
mod limits;
mod networks;
mod own_daemon;
mod podman_cases;
mod podman_life;
mod pods;
mod process;
mod remapped;
mod resources;
mod restarts;
mod short;

use std::process::ExitCode;

use harness::host::Needs;
use harness::suite::{self, Suite};

fn main() -> ExitCode {
    let lists = libtest_mimic::Arguments::from_args().list;
    if lists {
        return run();
    }
    if machine::is_here() {
        return on_machine();
    }
    if Needs::Docker.missing().is_some() {
        return run();
    }
    if !sandbox::is_inside() {
        return sandbox::run_inside();
    }
    sandbox::enter();
    let daemon = daemon::Daemon::start();
    let tested = run();
    podman::finish();
    cri_engine::finish();
    buildkit::finish();
    let left = daemon.leftovers();
    for line in &left {
        println!("left behind: {line}");
    }
    if left.is_empty() { tested } else { ExitCode::FAILURE }
}

/// The short matrix, by a daemon that ends with the machine; an ordinary user has none.
fn on_machine() -> ExitCode {
    let podman = Suite { name: "podman", tests: short::podman::TESTS };
    if machine::is_ordinary() {
        daemon::make_image();
        podman::prepare();
        return suite::run(&[podman], |_| true);
    }
    sandbox::separate();
    daemon::Daemon::start();
    suite::run(&[Suite { name: "docker", tests: short::docker::TESTS }, podman], |_| true)
}

fn run() -> ExitCode {
    let suites = [
        Suite { name: "buildah", tests: buildah::TESTS },
        Suite { name: "buildkit", tests: buildkit::TESTS },
        Suite { name: "commands", tests: commands::TESTS },
        Suite { name: "confinement", tests: confinement::TESTS },
        Suite { name: "cri", tests: cri::TESTS },
        Suite { name: "cri2", tests: cri2::TESTS },
        Suite { name: "crictl", tests: crictl::TESTS },
        Suite { name: "critest", tests: critest::TESTS },
        Suite { name: "ctr", tests: ctr::TESTS },
        Suite { name: "errors", tests: errors::TESTS },
        Suite { name: "files", tests: files::TESTS },
        Suite { name: "identity", tests: identity::TESTS },
        Suite { name: "lifecycle", tests: lifecycle::TESTS },
        Suite { name: "limits", tests: limits::TESTS },
        Suite { name: "networks", tests: networks::TESTS },
        Suite { name: "podman", tests: podman_cases::TESTS },
        Suite { name: "podman_life", tests: podman_life::TESTS },
        Suite { name: "pods", tests: pods::TESTS },
        Suite { name: "process", tests: process::TESTS },
        Suite { name: "remapped", tests: remapped::TESTS },
        Suite { name: "resources", tests: resources::TESTS },
        Suite { name: "restarts", tests: restarts::TESTS },
    ];
    suite::run(&suites, |_| true)
}
