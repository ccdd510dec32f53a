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
}

#[track_caller]
fn passes(name: &str) {
    cri::compare(|handler| Engine::start(Version::Packaged).own_test(handler, name));
}

fn probes() {
    passes("TestProbes");
}

fn ports_are_forwarded() {
    passes("TestPortsAreForwarded");
}

fn attach() {
    passes("TestAttach");
}

fn logs_are_reopened() {
    passes("TestLogsAreReopened");
}

fn pause() {
    passes("TestPause");
}
