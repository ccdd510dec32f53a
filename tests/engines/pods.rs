//! Pods, in what containerd's own tests leave out: see `pods/pods_test.go`.

use crate::cri;
use crate::cri_engine::Engine;
use crate::cri_version::Version;
use crate::tests;

tests! {
    probes needs [Docker, Ctr, Cri],
    ports_are_forwarded needs [Docker, Ctr, Cri],
    attach needs [Docker, Ctr, Cri],
    logs_are_reopened needs [Docker, Ctr, Cri],
    pause needs [Docker, Ctr, Cri],
    recursive_read_only_volumes needs [Docker, Ctr, Cri],
}

#[track_caller]
fn passes(versions: &[Version], name: &str) {
    for version in versions {
        cri::compare(|handler| Engine::start(*version).own_test(handler, name));
    }
}

const BOTH: [Version; 2] = [Version::Packaged, Version::Second];

fn probes() {
    passes(&BOTH, "TestProbes");
}

fn ports_are_forwarded() {
    passes(&BOTH, "TestPortsAreForwarded");
}

fn attach() {
    passes(&BOTH, "TestAttach");
}

fn logs_are_reopened() {
    passes(&BOTH, "TestLogsAreReopened");
}

fn pause() {
    passes(&BOTH, "TestPause");
}

/// containerd 1.6 does not know them.
fn recursive_read_only_volumes() {
    passes(&[Version::Second], "TestRecursiveReadOnly");
}
