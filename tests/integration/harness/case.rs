//! One container for one test: its bundle, the commands on it, and its end without a trace.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::ordinary::Ordinary;
use super::process::{Background, Output, copy_program, runtime};
use super::terminal::{Receiver, Screen};
use super::{host, wait_until_gone};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A bundle and the container made from it.
pub struct Case {
    /// The name of the container.
    pub id: String,
    /// A directory for whatever the test needs; goes away with it.
    pub dir: PathBuf,
    /// The document that becomes `config.json`.
    pub config: Value,
    /// The executable under test, or another one to compare with.
    pub runtime: PathBuf,
    /// Who executes it, if that is not root.
    pub user: Option<Ordinary>,
    /// systemd makes its cgroups: `DRIVER=systemd` for all cases, or one by one.
    pub by_systemd: bool,
    mounts_before: Vec<String>,
}

impl Case {
    /// A container that runs the probe with these words, in new namespaces, with the usual
    /// mounts, and with a cgroup of its own.
    pub fn new(words: &[&str]) -> Self {
        Self::below(Path::new(env!("CARGO_TARGET_TMPDIR")), words)
    }

    /// As [`Case::new`], with its directory below `base`.
    pub fn below(base: &Path, words: &[&str]) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let id = format!("t{}-{number}", std::process::id());
        let dir = base.join(&id);
        make_rootfs(&dir.join("rootfs"));
        let (config, mounts_before) = (config(&id), host::mount_table());
        let (runtime, user, by_systemd) = (runtime(), None, false);
        let mut case = Self { id, dir, config, runtime, user, by_systemd, mounts_before };
        case.args(words);
        if host::by_systemd() {
            case.scope();
        }
        case
    }

    /// Lets systemd make its cgroups, as a scope at the root of what systemd has.
    pub fn scope(&mut self) -> &mut Self {
        self.by_systemd = true;
        self.set("/linux/cgroupsPath", json!(format!("-.slice:orlop-test:{}", self.id)))
    }

    /// The name of its scope.
    pub fn unit(&self) -> String {
        format!("orlop-test-{}.scope", self.id)
    }

    /// Sets the probe's words.
    pub fn args(&mut self, words: &[&str]) -> &mut Self {
        let args: Vec<_> = std::iter::once("/bin/probe").chain(words.iter().copied()).collect();
        self.set("/process/args", json!(args))
    }

    /// Sets the member at a JSON pointer, whose parent has to be there; `-` as the last part
    /// appends to an array.
    #[track_caller]
    pub fn set(&mut self, pointer: &str, value: Value) -> &mut Self {
        let (parent, name) = pointer.rsplit_once('/').expect("a JSON pointer");
        match self.config.pointer_mut(parent).expect("the parent of the member") {
            Value::Array(list) if name == "-" => list.push(value),
            Value::Array(list) => match name.parse::<usize>().expect("an index") {
                index if index == list.len() => list.push(value),
                index => list[index] = value,
            },
            Value::Object(object) => {
                object.insert(name.to_string(), value);
            }
            other => panic!("{parent} is {other}"),
        }
        self
    }

    /// Removes a member.
    #[track_caller]
    pub fn remove(&mut self, pointer: &str) -> &mut Self {
        let (parent, name) = pointer.rsplit_once('/').expect("a JSON pointer");
        let object = self.config.pointer_mut(parent).and_then(Value::as_object_mut);
        object.expect("the parent of the member").remove(name);
        self
    }

    /// Removes a namespace, or adds one.
    pub fn namespace(&mut self, kind: &str, entry: Option<Value>) -> &mut Self {
        let list = self.config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        list.retain(|namespace| namespace["type"] != kind);
        list.extend(entry);
        self
    }

    /// Its cgroup.
    pub fn cgroup(&self) -> String {
        match self.by_systemd {
            true => format!("{}/{}", host::cgroup_of_manager(), self.unit()),
            false => format!("/orlop-test/{}", self.id),
        }
    }

    /// Its root file system on the host.
    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// Makes it anew, without what containers left in it.
    pub fn make_rootfs_again(&self) {
        fs::remove_dir_all(self.rootfs()).expect("remove the root file system");
        make_rootfs(&self.rootfs());
    }

    /// Where the runtime keeps its containers.
    pub fn state_root(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Writes `config.json`.
    pub fn write_config(&self) {
        let text = serde_json::to_string_pretty(&self.config).expect("a document");
        fs::write(self.dir.join("config.json"), text).expect("write config.json");
    }

    /// These arguments after those that every command of this test has.
    pub fn arguments(&self, args: &[&str]) -> Vec<OsString> {
        let own = ["--root".into(), self.state_root().into_os_string()];
        let driver = self.by_systemd.then(|| "--systemd-cgroup".into());
        own.into_iter().chain(driver).chain(args.iter().map(OsString::from)).collect()
    }

    /// The runtime with these arguments, below this test's state root.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.runtime);
        command.args(self.arguments(args)).current_dir(&self.dir);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(user) = &self.user {
            user.execute(&mut command);
        }
        command
    }

    /// Runs the runtime to its end.
    pub fn runtime(&self, args: &[&str]) -> Output {
        Output::of(&mut self.command(args))
    }

    /// The runtime with these arguments, in a sandbox that lacks system calls: see `without.rs`.
    pub fn command_without(&self, calls: &[impl ToString], args: &[&str]) -> Command {
        let mut command = Command::new(example("without"));
        command.args(calls.iter().map(ToString::to_string)).arg("--").arg(&self.runtime);
        command.args(self.arguments(args)).current_dir(&self.dir);
        command
    }

    /// From here on the runtime of this case is in a sandbox that lacks system calls.
    pub fn lacks(&mut self, calls: &[libc::c_long]) {
        let calls: Vec<_> = calls.iter().map(ToString::to_string).collect();
        let (without, runtime) = (example("without"), self.runtime.display());
        let text = format!(
            "#!/bin/sh\nexec {} {} -- {runtime} \"$@\"\n",
            without.display(),
            calls.join(" ")
        );
        self.runtime = self.dir.join("sandboxed");
        fs::write(&self.runtime, text).expect("write a script");
        fs::set_permissions(&self.runtime, fs::Permissions::from_mode(0o755)).expect("chmod");
    }

    /// `run`, to the end of the container.
    pub fn run(&self) -> Output {
        self.run_with(&[])
    }

    /// `run` with more options.
    pub fn run_with(&self, options: &[&str]) -> Output {
        self.write_config();
        let args: Vec<_> =
            ["run"].iter().chain(options).copied().chain([self.id.as_str()]).collect();
        self.runtime(&args)
    }

    /// `run` in the background.
    pub fn run_in_background(&self) -> Background {
        self.write_config();
        Background::start(&mut self.command(&["run", &self.id]))
    }

    /// `create`. The container gets the pipes, so its output comes with that of the command.
    pub fn create(&self) -> Output {
        self.create_with(&[])
    }

    /// `create` with more options.
    pub fn create_with(&self, options: &[&str]) -> Output {
        self.write_config();
        let args: Vec<_> =
            ["create"].iter().chain(options).copied().chain([self.id.as_str()]).collect();
        self.runtime(&args)
    }

    /// `create` whose pipes stay open for what the container writes later.
    pub fn create_in_background(&self) -> Background {
        self.write_config();
        Background::start(&mut self.command(&["create", &self.id]))
    }

    /// `exec` of the probe with these words in it, with more options.
    pub fn exec_with(&self, options: &[&str], words: &[&str]) -> Output {
        self.runtime(&self.exec_arguments(options, words))
    }

    /// `exec` of the probe with these words.
    pub fn exec(&self, words: &[&str]) -> Output {
        self.exec_with(&[], words)
    }

    /// The arguments of [`Case::exec_with`].
    pub fn exec_arguments<'a>(&'a self, options: &[&'a str], words: &[&'a str]) -> Vec<&'a str> {
        let own = [self.id.as_str(), "/bin/probe"];
        ["exec"].iter().chain(options).copied().chain(own).chain(words.iter().copied()).collect()
    }

    /// A container that runs until it is killed, for `exec`.
    pub fn running() -> Self {
        let case = Self::new(&["wait"]);
        case.run_detached();
        case
    }

    /// `run --detach` without any streams.
    #[track_caller]
    pub fn run_detached(&self) {
        self.write_config();
        let mut command = self.command(&["run", "--detach", &self.id]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        assert_eq!(Background::wait_for(&mut command), 0, "run --detach fails");
    }

    /// `start`
    pub fn start(&self) -> Output {
        self.runtime(&["start", &self.id])
    }

    /// `kill`
    pub fn kill(&self, signal: &str) -> Output {
        self.runtime(&["kill", &self.id, signal])
    }

    /// `delete`
    pub fn delete(&self) -> Output {
        self.runtime(&["delete", &self.id])
    }

    /// Runs the program to its end by `create`, `start` and `delete`, with a file for its
    /// output, and returns that. The standard streams are then the program's own under every
    /// runtime.
    ///
    /// # Errors
    /// What the runtime wrote when it did not create or start the container.
    pub fn observe(&self) -> Result<String, String> {
        self.write_config();
        if self.config["process"]["terminal"] == json!(true) {
            return self.observe_terminal();
        }
        let (path, complaints) = (self.dir.join("output"), self.dir.join("complaints"));
        for words in [["create", &self.id], ["start", &self.id]] {
            let mut command = self.command(&words);
            command.stdout(fs::File::create(&path).expect("make a file"));
            command.stderr(fs::File::create(&complaints).expect("make a file"));
            if Background::wait_for(&mut command) != 0 {
                return Err(fs::read_to_string(&complaints).expect("read a file"));
            }
        }
        self.wait_for_end();
        self.delete().ok();
        Ok(fs::read_to_string(&path).expect("read a file"))
    }

    fn observe_terminal(&self) -> Result<String, String> {
        let receiver = Receiver::new(&self.id);
        let options = ["create", "--console-socket", receiver.argument(), &self.id];
        let created = self.runtime(&options);
        if created.code != 0 {
            return Err(created.stderr);
        }
        let mut screen = Screen::new(receiver.receive().0);
        let started = self.start();
        if started.code != 0 {
            return Err(started.stderr);
        }
        screen.rest();
        self.wait_for_end();
        self.delete().ok();
        Ok(screen.text)
    }

    /// The document that `state` prints.
    #[track_caller]
    pub fn state(&self) -> Value {
        let text = self.runtime(&["state", &self.id]).ok();
        serde_json::from_str(&text).expect("state prints JSON")
    }

    /// The status that `state` prints.
    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().expect("a status").to_string()
    }

    /// The first process on the host.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        let pid = self.state()["pid"].as_i64().expect("a pid");
        i32::try_from(pid).expect("a pid")
    }

    /// Waits until the first process has ended.
    #[track_caller]
    pub fn wait_for_end(&self) {
        match self.pid() {
            0 => {}
            pid => wait_until_gone(pid),
        }
    }

    /// Deletes the container by force and checks that nothing of it is left.
    #[track_caller]
    pub fn end(&self) {
        self.runtime(&["delete", "--force", &self.id]).ok();
        let left = self.leftovers();
        assert!(left.is_empty(), "left behind: {left:#?}");
    }

    /// What is left of the container on this machine.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        let states = fs::read_dir(self.state_root()).into_iter().flatten().flatten();
        left.extend(states.map(|entry| format!("state {}", entry.path().display())));
        let here = self.dir.display().to_string();
        let new = host::mount_table()
            .into_iter()
            .filter(|line| line.contains(&here) && !self.mounts_before.contains(line));
        left.extend(new.map(|line| format!("mount {line}")));
        for hierarchy in host::hierarchies() {
            let path = hierarchy.join(self.cgroup().trim_start_matches('/'));
            if path.exists() {
                left.push(format!("cgroup {}", path.display()));
            }
        }
        let processes = host::processes_in_cgroup(&self.cgroup());
        left.extend(processes.into_iter().map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            format!("process {}", stat.trim_end())
        }));
        left
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The test has failed already; this only cleans up, as far as it goes.
            self.runtime(&["delete", "--force", &self.id]);
            let detach = nix::mount::MntFlags::MNT_DETACH;
            while nix::mount::umount2(&self.rootfs(), detach).is_ok() {}
            let _ = fs::remove_dir_all(&self.dir);
            return;
        }
        self.end();
        fs::remove_dir_all(&self.dir).expect("remove the test's directory");
    }
}

/// A program that was built beside the tests.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of the test");
    let build = test.parent().and_then(Path::parent).expect("the build directory");
    build.join("examples").join(name)
}

fn make_rootfs(path: &Path) {
    for directory in ["bin", "dev", "etc", "home", "proc", "run", "sys", "tmp", "var"] {
        fs::create_dir_all(path.join(directory)).expect("make a directory");
    }
    fs::set_permissions(path.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("chmod");
    // One copy for all root file systems of a test: it is large.
    let copy = path.with_extension("probe");
    if !copy.exists() {
        copy_program(&example("probe"), &copy);
    }
    fs::hard_link(&copy, path.join("bin/probe")).expect("link the probe");
    symlink("probe", path.join("bin/also-probe")).expect("make a link");
    let passwd = "root:x:0:0:root:/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n";
    fs::write(path.join("etc/passwd"), passwd).expect("write passwd");
}

/// A document like those that engines write.
fn config(id: &str) -> Value {
    let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.3.0",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": [],
            "env": ["PATH=/bin", "A=b"],
            "cwd": "/",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs"},
        "hostname": "box",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs",
             "options": ["nosuid", "noexec", "nodev", "ro"]}
        ],
        "linux": {
            "cgroupsPath": format!("/orlop-test/{id}"),
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"},
                {"type": "mount"}
            ],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/sys"]
        }
    })
}
