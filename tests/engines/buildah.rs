//! Images made by Buildah and by Podman: each RUN step is a container.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::docker::{IMAGE, OURS, REFERENCE};
use crate::harness::{Output, reference, runtime};
use crate::podman::podman;
use crate::sandbox::DIRECTORY;
use crate::tests;

tests! {
    buildah_runs_steps needs [Docker, Buildah, Podman],
    a_failing_step_of_buildah_fails_the_build needs [Docker, Buildah, Podman],
    buildah_runs_commands needs [Docker, Buildah, Podman],
    podman_runs_steps needs [Docker, Podman],
}

const STEPS: &str = "RUN echo one > /one && id -u > /user
USER 1000
WORKDIR /tmp
RUN id -u > two && pwd >> two
RUN --mount=type=tmpfs,target=/cache touch /cache/x && test ! -e /cache/y
";

/// What the steps have left in the image.
const LEFT: &str = "one\n0\n1000\n/tmp\n";

/// Writes a Containerfile and returns the directory that it is in.
fn context(steps: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let directory = format!("{DIRECTORY}/context-{number}");
    fs::create_dir(&directory).expect("make a directory");
    let text = format!("FROM localhost/{IMAGE}\n{steps}");
    fs::write(format!("{directory}/Containerfile"), text).expect("write a file");
    directory
}

/// A cgroup for one container of a build: it is taken as it is.
fn cgroup() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{}/build-{}", crate::sandbox::cgroup(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn buildah(args: &[&str]) -> Output {
    let mut command = Command::new("buildah");
    Output::of(command.args(args).env_remove("DOCKER_CONFIG").stdin(Stdio::null()))
}

/// The runtimes to build with: ours, and runc where there is one to compare with.
fn runtimes() -> Vec<(&'static str, String)> {
    let paths = [(OURS, Some(runtime())), (REFERENCE, reference::runc())];
    let found = paths.into_iter().filter_map(|(name, path)| Some((name, path?)));
    found.map(|(name, path)| (name, path.to_string_lossy().into_owned())).collect()
}

fn read_back(image: &str) -> String {
    let words = ["run", "--rm", "--network", "none", "--cgroup-parent", &crate::sandbox::cgroup()];
    let script = ["sh", "-c", "cat /one /user /tmp/two"];
    podman(&[&words[..], &[image], &script].concat()).ok()
}

fn buildah_runs_steps() {
    for (name, path) in runtimes() {
        let image = format!("localhost/buildah-{name}");
        let directory = context(STEPS);
        let words = ["build", "--isolation", "oci", "--runtime", &path, "--network", "none"];
        let parent = cgroup();
        let rest = ["--cgroup-parent", &parent, "--tag", &image, &directory];
        buildah(&[&words[..], &rest].concat()).ok();
        assert_eq!(read_back(&image), LEFT, "{name}");
    }
}

fn a_failing_step_of_buildah_fails_the_build() {
    for (name, path) in runtimes() {
        let directory = context("RUN exit 9\n");
        let words = ["build", "--isolation", "oci", "--runtime", &path, "--network", "none"];
        let parent = cgroup();
        let rest = ["--cgroup-parent", &parent, &directory];
        let seen = buildah(&[&words[..], &rest].concat());
        assert!(seen.code == 9 && seen.stderr.contains("exit status 9"), "{name}: {seen:#?}");
    }
}

fn buildah_runs_commands() {
    let base = format!("localhost/{IMAGE}");
    let from = ["from", "--cgroup-parent", &cgroup(), &base];
    let container = buildah(&from).ok().trim().to_string();
    for (name, path) in runtimes() {
        let run = |options: &[&str], program: &[&str]| {
            let words = ["run", "--isolation", "oci", "--runtime", &path, "--network", "none"];
            buildah(&[&words, options, &[&container, "--"], program].concat())
        };
        assert_eq!(run(&[], &["sh", "-c", "echo in; id -u"]).ok(), "in\n0\n", "{name}");
        assert_eq!(run(&[], &["sh", "-c", "exit 42"]).code, 42, "{name}");
        // A warning about ambient capabilities comes first: the terminal is standard error, too.
        let seen = run(&["--tty"], &["tty"]).ok();
        assert!(seen.ends_with("/dev/pts/0\r\n"), "{name}: {seen}");
        assert_eq!(run(&["--user", "1000"], &["id", "-u"]).ok(), "1000\n", "{name}");
        assert_ne!(run(&[], &["nosuch"]).code, 0, "{name}");
    }
    buildah(&["rm", &container]).ok();
}

fn podman_runs_steps() {
    for (name, _) in runtimes() {
        let image = format!("localhost/podman-{name}");
        let directory = context(STEPS);
        let parent = cgroup();
        let words = ["--runtime", name, "build", "--network", "none", "--cgroup-parent", &parent];
        podman(&[&words[..], &["--tag", &image, &directory]].concat()).ok();
        assert_eq!(read_back(&image), LEFT, "{name}");
    }
}
