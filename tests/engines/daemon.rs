//! One Docker daemon for all tests, with containerd, and the image that its containers run.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::buildkit;
use crate::docker::{self, IMAGE, OURS, REFERENCE};
use crate::harness::{DEADLINE, Output, host, reference, runtime, wait_until_gone};
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
        write_settings();
        let socket = format!("{DIRECTORY}/notify.sock");
        let ready = ready_socket(&socket);
        let path = std::env::var("PATH").unwrap_or_default();
        for (program, option) in [("containerd", "--config"), ("dockerd", "--config-file")] {
            let config = format!("{DIRECTORY}/{program}.conf");
            let mut command = Command::new(program);
            command.args([option, &config]).env("NOTIFY_SOCKET", &socket);
            command.env("PATH", format!("{DIRECTORY}/bin:{path}"));
            start_with_log(&mut command, &log(program));
            wait_until_ready(&ready, &log(program));
        }
        make_image();
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
        // Podman keeps these two.
        let mounts = mounts.filter(|line| !line.contains(" /run/netns "));
        let mounts = mounts.filter(|line| !line.contains("/podman/overlay "));
        left.extend(mounts.map(|line| format!("mount {line}")));
        let states = sandbox::below(Path::new(&format!("{DIRECTORY}/exec/runtime-{OURS}/moby")));
        left.extend(states.iter().map(|path| format!("state {}", path.display())));
        let cgroups = sandbox::cgroups().into_iter().flat_map(|cgroup| sandbox::below(&cgroup));
        left.extend(cgroups.map(|path| format!("cgroup {}", path.display())));
        left
    }
}

fn write_settings() {
    let containerd = format!(
        "version = 2\nroot = '{DIRECTORY}/containerd'\nstate = '{DIRECTORY}/containerd-state'\n\
         disabled_plugins = ['io.containerd.grpc.v1.cri']\n\
         [grpc]\naddress = '{DIRECTORY}/containerd.sock'\n"
    );
    fs::write(format!("{DIRECTORY}/containerd.conf"), containerd).expect("write settings");
    let settings = docker_settings(DIRECTORY);
    fs::write(format!("{DIRECTORY}/dockerd.conf"), settings.to_string()).expect("write settings");
    // BuildKit takes the first of that name.
    let calls = buildkit::CALLS;
    let script = format!(
        "#!/bin/bash\necho \"$@\" >>{DIRECTORY}/{calls}\nexec -a runc {} \"$@\"\n",
        runtime().display()
    );
    fs::create_dir(format!("{DIRECTORY}/bin")).expect("make a directory");
    let path = format!("{DIRECTORY}/bin/runc");
    fs::write(&path, script).expect("write a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
}

/// The settings of a daemon that keeps everything in this directory.
pub fn docker_settings(directory: &str) -> Value {
    let mut runtimes = json!({OURS: {"path": runtime()}});
    if let Some(runc) = reference::runc() {
        runtimes[REFERENCE] = json!({"path": runc});
    }
    json!({
        "storage-driver": "overlay2",
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "cgroup-parent": sandbox::cgroup(),
        "data-root": format!("{directory}/data"),
        "exec-root": format!("{directory}/exec"),
        "pidfile": format!("{directory}/dockerd.pid"),
        "hosts": [format!("unix://{directory}/docker.sock")],
        "containerd": format!("{DIRECTORY}/containerd.sock"),
        "runtimes": runtimes,
        "default-runtime": OURS,
    })
}

fn log(program: &str) -> String {
    format!("{DIRECTORY}/{program}.log")
}

fn start_with_log(command: &mut Command, log: &str) {
    let file = File::create(log).expect("make a log");
    command.stdin(Stdio::null());
    command.stdout(file.try_clone().expect("copy a descriptor")).stderr(file);
    let mut daemon = command.spawn().expect("start a daemon");
    std::thread::spawn(move || daemon.wait());
}

/// A socket at which daemons tell that they are ready.
pub fn ready_socket(path: &str) -> UnixDatagram {
    let ready = UnixDatagram::bind(path).expect("bind a socket");
    ready.set_read_timeout(Some(DEADLINE)).expect("set a timeout");
    ready
}

/// Daemons send `READY=1` when they are: sd_notify(3).
pub fn wait_until_ready(socket: &UnixDatagram, log: &str) {
    let mut message = [0; 4096];
    loop {
        let Ok(length) = socket.recv(&mut message) else {
            panic!("not ready:\n{}", fs::read_to_string(log).unwrap_or_default());
        };
        if message[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
            return;
        }
    }
}

/// A static busybox with a link for each of its programs, and two users.
fn make_image() {
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
    docker::docker(&["import", &archive, IMAGE]).ok();
}

/// The processes here whose name begins like this, without those that have ended.
fn processes_of(name: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.contains(&format!("({}", &name[..name.len().min(15)])) && !stat.contains(") Z ")
        })
        .collect()
}
