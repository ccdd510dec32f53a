//! Interfaces of the host that move into the container: `linux.netDevices`.
//!
//! They keep what they are: hardware address, MTU, and the addresses that were set to stay. Nobody
//! moves them back (NET-09): with the namespace the kernel takes virtual ones away, and gives
//! others back to the first namespace.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use nix::sched::setns;
use nix::unistd::{Pid, geteuid};
use oci_spec::runtime::Linux;

use super::Kind;
use super::netlink::{Link, Netlink};
use crate::procfs::Procfs;

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name on the host.
    pub name: String,
    /// Its name in the container.
    inside: String,
}

impl Device {
    /// Takes over what a checked document says, sorted by name.
    ///
    /// # Errors
    /// For an ordinary user, who cannot move them.
    pub fn from_spec(linux: Option<&Linux>) -> Result<Vec<Self>> {
        let devices = linux.and_then(|linux| linux.net_devices().as_ref()).into_iter().flatten();
        let mut list: Vec<_> = devices
            .map(|(name, device)| {
                let inside = device.name().clone().filter(|inside| !inside.is_empty());
                Self { name: name.clone(), inside: inside.unwrap_or_else(|| name.clone()) }
            })
            .collect();
        list.sort_by(|a, b| a.name.cmp(&b.name));
        ensure!(
            list.is_empty() || geteuid().is_root(),
            "linux.netDevices: network devices are not supported for rootless containers"
        );
        Ok(list)
    }

    fn move_there(&self, here: &Netlink, there: &Netlink, namespace: &OwnedFd) -> Result<()> {
        let link = here.links().context("list the host's interfaces")?;
        let link = link.into_iter().find(|link| link.name == self.name);
        let link = link.context("the host has no such interface")?;
        // Setting it down, which is part of moving it, takes those of IPv6 away.
        let addresses = here.addresses(link.index).context("read its addresses")?;
        let before = there.links().context("list the container's interfaces")?;
        // The kernel would move it first, and only then find that it cannot have that name: the
        // container's end would take it along.
        let free = before.iter().all(|old| old.name != self.inside);
        ensure!(free, "the container has an interface {:?} already: file exists", self.inside);
        here.move_link(link.index, namespace.as_fd(), &self.inside)
            .with_context(|| format!("move it to the container as {:?}", self.inside))?;
        let after = there.links().context("list the container's interfaces")?;
        let index = self.find(&link, &before, &after).context("it is not in the container")?;
        for address in &addresses {
            there.add_address(index, address).context("give it its address again")?;
        }
        there.set_up(index).context("set it up")
    }

    /// Its number in the container. The kernel may have had to choose that, and of a name with
    /// `%d` in it the rest.
    fn find(&self, link: &Link, before: &[Link], after: &[Link]) -> Option<u32> {
        let is_new = |new: &Link| before.iter().all(|old| old.index != new.index);
        let named = |new: &Link| self.inside.contains('%') || new.name == self.inside;
        let found =
            after.iter().find(|new| is_new(new) && named(new) && new.hardware == link.hardware);
        found.map(|found| found.index)
    }
}

/// Moves the interfaces to the network namespace of the process `pid`.
///
/// # Errors
/// With the first one that cannot be moved.
pub fn move_all(devices: &[Device], procfs: &Procfs, pid: Pid) -> Result<()> {
    let namespace = procfs.open_namespace(&pid.to_string(), Kind::Network.file())?;
    let here = Netlink::open().context("open a netlink socket")?;
    let there = open_in(&namespace)?;
    for device in devices {
        device
            .move_there(&here, &there, &namespace)
            .with_context(|| format!("linux.netDevices.{}", device.name))?;
    }
    Ok(())
}

/// A socket stays in the namespace in which it was made.
fn open_in(namespace: &OwnedFd) -> Result<Netlink> {
    let path = "/proc/self/ns/net";
    let own = File::open(path).with_context(|| format!("open {path}"))?;
    let flag = Kind::Network.clone_flag();
    setns(namespace, flag).context("join the container's network namespace")?;
    let socket = Netlink::open();
    setns(&own, flag).context("go back to the runtime's own network namespace")?;
    socket.context("open a netlink socket in the container")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moved_interface_is_found() {
        let link = |index, name: &str, last| Link {
            index,
            name: name.to_string(),
            hardware: vec![2, 0, last],
        };
        let moved = link(7, "dummy0", 9);
        let before = [link(1, "lo", 0), link(7, "eth0", 1)];
        for (inside, new, want) in [
            ("net", link(8, "net", 9), Some(8)),
            ("eth%d", link(8, "eth1", 9), Some(8)),
            ("net", link(8, "other", 9), None),
            ("eth%d", link(8, "eth1", 8), None),
        ] {
            let device = Device { name: "dummy0".into(), inside: inside.into() };
            let after = [before[0].clone(), before[1].clone(), new];
            assert_eq!(device.find(&moved, &before, &after), want, "{inside}");
        }
    }
}
