//! What Podman's users do.

use crate::harness::{Background, Output, wait_until_gone};
use crate::podman::{Container, Pod, command, compared, podman};
use crate::sandbox::DIRECTORY;
use crate::tests;

tests! {
    exit_statuses needs [Docker, Podman],
    programs_that_cannot_run needs [Docker, Podman],
    a_failed_container_leaves_nothing needs [Docker, Podman],
    options_are_in_force needs [Docker, Podman],
    volumes_and_read_only_roots needs [Docker, Podman],
    capabilities_and_privileged needs [Docker, Podman],
    seccomp_profiles needs [Docker, Podman],
    user_namespaces needs [Docker, Podman],
    terminals needs [Docker, Podman],
    standard_input needs [Docker, Podman],
    exec_in_a_container needs [Docker, Podman],
    detached_containers_leave_logs needs [Docker, Podman],
    stop_and_kill needs [Docker, Podman],
    restart_makes_a_new_process needs [Docker, Podman],
    networks needs [Docker, Podman],
    namespaces_of_the_host needs [Docker, Podman],
    pods_share_namespaces needs [Docker, Podman],
    pause_and_update needs [Docker, Podman],
    top_and_stats needs [Docker, Podman],
    twenty_containers_at_once needs [Docker, Podman],
}

fn sh(options: &[&str], script: &str) -> Output {
    compared(options, &["sh", "-c", script])
}

pub fn exit_statuses() {
    for code in [0, 1, 42, 125, 126, 127, 255] {
        let seen = sh(&[], &format!("echo out; echo err >&2; exit {code}"));
        assert_eq!((seen.code, seen.stdout.as_str()), (code, "out\n"), "{seen:#?}");
        assert!(seen.stderr.ends_with("err\n"), "{seen:#?}");
    }
    assert_eq!(sh(&[], "kill -9 $$; sleep 0; kill -TERM $$; exit 3").code, 3);
    assert_eq!(sh(&["--pid", "host"], "kill -9 $$").code, 137);
}

/// Podman derives its own status from the runtime's text.
fn programs_that_cannot_run() {
    for (program, code, text) in [
        ("nosuch", 127, "exec: \"nosuch\": executable file not found in $PATH"),
        ("/bin/nosuch", 127, "exec: \"/bin/nosuch\": stat /bin/nosuch: no such file or directory"),
        ("/etc/plain", 126, "exec: \"/etc/plain\": permission denied"),
    ] {
        compared(&[], &[program]).fails(code, text);
    }
}

pub fn a_failed_container_leaves_nothing() {
    let container = Container::new();
    container.run(&["--rm"], &["nosuch"]).fails(127, "executable file not found");
    container.podman(&["container", "exists"]).fails(1, "");
}

pub fn options_are_in_force() {
    let options = [
        ["--user", "1000:50"],
        ["--workdir", "/tmp"],
        ["--env", "A=b c"],
        ["--hostname", "named"],
        ["--sysctl", "kernel.msgmax=1234"],
        ["--pids-limit", "30"],
    ];
    let options: Vec<_> = options.concat();
    let script = "id -u; id -g; pwd; echo $A; hostname; cat /proc/sys/kernel/msgmax; umask";
    let seen = sh(&options, script);
    assert_eq!(seen.ok(), "1000\n50\n/tmp\nb c\nnamed\n1234\n0022\n");
    // Podman raises limits that it is not told about.
    let limits = ["--ulimit", "nofile=100:200", "--ulimit", "nproc=300:300"];
    assert_eq!(sh(&limits, "ulimit -Sn; ulimit -Hn; ulimit -Su").ok(), "100\n200\n300\n");
    assert_eq!(sh(&["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj").ok(), "500\n");
}

pub fn volumes_and_read_only_roots() {
    let volume = format!("{DIRECTORY}/image:/v");
    let script = "touch /v/x || echo read-only; touch /y || echo no; touch /z/y && echo yes";
    let options = ["--volume", &format!("{volume}:ro"), "--read-only", "--tmpfs", "/z"];
    assert_eq!(sh(&options, script).ok(), "read-only\nno\nyes\n");
    for propagation in ["rprivate", "rslave", "rshared"] {
        let options = ["--volume", &format!("{volume}:{propagation}")];
        sh(&options, "test -x /v/bin/busybox").ok();
    }
    let container = Container::new();
    let own = ["--volume", "/own"];
    assert_eq!(container.sh(&own, "echo a > /own/f; cat /own/f").ok(), "a\n");
}

pub fn capabilities_and_privileged() {
    let show = "grep Cap /proc/self/status; grep NoNewPrivs /proc/self/status";
    for options in [
        &[][..],
        &["--cap-drop", "all"],
        &["--cap-drop", "all", "--cap-add", "net_raw"],
        &["--user", "1000", "--cap-add", "net_raw"],
        &["--security-opt", "no-new-privileges"],
        &["--privileged"],
    ] {
        sh(options, show).ok();
    }
    sh(&["--privileged"], "mount -t tmpfs tmpfs /tmp && test -c /dev/full").ok();
    sh(&[], "mount -t tmpfs tmpfs /tmp").fails(1, "ermission denied");
}

fn seccomp_profiles() {
    let profile = format!("{DIRECTORY}/podman-profile.json");
    let rule = r#"{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}"#;
    let text = format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rule}]}}"#);
    std::fs::write(&profile, text).expect("write a profile");
    for (value, mode) in [("unconfined", 0), (profile.as_str(), 2)] {
        let option = format!("seccomp={value}");
        let seen = sh(&["--security-opt", &option], "grep Seccomp: /proc/self/status; mkdir /d");
        assert_eq!(seen.stdout, format!("Seccomp:\t{mode}\n"), "{seen:#?}");
        assert_eq!(seen.code, mode / 2, "{seen:#?}");
    }
    assert_eq!(sh(&[], "grep Seccomp: /proc/self/status").ok(), "Seccomp:\t2\n");
}

fn user_namespaces() {
    let options = ["--uidmap", "0:100000:1000", "--gidmap", "0:200000:1000"];
    let script = "cat /proc/self/uid_map /proc/self/gid_map; id -u; touch /f && ls -ln /f";
    let seen = sh(&options, &format!("{script} | cut -c1-30")).ok();
    let words: Vec<_> = seen.split_whitespace().collect();
    assert_eq!(words[..7], ["0", "100000", "1000", "0", "200000", "1000", "0"], "{seen}");
}

pub fn terminals() {
    let seen = Container::new().run(&["--tty"], &["sh", "-c", "tty; exit 5"]);
    assert_eq!((seen.code, seen.stdout.as_str()), (5, "/dev/pts/0\r\n"), "{seen:#?}");
    let container = Container::new();
    container.start(&[], "sleep 1000");
    assert_eq!(container.exec(&["--tty"], &["tty"]).ok(), "/dev/pts/0\r\n");
}

fn standard_input() {
    let container = Container::new();
    let mut command = container.command("run", &["--interactive"], &["cat"]);
    let file = std::fs::File::open(format!("{DIRECTORY}/image/etc/passwd")).expect("open");
    let child = command.stdin(file).spawn().expect("start podman");
    let output = child.wait_with_output().expect("wait for podman");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("me:x:1000"), "{output:?}");
}

pub fn exec_in_a_container() {
    let container = Container::new();
    container.start(&["--env", "A=b"], "sleep 1000");
    assert_eq!(container.exec(&[], &["sh", "-c", "echo $A; id -u"]).ok(), "b\n0\n");
    let options = ["--user", "1000", "--workdir", "/tmp", "--env", "C=d"];
    let seen = container.exec(&options, &["sh", "-c", "id -u; pwd; echo $C; exit 7"]);
    assert_eq!((seen.code, seen.stdout.as_str()), (7, "1000\n/tmp\nd\n"), "{seen:#?}");
    container.exec(&[], &["nosuch"]).fails(127, "executable file not found in $PATH");
    container.exec(&[], &["/etc/plain"]).fails(126, "permission denied");
    container.exec(&["--workdir", "/nosuch"], &["true"]).fails(127, "no such file or directory");
    let status = container.exec(&["--privileged"], &["grep", "CapEff", "/proc/self/status"]).ok();
    assert!(!status.contains("00000000800405fb"), "{status}");
}

fn detached_containers_leave_logs() {
    let container = Container::new();
    container.start(&[], "echo out; echo err >&2; exit 9");
    assert_eq!(container.wait(), "9");
    let logs = container.podman(&["logs"]);
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(container.inspect(".State.Status"), "exited");
}

/// Starts a program that listens to signals, and waits until it does.
fn polite() -> (Container, Background) {
    let container = Container::new();
    container.start(&[], "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.1; done");
    let mut logs = container.follow();
    assert_eq!(logs.line(), "up");
    (container, logs)
}

pub fn stop_and_kill() {
    let (container, logs) = polite();
    let pid = container.inspect(".State.Pid").parse().expect("a pid");
    container.podman(&["stop"]).ok();
    wait_until_gone(pid);
    assert_eq!(container.inspect(".State.ExitCode"), "3");
    logs.kill();
    let (container, logs) = polite();
    container.podman(&["kill"]).ok();
    assert_eq!(container.wait(), "137");
    logs.kill();
    let container = Container::new();
    container.start(&[], "trap '' TERM; while :; do sleep 1; done");
    container.podman(&["stop", "--time", "1"]).ok();
    assert_eq!(container.inspect(".State.ExitCode"), "137");
}

pub fn restart_makes_a_new_process() {
    let (container, logs) = polite();
    let pid = container.inspect(".State.Pid");
    container.podman(&["restart"]).ok();
    assert_ne!(container.inspect(".State.Pid"), pid);
    assert_eq!(container.inspect(".State.Status"), "running");
    logs.kill();
}

fn networks() {
    let interfaces = "ls /sys/class/net | sort";
    assert_eq!(sh(&["--network", "none"], interfaces).ok(), "lo\n");
    let container = Container::new();
    let seen = container.sh(&["--network", "bridge"], "ip -o -4 addr show eth0").ok();
    assert!(seen.contains("inet 10."), "{seen}");
    let seen = Container::new().sh(&["--network", "host"], "readlink /proc/self/ns/net").ok();
    let own = std::fs::read_link("/proc/self/ns/net").expect("a link");
    assert_eq!(seen.trim(), own.to_string_lossy());
    let first = Container::new();
    first.start(&[], "sleep 1000");
    let shared = format!("container:{}", first.name);
    let inside = first.exec(&[], &["readlink", "/proc/self/ns/net"]).ok();
    let seen = Container::new().sh(&["--network", &shared], "readlink /proc/self/ns/net").ok();
    assert_eq!(seen, inside);
}

fn namespaces_of_the_host() {
    for (option, kind) in [("--pid", "pid"), ("--ipc", "ipc"), ("--uts", "uts")] {
        let link = format!("/proc/self/ns/{kind}");
        let seen = Container::new().run(&[option, "host"], &["readlink", &link]).ok();
        let own = std::fs::read_link(&link).expect("a link");
        assert_eq!(seen.trim(), own.to_string_lossy(), "{kind}");
        let seen = Container::new().run(&[], &["readlink", &link]).ok();
        assert_ne!(seen.trim(), own.to_string_lossy(), "{kind}");
    }
}

fn pods_share_namespaces() {
    let pod = Pod::new("pod");
    let member = Container::new();
    member.start(&["--pod", pod.name], "sleep 1000");
    let links = "for kind in ipc net uts; do readlink /proc/self/ns/$kind; done";
    let first = member.exec(&[], &["sh", "-c", links]).ok();
    assert_eq!(first.lines().count(), 3);
    assert_eq!(Container::new().sh(&["--pod", pod.name], links).ok(), first);
    assert_eq!(member.exec(&[], &["sh", "-c", "exit 7"]).code, 7);
    podman(&["pod", "stop", "--time", "0", pod.name]).ok();
    assert_eq!(member.inspect(".State.Status"), "exited");
    podman(&["pod", "start", pod.name]).ok();
    assert_eq!(member.inspect(".State.Status"), "running");
}

pub fn pause_and_update() {
    let container = Container::new();
    container.start(&[], "sleep 1000");
    container.podman(&["pause"]).ok();
    assert_eq!(container.inspect(".State.Status"), "paused");
    container.podman(&["unpause"]).ok();
    assert_eq!(container.inspect(".State.Status"), "running");
    podman(&["update", "--memory", "100m", &container.name]).ok();
    let directory = "/sys/fs/cgroup";
    let limit = format!("cat {directory}/memory/memory.limit_in_bytes {directory}/memory.max");
    let seen = container.exec(&[], &["sh", "-c", &format!("{limit} 2>/dev/null")]);
    assert_eq!(seen.stdout, "104857600\n", "{seen:#?}");
}

pub fn top_and_stats() {
    let container = Container::new();
    container.start(&[], "echo up; sleep 1000 & wait");
    let mut logs = container.follow();
    assert_eq!(logs.line(), "up");
    logs.kill();
    let seen = podman(&["top", &container.name, "pid", "args"]).ok();
    assert!(seen.lines().any(|line| line.starts_with("1 ")), "{seen}");
    let format = "{{.Name}} {{.PIDs}}";
    let seen = podman(&["stats", "--no-stream", "--format", format, &container.name]).ok();
    assert!(seen.starts_with(&format!("{} ", container.name)), "{seen}");
}

fn twenty_containers_at_once() {
    let containers: Vec<_> = (0..20).map(|_| Container::new()).collect();
    let script = "echo up; sleep 1000";
    let starting: Vec<_> = containers
        .iter()
        .map(|container| {
            let mut start = container.command("run", &["--detach"], &["sh", "-c", script]);
            Background::start(&mut start)
        })
        .collect();
    for start in starting {
        start.end().ok();
    }
    let running = Output::of(&mut command(&["ps", "--format", "{{.Names}}"])).ok();
    for container in &containers {
        assert!(running.lines().any(|name| name == container.name), "{}", container.name);
    }
}
