//! The namespaces in which engines run, and a look at the host after they ended.
//!
//! The program starts itself again as the first process of a PID namespace: when that ends, for
//! whatever reason, the kernel ends all the rest. The new process makes the other namespaces.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;

use crate::harness::host;
use crate::machine::{self, Driver};

/// Everything that engines keep. A tmpfs: Docker's overlay works there on every machine, and
/// nothing has to be removed.
pub const DIRECTORY: &str = "/run/orlop-engines";

/// Tells the second process that it is that, and which cgroup is for all containers.
const INSIDE: &str = "ORLOP_ENGINES_CGROUP";

/// This is the first process of the PID namespace.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// The cgroup with all containers of this run: a path, or what systemd calls it.
pub fn cgroup() -> String {
    if machine::driver() == Driver::Systemd {
        return "orlop_engines.slice".to_string();
    }
    let process = std::process::id();
    std::env::var(INSIDE).unwrap_or_else(|_| format!("/orlop-engines-{process}"))
}

/// Runs this program in a PID namespace and looks what it left outside.
pub fn run_inside() -> ExitCode {
    unshare(CloneFlags::CLONE_NEWPID).expect("make a PID namespace");
    let mut command = Command::new(std::env::current_exe().expect("the path of the test"));
    command.args(std::env::args_os().skip(1)).env(INSIDE, cgroup());
    // Docker's client finds the daemon by this, and no settings of the user.
    command.env("DOCKER_HOST", format!("unix://{DIRECTORY}/docker.sock"));
    command.env("DOCKER_CONFIG", DIRECTORY).env_remove("DOCKER_CONTEXT");
    let status = command.status().expect("run this program in a PID namespace");
    let left = leftovers();
    for line in &left {
        println!("left on the host: {line}");
    }
    if status.success() && left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Makes the other namespaces, with nothing of an engine in them.
pub fn enter() {
    prctl::set_pdeathsig(Signal::SIGKILL).expect("end with the parent");
    unshare_all();
    new_mount("proc", "/proc", None);
    new_mount("tmpfs", "/run", None);
    keep_to_itself();
    // Without it Docker would load its AppArmor profile into the host's kernel.
    if Path::new("/sys/kernel/security").exists() {
        new_mount("tmpfs", "/sys/kernel/security", None);
    }
}

/// On a machine that is thrown away: only what keeps other engines of that machine away. systemd
/// has to see the processes.
pub fn separate() {
    unshare_all();
    keep_to_itself();
}

fn unshare_all() {
    let flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    unshare(flags).expect("make namespaces");
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("keep mounts here");
}

fn keep_to_itself() {
    fs::create_dir(DIRECTORY).expect("make a directory");
    protect_etc();
    orlop::namespaces::net::loopback_up().expect("set lo up");
}

fn new_mount(kind: &str, at: &str, data: Option<&str>) {
    mount(Some("orlop-engines"), at, Some(kind), MsFlags::empty(), data)
        .unwrap_or_else(|error| panic!("mount {kind} at {at}: {error}"));
}

/// Docker 20.10 writes a key to `/etc/docker`, whatever its settings are.
fn protect_etc() {
    let [upper, work] = ["etc", "etc-work"].map(|name| format!("{DIRECTORY}/{name}"));
    for directory in [&upper, &work] {
        fs::create_dir(directory).expect("make a directory");
    }
    let data = format!("lowerdir=/etc,upperdir={upper},workdir={work}");
    new_mount("overlay", "/etc", Some(&data));
}

/// The containers' cgroups in all hierarchies, whether they exist or not.
pub fn cgroups() -> Vec<PathBuf> {
    let cgroup = cgroup();
    let name = cgroup.trim_start_matches('/');
    host::hierarchies().into_iter().map(|hierarchy| hierarchy.join(name)).collect()
}

/// What is left outside. The cgroup that was made for all containers is removed.
fn leftovers() -> Vec<String> {
    let mut left: Vec<_> = host::processes_in_cgroup(&cgroup())
        .into_iter()
        .map(|pid| format!("process {pid}"))
        .collect();
    let mounts = host::mount_table().into_iter().filter(|line| line.contains("orlop-engines"));
    left.extend(mounts.map(|line| format!("mount {line}")));
    for cgroup in cgroups().into_iter().filter(|cgroup| cgroup.exists()) {
        left.extend(below(&cgroup).into_iter().map(|path| {
            // A container that was killed with its engine: say so, and clean up.
            let _ = fs::remove_dir(&path);
            format!("cgroup {}", path.display())
        }));
        if let Err(error) = fs::remove_dir(&cgroup) {
            left.push(format!("cgroup {}: {error}", cgroup.display()));
        }
    }
    left
}

/// The directories in a cgroup.
pub fn below(cgroup: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(cgroup).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}
