//! What this machine has.

use std::fs;
use std::path::{Path, PathBuf};

/// Something that a test needs of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Every privilege of the host's root but those that sandboxes take away.
    Root,
    /// Hierarchies of cgroup v1.
    CgroupV1,
    /// Only the unified hierarchy.
    CgroupV2,
    /// `CAP_SYS_RESOURCE`, one of those privileges.
    SysResource,
    /// A kernel that knows nodes of memory.
    Numa,
    /// More than one processor.
    TwoProcessors,
    /// Cgroups that nobody but the runtime makes: not `DRIVER=systemd`.
    Cgroupfs,
    /// A kernel that knows null_blk and the scheduler BFQ as modules.
    NullBlock,
    /// The controller of huge pages.
    HugePages,
    /// Realtime shares of cgroups.
    Realtime,
    /// systemd as the first process, and cgroup v2; for an ordinary user his own manager.
    Systemd,
    /// The first ordinary user, with a systemd of his own.
    UserManager,
    /// A kernel that tells the log about audited calls, and the right to read that.
    KernelLog,
    /// Calls of 32-bit programs.
    Calls32,
    /// open_tree(2) that makes mount namespaces.
    TreeNamespaces,
    /// A disk in a file, with a file system.
    Disk,
    /// strace(1), to stop the runtime at each of its system calls.
    Strace,
    /// AppArmor in force, and what loads profiles.
    AppArmor,
    /// No AppArmor.
    NoAppArmor,
    /// ip(8), to make interfaces.
    Ip,
    /// newuidmap(1) and newgidmap(1).
    UidMap,
    /// Docker with all that it needs, and the right to make namespaces for it.
    #[allow(dead_code, reason = "only the engine tests need it")]
    Docker,
    /// containerd's client.
    #[allow(dead_code, reason = "only the engine tests need it")]
    Ctr,
    /// Podman with conmon and a network.
    #[allow(dead_code, reason = "only the engine tests need it")]
    Podman,
    /// Tests of CRI that `make engines` has built, and plugins for the networks of pods.
    #[allow(dead_code, reason = "only the engine tests need it")]
    Cri,
    /// Buildah.
    #[allow(dead_code, reason = "only the engine tests need it")]
    Buildah,
}

/// Programs that Podman executes.
const PODMAN: [&str; 3] = ["podman", "conmon", "iptables"];

/// Programs that the tests of CRI execute.
const CRI: [&str; 5] = ["pkill", "lsof", "containerd", "ctr", "ipcmk"];

/// containerd's tests of its CRI plugin, as the Makefile has built them.
#[allow(dead_code, reason = "only the engine tests need it")]
pub const CRI_TESTS: &str = "cri-tests";

/// Those of containerd 2.
#[allow(dead_code, reason = "only the engine tests need it")]
pub const CRI2_TESTS: &str = "cri2-tests";

/// Our own tests of pods.
#[allow(dead_code, reason = "only the engine tests need it")]
pub const POD_TESTS: &str = "pod-tests";

/// What `make engines` builds of Go modules.
const BUILT: [&str; 7] = [
    CRI_TESTS,
    CRI2_TESTS,
    POD_TESTS,
    "containerd",
    "containerd-shim-runc-v2",
    "crictl",
    "critest",
];

/// Where distributions keep the plugins that make networks.
pub const NETWORK_PLUGINS: &str = "/usr/lib/cni";

/// Programs that Docker's daemon executes, and those of its tests.
const DOCKER: [&str; 7] = [
    "docker",
    "dockerd",
    "docker-init",
    "containerd",
    "containerd-shim-runc-v2",
    "iptables",
    "busybox",
];

impl Needs {
    /// Why the machine does not have it, if it does not.
    pub fn missing(&self) -> Option<String> {
        let why = match self {
            Self::Root | Self::Docker if !nix::unistd::geteuid().is_root() => "needs root",
            Self::CgroupV1 if is_v2() => "needs cgroup v1",
            Self::CgroupV2 if !is_v2() => "needs cgroup v2",
            Self::SysResource if !has_sys_resource() => "needs CAP_SYS_RESOURCE",
            Self::Cgroupfs if by_systemd() => "needs cgroups that systemd does not make",
            Self::NullBlock if !has_modules(&["null_blk", "bfq"]) => {
                "needs the modules null_blk and bfq"
            }
            Self::HugePages if !has_controller_of_huge_pages() => "needs the controller hugetlb",
            Self::Realtime if !cgroup("cpu", "cpu.rt_runtime_us").exists() => {
                "needs realtime shares of cgroups"
            }
            Self::Numa if !Path::new("/proc/self/numa_maps").exists() => "needs NUMA",
            Self::TwoProcessors if processors() < 2 => "needs two processors",
            Self::Systemd if !is_v2() || !Path::new("/run/systemd/system").exists() => {
                "needs systemd and cgroup v2"
            }
            Self::UserManager if !Path::new("/run/user/1000/bus").exists() => {
                "needs user 1000 with a systemd of his own"
            }
            Self::KernelLog if !has_kernel_log() => "needs a kernel with audit, and /dev/kmsg",
            Self::Calls32 if !has_calls_of_32_bits() => "needs the calls of 32-bit programs",
            Self::TreeNamespaces if !orlop::sys::mount::namespaces_of_trees_exist() => {
                "needs OPEN_TREE_NAMESPACE (Linux 7.0)"
            }
            Self::Disk
                if !(has_program("mkfs.ext4") && Path::new("/dev/loop-control").exists()) =>
            {
                "needs mkfs.ext4 and loop devices"
            }
            Self::Strace if !has_program("strace") => "needs strace",
            Self::AppArmor if !has_apparmor() => "needs AppArmor",
            Self::NoAppArmor if has_apparmor() => "needs to be without AppArmor",
            Self::Ip if !has_program("ip") => "needs ip",
            Self::UidMap if !has_program("newuidmap") => "needs newuidmap",
            Self::Docker => {
                let missing = DOCKER.iter().find(|name| !has_program(name));
                return missing.map(|name| format!("needs {name}"));
            }
            Self::Podman => {
                let missing = PODMAN.iter().find(|name| !has_program(name));
                return missing.map(|name| format!("needs {name}"));
            }
            Self::Cri => return missing_of_cri(),
            Self::Ctr if !has_program("ctr") => "needs ctr",
            Self::Buildah if !has_program("buildah") => "needs buildah",
            _ => return None,
        };
        Some(why.to_string())
    }
}

fn missing_of_cri() -> Option<String> {
    let bridge = Path::new(NETWORK_PLUGINS).join("bridge");
    let mut files = BUILT.map(built_for_engines).into_iter().chain([bridge]);
    let file = files.find(|file| !file.exists()).map(|file| file.display().to_string());
    let program = CRI.iter().find(|name| !has_program(name)).map(ToString::to_string);
    file.or(program).map(|name| format!("needs {name}"))
}

/// A program that `make engines` builds.
pub fn built_for_engines(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/engines").join(name)
}

/// The kind of machine, as `counts.txt` names it, with the engines' driver of cgroups if there is
/// more than one.
pub fn kind() -> String {
    let kind = match (is_v2(), nix::unistd::geteuid().is_root()) {
        (true, true) if by_systemd() => "v2-systemd",
        (true, true) => "v2",
        (true, false) => "v2-user",
        (false, _) => "v1",
    };
    std::env::var("CGROUP_DRIVER").map_or(kind.to_string(), |driver| format!("{kind}-{driver}"))
}

/// `DRIVER=systemd`: all cases have their cgroups made by systemd.
pub fn by_systemd() -> bool {
    std::env::var("DRIVER").is_ok_and(|driver| driver == "systemd")
}

/// Only the unified hierarchy is mounted.
pub fn is_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Without it limits cannot be raised, nor the OOM score lowered.
pub fn has_sys_resource() -> bool {
    let capability = caps::Capability::CAP_SYS_RESOURCE;
    caps::has_cap(None, caps::CapSet::Permitted, capability).unwrap_or(true)
}

fn has_kernel_log() -> bool {
    let log = fs::OpenOptions::new().read(true).open("/dev/kmsg");
    let words = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let off = words.split_whitespace().any(|word| ["audit=0", "audit=off"].contains(&word));
    log.is_ok() && Path::new("/proc/self/loginuid").exists() && !off
}

/// The kernel describes what 32-bit programs are given only if it runs them.
fn has_calls_of_32_bits() -> bool {
    cfg!(target_arch = "x86_64") && Path::new("/proc/sys/abi/vsyscall32").exists()
}

fn has_modules(names: &[&str]) -> bool {
    let mut modprobe = std::process::Command::new("modprobe");
    modprobe.args(["--dry-run", "--quiet", "--all"]).args(names);
    has_program("modprobe") && modprobe.status().is_ok_and(|status| status.success())
}

fn has_controller_of_huge_pages() -> bool {
    let list = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    list.split_whitespace().any(|name| name == "hugetlb") || cgroup("hugetlb", "tasks").exists()
}

fn has_apparmor() -> bool {
    orlop::host::has_apparmor() && program("apparmor_parser").is_some()
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn has_program(name: &str) -> bool {
    program(name).is_some()
}

/// The path of a program of this machine.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.exists())
}

/// The directories of all hierarchies.
pub fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    if is_v2() {
        return vec![root.to_path_buf()];
    }
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.join("cgroup.procs").exists()).collect()
}

/// The directory of a cgroup in the hierarchy with this controller.
pub fn cgroup(controller: &str, path: &str) -> PathBuf {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchy = if is_v2() { root.to_path_buf() } else { root.join(controller) };
    hierarchy.join(path.trim_start_matches('/'))
}

/// The cgroup below which the systemd of this user makes its own; empty for root.
pub fn cgroup_of_manager() -> String {
    let uid = nix::unistd::geteuid();
    match uid.is_root() {
        true => String::new(),
        false => format!("/user.slice/user-{uid}.slice/user@{uid}.service"),
    }
}

/// The lines of the host's mount table.
pub fn mount_table() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("read the mount table");
    table.lines().map(str::to_string).collect()
}

/// The next number may be that of another container.
fn is_below(line: &str, part: &str) -> bool {
    line.match_indices(part).any(|(at, _)| {
        let rest = &line[at + part.len()..];
        rest.is_empty() || rest.starts_with(['/', ' ', '.'])
    })
}

/// By its line in procfs a process waits for somebody to reap it, or is about to (`PF_EXITING`): it
/// leaves its cgroup long before the kernel has released its namespaces.
fn has_ended(stat: &str) -> bool {
    const PF_EXITING: u32 = 4;
    let Some((_, rest)) = stat.rsplit_once(") ") else { return true };
    let mut fields = rest.split(' ');
    let state = fields.next();
    let flags = fields.nth(5).and_then(|flags| flags.parse().ok()).unwrap_or(0);
    matches!(state, Some("Z" | "X")) || flags & PF_EXITING != 0
}

/// The pids of processes whose cgroup is `part`, or below, in whatever that is. Those that have ended do not count:
/// whoever they were left to may take its time to reap them.
pub fn processes_in_cgroup(part: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !has_ended(&stat)
        })
        .filter(|pid: &i32| {
            let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            cgroup.lines().any(|line| is_below(line, part))
        })
        .collect()
}
