//! Steps of `docker build` with BuildKit, which executes the first `runc` that it finds.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::docker::{self, IMAGE, docker};
use crate::harness::{Output, runtime};
use crate::sandbox::{self, DIRECTORY};
use crate::tests;

tests! {
    buildkit_runs_steps needs [Docker],
    buildkit_has_networks needs [Docker],
    a_failing_step_of_buildkit_fails_the_build needs [Docker],
}

/// The file with the words of all calls of `runc`.
const CALLS: &str = "runc-calls";

/// Builds an image of that name.
fn build(name: &str, steps: &str, options: &[&str]) -> Output {
    let directory = format!("{DIRECTORY}/{name}");
    fs::create_dir(&directory).expect("make a directory");
    fs::write(format!("{directory}/Dockerfile"), format!("FROM {IMAGE}\n{steps}")).expect("write");
    let words = [&["build", "--progress", "plain", "--tag", name], options, &[&directory]].concat();
    Output::of(docker::command(&words).env("DOCKER_BUILDKIT", "1"))
}

fn calls() -> String {
    fs::read_to_string(format!("{DIRECTORY}/{CALLS}")).unwrap_or_default()
}

fn buildkit_runs_steps() {
    let steps = "RUN echo one > /one && id -u > /user\nUSER 1000\nWORKDIR /tmp\n\
        RUN id -u > two && pwd >> two\n\
        RUN --mount=type=tmpfs,target=/cache touch /cache/x && test ! -e /cache/y\n";
    build("buildkit-steps", steps, &[]).ok();
    let script = ["sh", "-c", "cat /one /user /tmp/two"];
    let seen = docker(&[&["run", "--rm", "buildkit-steps"][..], &script].concat()).ok();
    assert_eq!(seen, "one\n0\n1000\n/tmp\n");
    let calls = calls();
    let runs = calls.lines().filter(|line| line.contains(" run --bundle "));
    assert!(runs.count() >= 3, "{calls}");
}

fn buildkit_has_networks() {
    for (network, step) in [
        ("host", "RUN test -e /sys/class/net/docker0"),
        ("none", "RUN test ! -e /sys/class/net/eth0 -a -e /sys/class/net/lo"),
        ("default", "RUN test -e /sys/class/net/eth0"),
    ] {
        build(&format!("buildkit-{network}"), step, &["--network", network]).ok();
    }
}

fn a_failing_step_of_buildkit_fails_the_build() {
    for (step, text) in [
        ("RUN exit 9", "exit code: 9"),
        ("RUN [\"/bin/nosuch\"]", "no such file or directory"),
        ("RUN [\"nosuch\"]", "executable file not found in $PATH"),
    ] {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let seen = build(&format!("buildkit-fails-{number}"), &format!("{step}\n"), &[]);
        assert!(seen.code != 0 && seen.stderr.contains(text), "{step}: {seen:#?}");
    }
}

/// Puts a `runc` where daemons look first: it writes the words of each call down, and is ours.
pub fn prepare() {
    let script = format!(
        "#!/bin/bash\necho \"$@\" >>{DIRECTORY}/{CALLS}\nexec -a runc {} \"$@\"\n",
        runtime().display()
    );
    let directory = format!("{DIRECTORY}/bin");
    fs::create_dir(&directory).expect("make a directory");
    let path = format!("{directory}/runc");
    fs::write(&path, script).expect("write a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
}

/// Removes the cgroup that BuildKit keeps for its steps.
pub fn finish() {
    for cgroup in sandbox::cgroups() {
        // It is there only if a step was.
        let _ = fs::remove_dir(cgroup.join("buildkit"));
    }
}
