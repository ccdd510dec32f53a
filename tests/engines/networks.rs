//! Networks and the other namespaces that a container may share.

use crate::docker::{Container, compared_sh};
use crate::tests;

tests! {
    containers_on_the_bridge_reach_each_other needs [Docker],
    the_bridge_reaches_the_host needs [Docker],
    the_hosts_network needs [Docker],
    no_network needs [Docker],
    the_network_of_another_container needs [Docker],
    the_pids_of_the_host needs [Docker],
    the_pids_of_another_container needs [Docker],
    ipc_and_uts_of_the_host needs [Docker],
    kernel_parameters needs [Docker],
}

fn containers_on_the_bridge_reach_each_other() {
    let server = Container::new();
    server.start(&[], "echo served > /tmp/page; echo up; exec httpd -f -p 80 -h /tmp");
    assert_eq!(server.follow().line(), "up");
    let address = server.inspect(".NetworkSettings.IPAddress");
    let script = format!("until wget -q -O - http://{address}/page; do sleep 0.1; done");
    assert_eq!(compared_sh(&[], &script).ok(), "served\n");
}

fn the_bridge_reaches_the_host() {
    let script = "ls -d /sys/class/net/eth0; \
        gateway=$(ip route | sed -n 's/default via \\([0-9.]*\\).*/\\1/p'); \
        ping -q -c 1 -W 5 $gateway >/dev/null && echo answered";
    assert_eq!(compared_sh(&[], script).ok(), "/sys/class/net/eth0\nanswered\n");
}

fn the_hosts_network() {
    let script = "readlink /proc/self/ns/net; ls -d /sys/class/net/docker0";
    let seen = compared_sh(&["--network", "host"], script).ok();
    let own = std::fs::read_link("/proc/self/ns/net").expect("the network namespace");
    assert_eq!(seen, format!("{}\n/sys/class/net/docker0\n", own.display()));
}

fn no_network() {
    let script = "test -e /sys/class/net/eth0 || ping -q -c 1 127.0.0.1 >/dev/null && echo up";
    assert_eq!(compared_sh(&["--network", "none"], script).ok(), "up\n");
}

fn the_network_of_another_container() {
    let owner = Container::new();
    owner.start(&[], "sleep 1000");
    let script = "ip -o address show eth0 | tr -s ' ' | cut -d' ' -f4 | cut -d/ -f1";
    let seen = compared_sh(&["--network", &format!("container:{}", owner.name)], script).ok();
    assert_eq!(seen.trim(), owner.inspect(".NetworkSettings.IPAddress"));
}

fn the_pids_of_the_host() {
    let seen = compared_sh(&["--pid", "host"], "readlink /proc/self/ns/pid; test $$ -ne 1").ok();
    let own = std::fs::read_link("/proc/self/ns/pid").expect("the PID namespace");
    assert_eq!(seen.trim(), own.to_str().expect("a name"));
    // Nothing but the cgroup holds its processes together then.
    let container = Container::new();
    container.start(&["--pid", "host"], "sleep 1000 & sleep 1000 & echo up; wait");
    assert_eq!(container.follow().line(), "up");
    let processes = crate::harness::host::processes_in_cgroup(&container.inspect(".Id"));
    assert_eq!(processes.len(), 3, "{processes:?}");
    container.docker(&["rm", "--force"]).ok();
    processes.into_iter().for_each(crate::harness::wait_until_gone);
}

fn the_pids_of_another_container() {
    let owner = Container::new();
    owner.start(&[], "sleep 1000");
    let options = ["--pid", &format!("container:{}", owner.name)];
    let seen = compared_sh(&options, "tr '\\0' ' ' < /proc/1/cmdline").ok();
    assert!(seen.contains("sleep 1000"), "{seen}");
}

fn ipc_and_uts_of_the_host() {
    let options = ["--ipc", "host", "--uts", "host"];
    let seen = compared_sh(&options, "readlink /proc/self/ns/ipc; readlink /proc/self/ns/uts").ok();
    for name in ["ipc", "uts"] {
        let own = std::fs::read_link(format!("/proc/self/ns/{name}")).expect("a namespace");
        assert!(seen.contains(own.to_str().expect("a name")), "{seen}");
    }
}

fn kernel_parameters() {
    let parameters = ["net.ipv4.ip_forward=0", "kernel.shm_rmid_forced=1", "fs.mqueue.msg_max=20"];
    let options: Vec<_> = parameters.iter().flat_map(|one| ["--sysctl", one]).collect();
    let script = "cd /proc/sys; cat net/ipv4/ip_forward kernel/shm_rmid_forced fs/mqueue/msg_max";
    assert_eq!(compared_sh(&options, script).ok(), "0\n1\n20\n");
}
