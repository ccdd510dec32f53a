//! Options that describe the program: who it is, where, with what environment and rights.

use crate::docker::{Container, compared, compared_sh};
use crate::tests;

tests! {
    users_and_groups needs [Docker],
    environment_and_working_directory needs [Docker],
    names_of_the_container needs [Docker],
    capabilities needs [Docker],
    no_new_privileges needs [Docker],
    resource_limits needs [Docker],
    init_is_the_first_process needs [Docker],
    default_mounts_and_devices needs [Docker],
}

fn users_and_groups() {
    for (options, wanted) in [
        (&["--user", "me"][..], "uid=1000(me) gid=1000(me) groups=50(staff),1000(me)\n"),
        (&["--user", "1000:50"], "uid=1000(me) gid=50(staff) groups=50(staff)\n"),
        (&["--user", "4321"], "uid=4321 gid=0(root) groups=0(root)\n"),
        (
            &["--user", "1000:1000", "--group-add", "77", "--group-add", "staff"],
            "uid=1000(me) gid=1000(me) groups=50(staff),77,1000(me)\n",
        ),
    ] {
        assert_eq!(compared(options, &["id"]).ok(), wanted);
    }
    compared(&["--user", "nobody-here"], &["id"]).fails(125, "unable to find user nobody-here");
}

fn environment_and_working_directory() {
    let options = ["--env", "A=b c", "--env", "EMPTY=", "--workdir", "/new/directory"];
    let seen = compared_sh(&options, "env | grep -v ^HOSTNAME= | sort; pwd; umask; stat -c %a .");
    let seen = seen.ok();
    for line in ["A=b c", "EMPTY=", "HOME=/root", "/new/directory", "0022", "755"] {
        assert!(seen.lines().any(|seen| seen == line), "{line}: {seen}");
    }
    let home = compared_sh(&["--user", "me"], "echo $HOME").ok();
    assert_eq!(home, "/home/me\n");
}

fn names_of_the_container() {
    let options = ["--hostname", "deck", "--domainname", "ship.example"];
    let script = "hostname; cat /proc/sys/kernel/domainname";
    let seen = compared_sh(&options, script).ok();
    assert_eq!(seen, "deck\nship.example\n");
    let container = Container::new();
    let name = container.run(&[], &["hostname"]).ok();
    assert_eq!(name.trim(), &container.inspect(".Id")[..12]);
}

pub fn capabilities() {
    let script = "grep Cap /proc/self/status";
    let wanted = |set: &str, lines: &str| {
        let line = |name: &str, value: &str| format!("Cap{name}:\t{value}\n");
        let zero = "0".repeat(16);
        let bits = |name: &str| line(name, if lines.contains(name) { set } else { &zero });
        ["Inh", "Prm", "Eff", "Bnd", "Amb"].map(bits).concat()
    };
    for (options, set, lines) in [
        (&[][..], "00000000a80425fb", "Prm Eff Bnd"),
        (&["--user", "me"], "00000000a80425fb", "Bnd"),
        (&["--cap-drop", "ALL"], "0000000000000000", ""),
        (
            &["--cap-drop", "ALL", "--cap-add", "CHOWN", "--cap-add", "NET_RAW"],
            "0000000000002001",
            "Prm Eff Bnd",
        ),
        (&["--cap-drop", "CHOWN"], "00000000a80425fa", "Prm Eff Bnd"),
    ] {
        assert_eq!(compared_sh(options, script).ok(), wanted(set, lines), "{options:?}");
    }
    let mount = "mount -t tmpfs none /tmp 2>/dev/null && echo mounted";
    // The default profile of AppArmor, where there is one, forbids it to everybody.
    let options = ["--cap-add", "SYS_ADMIN", "--security-opt", "apparmor=unconfined"];
    assert_eq!(compared_sh(&options, mount).stdout, "mounted\n");
    assert_eq!(compared_sh(&[], mount).stdout, "");
    // Every capability, which not every machine has.
    compared(&["--privileged"], &["true"]);
}

fn no_new_privileges() {
    let words = ["grep", "NoNewPrivs", "/proc/self/status"];
    assert_eq!(compared(&[], &words).ok(), "NoNewPrivs:\t0\n");
    let options = ["--security-opt", "no-new-privileges"];
    assert_eq!(compared(&options, &words).ok(), "NoNewPrivs:\t1\n");
}

fn resource_limits() {
    let options = ["--ulimit", "nofile=100:200", "--ulimit", "core=0", "--oom-score-adj", "500"];
    let script = "ulimit -n; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj";
    assert_eq!(compared_sh(&options, script).ok(), "100\n200\n0\n500\n");
}

fn init_is_the_first_process() {
    let script = "tr '\\0' ' ' </proc/1/cmdline | cut -d' ' -f1; test $$ -ne 1 && echo child";
    assert_eq!(compared_sh(&["--init"], script).ok(), "/sbin/docker-init\nchild\n");
    // It reaps orphans and ends with the status of its child.
    let script = "(sleep 0.1 &); sleep 0.3; ps -o stat,args | grep -c '^Z'; exit 8";
    let seen = compared_sh(&["--init"], script);
    assert_eq!((seen.code, seen.stdout.as_str()), (8, "0\n"), "{seen:#?}");
}

fn default_mounts_and_devices() {
    // Two containers have different layers. runc leaves the directory of the hierarchies of
    // cgroup v1 writable, and orders them by their names.
    let mounts = "grep -v '/sys/fs/cgroup tmpfs' /proc/mounts | cut -d' ' -f2-4 \
        | sed 's/,lowerdir=.*//' | sort";
    let devices = "for name in /dev/* /dev/pts/*; do \
        stat -c '%n %A %t:%T %u:%g' $name; readlink $name; done";
    let masks = "cat /proc/timer_list /proc/keys; (echo x > /proc/sys/kernel/hostname) 2>&1; \
        ls /proc/self/fd | wc -l";
    let seen = compared_sh(&[], &format!("{mounts}; {devices}; {masks}")).ok();
    for line in [
        "/proc proc rw,nosuid,nodev,noexec,relatime",
        "/dev/null crw-rw-rw- 1:3 0:0",
        "/dev/ptmx lrwxrwxrwx 0:0 0:0",
        "pts/ptmx",
        "sh: can't create /proc/sys/kernel/hostname: Read-only file system",
    ] {
        assert!(seen.lines().any(|seen| seen == line), "{line}: {seen}");
    }
}
