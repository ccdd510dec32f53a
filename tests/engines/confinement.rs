//! Devices: which there are, and which may be opened.

use std::path::PathBuf;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::docker::compared_sh;
use crate::sandbox::DIRECTORY;
use crate::tests;

tests! {
    a_device_of_the_host needs [Docker],
    other_devices_cannot_be_opened needs [Docker],
    default_devices_work needs [Docker],
}

/// The kernel's log, which no default rule allows: a node for it with a name of its own.
fn kernel_log(name: &str) -> String {
    let path = PathBuf::from(DIRECTORY).join(name);
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    mknod(&path, SFlag::S_IFCHR, mode, makedev(1, 11)).expect("make a device");
    path.display().to_string()
}

fn a_device_of_the_host() {
    let device = format!("{}:/dev/messages:r", kernel_log("kernel-log"));
    let options = ["--cap-add", "SYSLOG", "--device", &device];
    let script = "ls -l /dev/messages | cut -c 1-10; (: < /dev/messages) && echo readable; \
        (: > /dev/messages) 2>&1; mknod /tmp/same c 1 11; (: < /tmp/same) && echo readable";
    let seen = compared_sh(&options, script).ok();
    let wanted = "crw-------\nreadable\n\
        sh: can't create /dev/messages: Operation not permitted\nreadable\n";
    assert_eq!(seen, wanted);
}

fn other_devices_cannot_be_opened() {
    let script = "mknod /tmp/log c 1 11; mknod /tmp/disk b 7 0; \
        (: < /tmp/log) 2>&1; (: < /tmp/disk) 2>&1";
    let seen = compared_sh(&["--cap-add", "SYSLOG"], script);
    assert_eq!(seen.stdout.matches("Operation not permitted").count(), 2, "{seen:#?}");
}

fn default_devices_work() {
    let script = "for name in null zero full random urandom; do \
        head -c 1 /dev/$name | wc -c; done; \
        (echo x > /dev/full) 2>&1; ls /dev | tr '\\n' ' '";
    let seen = compared_sh(&[], script).ok();
    assert!(seen.starts_with("0\n1\n1\n1\n1\n"), "{seen}");
    assert!(seen.contains("No space left on device"), "{seen}");
}
