//! Interfaces that move into the container. The runtime stands in a network namespace of the test,
//! so that the machine keeps its own.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::{Background, Case, Output};
use crate::namespaces::{donor, give_to};
use crate::tests;

tests! {
    an_interface_moves_with_its_addresses needs [Root, Ip],
    an_interface_moves_into_a_user_namespace needs [Root, Ip],
    the_name_inside_can_be_a_template needs [Root, Ip]
        unlike runc "has not been asked",
    what_cannot_be_moved_is_named needs [Root, Ip]
        unlike runc "has other texts",
    an_interface_goes_with_its_namespace needs [Root, Ip],
}

/// A network namespace with a pair of interfaces, `here` and `there`.
struct Network {
    process: Background,
}

impl Network {
    fn new() -> Self {
        let mut process = donor(&["--net"]);
        process.line();
        let network = Self { process };
        network.ip("link add here mtu 1400 type veth peer name there mtu 1400");
        network.ip("link set here address 02:00:00:00:00:07");
        network.ip("address add 10.9.8.7/24 dev here");
        network.ip("address add fd00::5/64 dev here nodad");
        network
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.process.pid())).arg(program);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn ip(&self, words: &str) -> String {
        Output::of(self.command("ip").args(words.split_whitespace())).ok()
    }

    fn run(&self, case: &Case) -> Output {
        case.write_config();
        let mut command = self.command(case.runtime.to_str().expect("a path"));
        command.arg("--root").arg(case.state_root()).args(["run", &case.id]).current_dir(&case.dir);
        Output::of(&mut command)
    }
}

const LOOK: [&str; 9] = [
    "cat",
    "/sys/class/net/eth7/address",
    "/sys/class/net/eth7/mtu",
    "/sys/class/net/eth7/flags",
    "/proc/net/fib_trie",
    "/proc/net/if_inet6",
    "--",
    "list",
    "/sys/class/net",
];

#[track_caller]
fn has_everything(output: &str) {
    let mut lines = output.lines();
    assert_eq!((lines.next(), lines.next()), (Some("02:00:00:00:00:07"), Some("1400")));
    let flags = lines.next().expect("flags").trim_start_matches("0x").to_string();
    assert_eq!(u32::from_str_radix(&flags, 16).expect("flags") & 1, 1, "it is up");
    assert!(output.contains("|-- 10.9.8.7\n"), "{output}");
    let six = output.lines().find(|line| line.starts_with("fd000000000000000000000000000005"));
    assert!(six.is_some_and(|line| line.contains(" 40 00 ")), "{output}");
    assert_eq!(output.lines().last(), Some("eth7 lo"), "{output}");
}

fn an_interface_moves_with_its_addresses() {
    let network = Network::new();
    let mut case = Case::new(&LOOK);
    case.set("/linux/netDevices", json!({"here": {"name": "eth7"}}));
    has_everything(&network.run(&case).ok());
    network.process.kill();
}

fn an_interface_moves_into_a_user_namespace() {
    let network = Network::new();
    let mut case = Case::new(&LOOK);
    give_to(&case, 100_000, 100_000);
    case.namespace("user", Some(json!({"type": "user"})));
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    case.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    case.set("/linux/netDevices", json!({"here": {"name": "eth7"}}));
    has_everything(&network.run(&case).ok());
    network.process.kill();
}

fn the_name_inside_can_be_a_template() {
    let network = Network::new();
    let mut case = Case::new(&["list", "/sys/class/net"]);
    let devices = json!({"here": {"name": "eth%d"}, "there": {"name": "eth%d"}});
    case.set("/linux/netDevices", devices);
    assert_eq!(network.run(&case).ok(), "eth0 eth1 lo\n");
    network.process.kill();
}

fn what_cannot_be_moved_is_named() {
    let network = Network::new();
    let mut case = Case::new(&["report"]);
    case.set("/linux/netDevices", json!({"nowhere": {}}));
    let missing = "linux.netDevices.nowhere: the host has no such interface";
    network.run(&case).fails(1, missing);
    case.set("/linux/netDevices", json!({"here": {"name": "lo"}}));
    let taken = "linux.netDevices.here: the container has an interface \"lo\" already: file exists";
    network.run(&case).fails(1, taken);
    assert!(network.ip("address show dev here").contains("10.9.8.7/24"));
    for name in ["a/b", "a b", "a:b", "..", "sixteen-letters-", ""] {
        case.set("/linux/netDevices", json!({name: {}}));
        network.run(&case).fails(1, "is not the name of an interface");
    }
    case.set("/linux/netDevices", json!({"here": {}}));
    let own = json!({"type": "network", "path": "/proc/self/ns/net"});
    case.namespace("network", Some(own));
    network.run(&case).fails(1, "the joined network namespace is the host's own");
    case.namespace("network", None);
    network.run(&case).fails(1, "without a private NET namespace");
    network.process.kill();
}

/// It is not moved back, and a virtual one ends with its namespace.
fn an_interface_goes_with_its_namespace() {
    let network = Network::new();
    let mut case = Case::new(&["echo", "hello"]);
    case.set("/linux/netDevices", json!({"here": {}}));
    network.run(&case).ok();
    assert!(!network.ip("-oneline link show").contains(" here"));
    network.process.kill();
}
