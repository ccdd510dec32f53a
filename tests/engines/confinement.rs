//! Devices: which there are, and which may be opened. Profiles of seccomp.

use std::path::PathBuf;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::docker::compared_sh;
use crate::sandbox::DIRECTORY;
use crate::tests;

tests! {
    a_device_of_the_host needs [Docker],
    other_devices_cannot_be_opened needs [Docker],
    default_devices_work needs [Docker],
    seccomp_profiles needs [Docker],
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

fn seccomp_profiles() {
    let profile = format!("{DIRECTORY}/profile.json");
    let rule = r#"{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}"#;
    let text = format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rule}]}}"#);
    std::fs::write(&profile, text).expect("write a profile");
    let script = "mkdir /tmp/x 2>&1; grep Seccomp: /proc/self/status | tr -d '\\t'";
    let seccomp = |profile: &str| {
        compared_sh(&["--security-opt", &format!("seccomp={profile}")], script).ok()
    };
    let refused = "mkdir: can't create directory '/tmp/x': No space left on device\nSeccomp:2\n";
    assert_eq!(seccomp(&profile), refused);
    assert_eq!(seccomp("unconfined"), "Seccomp:0\n");
    assert_eq!(compared_sh(&[], script).ok(), "Seccomp:2\n");
}
