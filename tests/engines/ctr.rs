//! containerd alone, through its own client: the shim is told which runtime to call.

use std::process::{Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::docker::{IMAGE, docker};
use crate::harness::terminal::{User, end};
use crate::harness::{Background, Output, reference, runtime, wait_until_gone};
use crate::sandbox::{self, DIRECTORY};
use crate::tests;

tests! {
    exit_statuses_and_output needs [Docker, Ctr],
    programs_that_cannot_run needs [Docker, Ctr],
    options_are_in_force needs [Docker, Ctr],
    mounts_below_a_volume_are_read_only_too needs [Docker, Ctr],
    privileged_on_the_hosts_network needs [Docker, Ctr],
    tasks_from_start_to_end needs [Docker, Ctr],
    exec_in_a_task needs [Docker, Ctr],
    pause_resume_and_metrics needs [Docker, Ctr],
    devices needs [Docker, Ctr],
    seccomp_profiles_and_capabilities needs [Docker, Ctr],
    user_namespaces needs [Docker, Ctr],
    namespaces_of_another_task needs [Docker, Ctr],
    terminals needs [Docker, Ctr],
    want_of_memory_is_told needs [Docker, Ctr],
    logs needs [Docker, Ctr],
    a_hundred_tasks_at_once needs [Docker, Ctr],
}

/// The client. Its containers' cgroups are below one that has the namespace's name.
fn command(args: &[&str]) -> Command {
    let mut command = Command::new("ctr");
    command.args(["--address", &format!("{DIRECTORY}/containerd.sock")]);
    command.args(["--namespace", sandbox::cgroup().trim_start_matches('/')]).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn ctr(args: &[&str]) -> Output {
    Output::of(&mut command(args))
}

/// The image's name here. It is taken over from Docker before the first container.
fn image() -> String {
    static IMPORTED: Once = Once::new();
    IMPORTED.call_once(|| {
        let archive = format!("{DIRECTORY}/saved.tar");
        docker(&["save", "--output", &archive, IMAGE]).ok();
        ctr(&["images", "import", &archive]).ok();
    });
    format!("docker.io/library/{IMAGE}:latest")
}

fn name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("task-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// `ctr run` with a runtime.
fn run_with(path: &str, options: &[&str], name: &str, program: &[&str]) -> Command {
    let mut words = command(&["run", "--runc-binary", path]);
    words.args(options).args([&image(), name]).args(program);
    words
}

/// `ctr run --rm`, to its end, under both runtimes; returns what ours did.
#[track_caller]
fn compared(options: &[&str], program: &[&str]) -> Output {
    let options = [&["--rm"], options].concat();
    let run = |path: &str| Output::of(&mut run_with(path, &options, &name(), program));
    let seen = run(&runtime().to_string_lossy());
    if let Some(runc) = reference::runc() {
        let wanted = run(&runc.to_string_lossy());
        let same = (seen.code, &seen.stdout) == (wanted.code, &wanted.stdout);
        assert!(same, "{options:?} {program:?}: {seen:#?}, with runc {wanted:#?}");
    }
    seen
}

fn sh(options: &[&str], script: &str) -> Output {
    compared(options, &["sh", "-c", script])
}

/// A task that sleeps.
struct Task {
    name: String,
}

impl Task {
    #[track_caller]
    fn start() -> Self {
        let task = Self { name: name() };
        let path = runtime();
        let sleep = ["sleep", "1000"];
        Output::of(&mut run_with(&path.to_string_lossy(), &["--detach"], &task.name, &sleep)).ok();
        task
    }

    /// `ctr task` with this task.
    fn ctr(&self, verb: &[&str], rest: &[&str]) -> Output {
        ctr(&[&["task"], verb, &[self.name.as_str()], rest].concat())
    }

    /// Pid and status, as `ctr task ls` shows them.
    #[track_caller]
    fn listed(&self) -> (i32, String) {
        let list = ctr(&["task", "ls"]).ok();
        let mut words = list
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|words| words.first() == Some(&self.name.as_str()));
        let words = words.next().unwrap_or_else(|| panic!("{} is not in {list}", self.name));
        (words[1].parse().expect("a pid"), words[2].to_string())
    }

    /// Kills the task, waits for its end and removes it.
    #[track_caller]
    fn end(self) {
        let (pid, _) = self.listed();
        self.ctr(&["kill", "--signal", "SIGKILL"], &[]).ok();
        wait_until_gone(pid);
        // It tells a status other than zero as a warning.
        self.ctr(&["rm"], &[]);
        ctr(&["container", "rm", &self.name]).ok();
    }
}

fn exit_statuses_and_output() {
    for code in [0, 1, 42, 125, 126, 127] {
        let seen = sh(&[], &format!("echo out; echo err >&2; exit {code}"));
        assert_eq!((seen.code, seen.stdout.as_str()), (code, "out\n"), "{seen:#?}");
    }
}

fn programs_that_cannot_run() {
    for (program, text) in [
        ("nosuch", "exec: \"nosuch\": executable file not found in $PATH"),
        ("/bin/nosuch", "exec: \"/bin/nosuch\": stat /bin/nosuch: no such file or directory"),
        ("/etc/plain", "exec: \"/etc/plain\": permission denied"),
    ] {
        compared(&[], &[program]).fails(1, text);
    }
}

fn options_are_in_force() {
    let mount = format!("type=bind,src={DIRECTORY}/image,dst=/v,options=rbind:ro");
    let options = ["--read-only", "--env", "A=b", "--cwd", "/tmp", "--mount", &mount];
    let script = "pwd; echo $A; touch /x || echo read-only; touch /v/x || echo no";
    assert_eq!(sh(&options, script).ok(), "/tmp\nb\nread-only\nno\n");
    sh(&[], "grep -e Cap -e Seccomp: /proc/self/status").ok();
    sh(&["--seccomp"], "grep -e Cap -e Seccomp: /proc/self/status").ok();
}

fn mounts_below_a_volume_are_read_only_too() {
    let volume = format!("{DIRECTORY}/recursive");
    std::fs::create_dir_all(format!("{volume}/below")).expect("make a directory");
    let below = std::path::PathBuf::from(format!("{volume}/below"));
    let (none, flags) = (None::<&str>, nix::mount::MsFlags::empty());
    nix::mount::mount(Some("below"), &below, Some("tmpfs"), flags, none).expect("mount");
    let script = "touch /v/x || echo read-only; touch /v/below/x || echo read-only, too";
    for (option, wanted) in [("ro", "read-only\n"), ("rro", "read-only\nread-only, too\n")] {
        let mount = format!("type=bind,src={volume},dst=/v,options=rbind:{option}");
        assert_eq!(sh(&["--mount", &mount], script).ok(), wanted, "{option}");
    }
    nix::mount::umount(&below).expect("unmount");
}

fn privileged_on_the_hosts_network() {
    let options = ["--privileged", "--net-host"];
    sh(&options, "readlink /proc/self/ns/net; mount -t tmpfs tmpfs /tmp").ok();
}

fn tasks_from_start_to_end() {
    let task = Task::start();
    let (pid, status) = task.listed();
    assert_eq!(status, "RUNNING");
    let processes = task.ctr(&["ps"], &[]).ok();
    assert!(processes.lines().any(|line| line.starts_with(&pid.to_string())), "{processes}");
    task.end();
}

fn exec_in_a_task() {
    let task = Task::start();
    let seen = task.ctr(&["exec", "--exec-id", "one"], &["sh", "-c", "echo in; exit 7"]);
    assert_eq!((seen.code, seen.stdout.as_str()), (7, "in\n"), "{seen:#?}");
    let seen = task.ctr(&["exec", "--exec-id", "two", "--cwd", "/tmp"], &["pwd"]);
    assert_eq!(seen.ok(), "/tmp\n");
    let seen = task.ctr(&["exec", "--exec-id", "three"], &["nosuch"]);
    seen.fails(1, "exec: \"nosuch\": executable file not found in $PATH");
    task.end();
}

fn pause_resume_and_metrics() {
    let task = Task::start();
    task.ctr(&["pause"], &[]).ok();
    assert_eq!(task.listed().1, "PAUSED");
    task.ctr(&["resume"], &[]).ok();
    assert_eq!(task.listed().1, "RUNNING");
    let metrics = task.ctr(&["metrics"], &[]).ok();
    assert!(metrics.contains("pids.current"), "{metrics}");
    task.end();
}

fn devices() {
    let script = "mknod /tmp/x c 1 77; (: < /tmp/x) 2>&1; stat -c %t:%T /dev/full";
    let seen = sh(&["--cap-add", "CAP_MKNOD"], script).ok();
    assert!(seen.contains("Operation not permitted"), "{seen}");
    sh(&["--device", "/dev/full"], "stat -c %t:%T /dev/full; echo a > /dev/full; echo $?").ok();
}

fn seccomp_profiles_and_capabilities() {
    let profile = format!("{DIRECTORY}/ctr-profile.json");
    let rule = r#"{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}"#;
    let text = format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rule}]}}"#);
    std::fs::write(&profile, text).expect("write a profile");
    let seen = sh(&["--seccomp", "--seccomp-profile", &profile], "mkdir /d");
    assert!(seen.code == 1 && seen.stderr.contains("No space left on device"), "{seen:#?}");
    let show = "grep Cap /proc/self/status; grep NoNewPrivs /proc/self/status";
    for options in [
        &["--cap-add", "CAP_SYS_TIME"][..],
        &["--cap-drop", "CAP_CHOWN"],
        &["--allow-new-privs"],
        &["--privileged"],
    ] {
        sh(options, show).ok();
    }
}

fn user_namespaces() {
    let options = ["--uidmap", "0:100000:65536", "--gidmap", "0:200000:65536"];
    let script =
        "cat /proc/self/uid_map /proc/self/gid_map; id -u; touch /tmp/f && stat -c %u /tmp/f";
    let seen = sh(&options, script).ok();
    let words: Vec<_> = seen.split_whitespace().collect();
    assert_eq!(words, ["0", "100000", "65536", "0", "200000", "65536", "0", "0"]);
}

fn namespaces_of_another_task() {
    let task = Task::start();
    let (pid, _) = task.listed();
    for (kind, file) in [("pid", "pid"), ("ipc", "ipc"), ("uts", "uts"), ("network", "net")] {
        let join = format!("{kind}:/proc/{pid}/ns/{file}");
        let seen = sh(&["--with-ns", &join], &format!("readlink /proc/self/ns/{file}")).ok();
        let wanted = std::fs::read_link(format!("/proc/{pid}/ns/{file}")).expect("a link");
        assert_eq!(seen.trim(), wanted.to_string_lossy(), "{kind}");
    }
    task.end();
}

fn terminals() {
    let mut user = User::new(20, 90);
    let program = ["sh", "-c", "tty; exit 3"];
    let options = ["--rm", "--tty"];
    let mut run = run_with(&runtime().to_string_lossy(), &options, &name(), &program);
    let child = user.start(&mut run);
    user.screen.wait_for("/dev/pts/0");
    assert_eq!(end(child), 3);
    let task = Task::start();
    let mut exec = command(&["task", "exec", "--tty", "--exec-id", "one", &task.name, "sh"]);
    let mut user = User::new(30, 70);
    let child = user.start(&mut exec);
    // ctr sets the size when the program runs.
    user.screen.type_in("until stty size | grep '30 70'; do sleep 0.1; done 2>/dev/null; exit 4\n");
    user.screen.wait_for("\n30 70");
    assert_eq!(end(child), 4);
    task.end();
}

fn want_of_memory_is_told() {
    let mut events = Background::start(&mut command(&["events"]));
    let limit = ["--memory-limit", "16777216"];
    let seen = sh(&limit, "exec dd if=/dev/zero of=/dev/null bs=200M");
    assert_eq!(seen.code, 137, "{seen:#?}");
    while !events.line().contains("/tasks/oom") {}
    events.kill();
}

fn logs() {
    let log = format!("{DIRECTORY}/ctr.log");
    let task = Task { name: name() };
    let options = ["--detach", "--log-uri", &format!("file://{log}")];
    let script = ["sh", "-c", "echo out; echo err >&2; exec sleep 1000"];
    Output::of(&mut run_with(&runtime().to_string_lossy(), &options, &task.name, &script)).ok();
    let written = "until grep ^sleep /proc/1/cmdline; do sleep 0.1; done";
    task.ctr(&["exec", "--exec-id", "one"], &["sh", "-c", written]).ok();
    task.end();
    let text = std::fs::read_to_string(&log).expect("read the log");
    assert!(text.contains("out\n") && text.contains("err\n"), "{text}");
}

fn a_hundred_tasks_at_once() {
    let (path, sleep) = (runtime(), ["sleep", "1000"]);
    let tasks: Vec<_> = (0..100).map(|_| Task { name: name() }).collect();
    let starting: Vec<_> = tasks
        .iter()
        .map(|task| run_with(&path.to_string_lossy(), &["--detach"], &task.name, &sleep))
        .map(|mut command| Background::start(&mut command))
        .collect();
    for start in starting {
        start.end().ok();
    }
    for task in tasks {
        assert_eq!(task.listed().1, "RUNNING");
        task.end();
    }
}
