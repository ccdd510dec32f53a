//! One Docker daemon for all tests, with containerd, and the image that its containers run.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::buildkit;
use crate::docker::{self, IMAGE, OURS, REFERENCE};
use crate::harness::{DEADLINE, Output, host, reference, runtime, spawn, wait_until_gone};
use crate::machine;
use crate::podman;
use crate::sandbox::{self, DIRECTORY};

/// The running daemon.
pub struct Daemon {
    /// The mount table before the first container.
    mounts: Vec<String>,
}

impl Daemon {
    /// Starts the daemon and makes the image. Both end with the PID namespace.
    pub fn start() -> Self {
        let containerd = format!(
            "version = 2\nroot = '{DIRECTORY}/containerd'\nstate = '{DIRECTORY}/containerd-state'\n\
             disabled_plugins = ['io.containerd.grpc.v1.cri']\n\
             [grpc]\naddress = '{DIRECTORY}/containerd.sock'\n"
        );
        buildkit::prepare();
        reap(start("containerd", &["containerd", "--config"], &containerd));
        reap(start("dockerd", &["dockerd", "--config-file"], &settings("docker").to_string()));
        let archive = make_image();
        docker::docker(&["import", &archive, IMAGE]).ok();
        podman::prepare();
        Self { mounts: host::mount_table() }
    }

    /// What is left of the containers, all of which are removed.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for (what, list) in [("container", &["ps", "-aq"][..]), ("volume", &["volume", "ls", "-q"])]
        {
            let lines = docker::docker(list).ok();
            left.extend(lines.lines().map(|line| format!("{what} {line}")));
        }
        // A shim ends after the daemon has forgotten its container.
        processes_of("containerd-shim").into_iter().for_each(wait_until_gone);
        left.extend(processes_of("orlop").into_iter().map(|pid| format!("process {pid}")));
        let mounts = host::mount_table().into_iter().filter(|line| !self.mounts.contains(line));
        // The daemon keeps this one of the first container with the host's network.
        let mounts = mounts.filter(|line| !line.contains("/netns/default "));
        // A daemon that maps users keeps this one of its own directory.
        let mounts = mounts.filter(|line| !line.contains("-data/300000.300000 "));
        // Podman keeps these two.
        let mounts = mounts.filter(|line| !line.contains(" /run/netns "));
        let mounts = mounts.filter(|line| !line.contains("/podman/overlay "));
        left.extend(mounts.map(|line| format!("mount {line}")));
        let states =
            sandbox::below(Path::new(&format!("{DIRECTORY}/docker-exec/runtime-{OURS}/moby")));
        left.extend(states.iter().map(|path| format!("state {}", path.display())));
        let cgroups = sandbox::cgroups().into_iter().flat_map(|cgroup| sandbox::below(&cgroup));
        left.extend(cgroups.map(|path| format!("cgroup {}", path.display())));
        left
    }
}

/// Waits for the end of a daemon that runs as long as everything does.
pub fn reap(mut daemon: Child) {
    std::thread::spawn(move || daemon.wait());
}

/// Another daemon beside the first, by its own name, with settings of its own. It may have been
/// there before.
pub fn start_another(name: &str, changes: &Value) -> Child {
    let mut settings = settings(name);
    settings["containerd-namespace"] = json!(name);
    // The bridge is the first one's.
    settings["bridge"] = json!("none");
    settings["iptables"] = json!(false);
    let changes = changes.as_object().expect("settings").clone();
    settings.as_object_mut().expect("settings").extend(changes);
    // Without a bridge a daemon removes that of another, if it sees it.
    start(name, &["unshare", "--net", "dockerd", "--config-file"], &settings.to_string())
}

/// The settings of Docker's daemon of this name.
fn settings(name: &str) -> Value {
    let mut runtimes = json!({OURS: {"path": runtime()}});
    if let Some(runc) = reference::runc() {
        runtimes[REFERENCE] = json!({"path": runc});
    }
    json!({
        "storage-driver": "overlay2",
        "exec-opts": [format!("native.cgroupdriver={}", machine::driver().name())],
        "cgroup-parent": sandbox::cgroup(),
        "data-root": format!("{DIRECTORY}/{name}-data"),
        "exec-root": format!("{DIRECTORY}/{name}-exec"),
        "pidfile": format!("{DIRECTORY}/{name}.pid"),
        "hosts": [format!("unix://{DIRECTORY}/{name}.sock")],
        "containerd": format!("{DIRECTORY}/containerd.sock"),
        "runtimes": runtimes,
        "default-runtime": OURS,
    })
}

/// Starts a daemon with a file of settings, and waits until it is ready: all of them send `READY=1`
/// then, see sd_notify(3).
pub fn start(name: &str, words: &[&str], settings: &str) -> Child {
    let [socket, config, log] =
        ["sock", "conf", "log"].map(|kind| format!("{DIRECTORY}/{name}-daemon.{kind}"));
    // From before, if it starts again.
    let _ = fs::remove_file(&socket);
    let ready = UnixDatagram::bind(&socket).expect("bind a socket");
    fs::write(&config, settings).expect("write settings");
    let mut daemon = launch(words, &config, &socket, &log);
    wait_until_ready(name, &ready, &mut daemon, &log);
    daemon
}

fn launch(words: &[&str], config: &str, socket: &str, log: &str) -> Child {
    let file = File::options().create(true).append(true).open(log).expect("open a log");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(config).env("NOTIFY_SOCKET", socket).stdin(Stdio::null());
    command.stdout(file.try_clone().expect("copy a descriptor")).stderr(file);
    spawn(command.env("PATH", format!("{DIRECTORY}/bin:{path}")))
}

fn wait_until_ready(name: &str, socket: &UnixDatagram, daemon: &mut Child, log: &str) {
    let mut message = [0; 4096];
    loop {
        let ended = wait_for_either(socket, daemon);
        let log = || fs::read_to_string(log).unwrap_or_default();
        assert!(!ended, "{name} is not ready ({:?}):\n{}", daemon.try_wait(), log());
        let length = socket.recv(&mut message).expect("receive a message");
        if message[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
            return;
        }
    }
}

/// Waits for a message or the end of a daemon; returns whether only that came, or nothing.
fn wait_for_either(socket: &UnixDatagram, daemon: &Child) -> bool {
    let pid = i32::try_from(daemon.id()).expect("a pid");
    let pidfd = orlop::sys::process::pidfd_open(Pid::from_raw(pid)).expect("a child");
    let mut fds = [socket.as_fd(), pidfd.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    let timeout = PollTimeout::try_from(DEADLINE).expect("a timeout");
    poll(&mut fds, timeout).expect("poll");
    fds[0].any() != Some(true)
}

/// A static busybox with a link for each of its programs, and two users: an archive.
pub fn make_image() -> String {
    let root = Path::new(DIRECTORY).join("image");
    for directory in ["bin", "closed", "etc", "home/me", "tmp"] {
        fs::create_dir_all(root.join(directory)).expect("make a directory");
    }
    let busybox = host::program("busybox").expect("busybox");
    fs::copy(&busybox, root.join("bin/busybox")).expect("copy busybox");
    let programs = Output::of(Command::new(&busybox).arg("--list")).ok();
    for name in programs.lines().filter(|name| *name != "busybox") {
        symlink("busybox", root.join("bin").join(name)).expect("make a link");
    }
    symlink("loop", root.join("etc/loop")).expect("make a link");
    for (name, text) in [
        ("passwd", "root:x:0:0:root:/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n"),
        ("group", "root:x:0:\nstaff:x:50:me\nme:x:1000:\n"),
        ("plain", "not a program\n"),
        ("script", "#!/bin/nosuch\n"),
        ("noise", "\x01\x02\n"),
    ] {
        fs::write(root.join("etc").join(name), text).expect("write a file");
    }
    for (name, mode) in
        [("tmp", 0o1777), ("etc/script", 0o755), ("etc/noise", 0o755), ("closed", 0o700)]
    {
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).expect("chmod");
    }
    let archive = format!("{DIRECTORY}/image.tar");
    Output::of(Command::new("tar").arg("-C").arg(&root).args(["-cf", &archive, "."])).ok();
    archive
}

/// The processes here whose name begins like this, without those that have ended.
pub fn processes_of(name: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.contains(&format!("({}", &name[..name.len().min(15)])) && !stat.contains(") Z ")
        })
        .collect()
}
