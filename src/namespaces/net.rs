//! Network namespaces: a new one has a loopback interface that is down.

use anyhow::{Context, Result};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::sys;

/// Sets `lo` up, as runc and crun do (BXP-28).
///
/// # Errors
/// Those of socket(2) and netdevice(7).
pub fn loopback_up() -> Result<()> {
    let kind = SockType::Datagram;
    let socket = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None)
        .context("open a socket to set the interface lo up")?;
    use std::os::fd::AsFd;
    sys::net::loopback_up(socket.as_fd()).context("set the interface lo up")
}
