//! What Podman's users do.

use crate::harness::{Output, host};
use crate::podman::{Container, Pod, compared, podman};
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
    networks needs [Docker, Podman],
    namespaces_of_the_host needs [Docker, Podman],
    namespaces_of_another_container needs [Docker, Podman],
    devices needs [Docker, Podman],
    an_init_of_podmans needs [Docker, Podman],
    pods_share_namespaces needs [Docker, Podman],
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
    // With AppArmor it is another error, for which busybox has another status.
    let seen = sh(&[], "mount -t tmpfs tmpfs /tmp");
    assert!(seen.code != 0 && seen.stderr.contains("ermission denied"), "{seen:#?}");
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

fn namespaces_of_another_container() {
    let first = Container::new();
    first.start(&["--ipc", "shareable"], "sleep 1000");
    for (option, kind) in [("--pid", "pid"), ("--ipc", "ipc"), ("--uts", "uts")] {
        let link = format!("/proc/self/ns/{kind}");
        let shared = format!("container:{}", first.name);
        let seen = Container::new().run(&[option, &shared], &["readlink", &link]).ok();
        assert_eq!(seen, first.exec(&[], &["readlink", &link]).ok(), "{kind}");
    }
}

fn devices() {
    // Nobody has a device of this number, which only those learn who may open it.
    let script = "mknod /tmp/x c 1 77; (: < /tmp/x) 2>&1; (: > /tmp/x) 2>&1; true";
    let may = |rule: &[&str]| sh(&[rule, &["--cap-add", "mknod"]].concat(), script).ok();
    assert_eq!(may(&[]).matches("Operation not permitted").count(), 2);
    let seen = may(&["--device-cgroup-rule", "c 1:77 r"]);
    assert!(seen.contains("No such device or address"), "{seen}");
    assert_eq!(seen.matches("Operation not permitted").count(), 1, "{seen}");
    let script = "head -c 1 /dev/mine | wc -c; stat -c %t:%T /dev/mine";
    assert_eq!(sh(&["--device", "/dev/zero:/dev/mine"], script).ok(), "1\n1:5\n");
}

fn an_init_of_podmans() {
    let program = host::program("docker-init").expect("docker-init").display().to_string();
    let options = ["--init", "--init-path", &program];
    let seen = sh(&options, "tr '\\0' ' ' </proc/1/cmdline; exit 6");
    assert!(seen.stdout.starts_with("/run/podman-init") && seen.code == 6, "{seen:#?}");
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
