//! rtnetlink(7): the few messages that moving an interface takes.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

// Of linux/netlink.h and linux/rtnetlink.h; libc has them in other types on each C library.
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE_EXCL: u16 = 0x600;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_F_PERMANENT: u32 = 0x80;
const RT_SCOPE_UNIVERSE: u8 = 0;
const UP: u32 = libc::IFF_UP.cast_unsigned();

/// The sizes of `nlmsghdr`, `ifinfomsg` and `ifaddrmsg`.
const HEADER: usize = 16;
const LINK: usize = 16;
const ADDRESS: usize = 8;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Its number in its network namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub hardware: Vec<u8>,
}

/// An address of an interface: what it takes to give it to another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    family: u8,
    prefix: u8,
    /// Its own address, that of the other end, and that for all.
    attributes: Vec<(u16, Vec<u8>)>,
}

/// A socket for one network namespace: that in which it was made.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
}

impl Netlink {
    /// Opens a socket for the caller's network namespace.
    pub(super) fn open() -> nix::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let protocol = SockProtocol::NetlinkRoute;
        Ok(Self { socket: socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)? })
    }

    /// All interfaces.
    pub(super) fn links(&self) -> nix::Result<Vec<Link>> {
        let answers = self.ask(Message::new(RTM_GETLINK, NLM_F_DUMP, &[0; LINK]))?;
        Ok(answers.iter().filter_map(|body| link(body)).collect())
    }

    /// The addresses of the interface `index` that have a meaning elsewhere (NET-06): those that
    /// were set to stay, and are not for this link alone.
    pub(super) fn addresses(&self, index: u32) -> nix::Result<Vec<Address>> {
        let answers = self.ask(Message::new(RTM_GETADDR, NLM_F_DUMP, &[0; ADDRESS]))?;
        Ok(answers.iter().filter_map(|body| address(body, index)).collect())
    }

    /// Moves the interface to another network namespace under this name, in which `%d` stands for
    /// a number that is free there.
    pub(super) fn move_link(
        &self,
        index: u32,
        namespace: BorrowedFd<'_>,
        name: &str,
    ) -> nix::Result<()> {
        let fd = namespace.as_raw_fd().to_ne_bytes();
        let name = [name.as_bytes(), &[0]].concat();
        let message = Message::new(RTM_NEWLINK, NLM_F_ACK, &link_body(index, 0, 0));
        self.tell(message.with(IFLA_NET_NS_FD, &fd).with(IFLA_IFNAME, &name))
    }

    /// Gives the interface an address.
    pub(super) fn add_address(&self, index: u32, address: &Address) -> nix::Result<()> {
        let flags = NLM_F_ACK | NLM_F_CREATE_EXCL;
        let mut body = vec![address.family, address.prefix, 0, RT_SCOPE_UNIVERSE];
        body.extend(index.to_ne_bytes());
        let message = Message::new(RTM_NEWADDR, flags, &body);
        let add = |message: Message, (kind, value): &(u16, Vec<u8>)| message.with(*kind, value);
        self.tell(address.attributes.iter().fold(message, add))
    }

    /// Sets the interface up.
    pub(super) fn set_up(&self, index: u32) -> nix::Result<()> {
        self.tell(Message::new(RTM_NEWLINK, NLM_F_ACK, &link_body(index, UP, UP)))
    }

    fn tell(&self, message: Message) -> nix::Result<()> {
        self.ask(message).map(drop)
    }

    /// Sends a message and returns the bodies of the answers.
    fn ask(&self, message: Message) -> nix::Result<Vec<Vec<u8>>> {
        send(self.socket.as_raw_fd(), &message.finish(), MsgFlags::empty())?;
        // The kernel never sends more at once (`NLMSG_GOODSIZE`, netlink(7)).
        let mut buffer = vec![0; 32 * 1024];
        let mut bodies = Vec::new();
        loop {
            let size = match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                other => other?,
            };
            if take(buffer.get(..size).unwrap_or_default(), &mut bodies)? {
                return Ok(bodies);
            }
        }
    }
}

/// Takes the answers out of what has arrived; says whether it was all.
fn take(mut bytes: &[u8], bodies: &mut Vec<Vec<u8>>) -> nix::Result<bool> {
    while let Some((size, kind)) = u32_at(bytes, 0).zip(u16_at(bytes, 4)) {
        let size = usize::try_from(size).map_err(|_| Errno::EBADMSG)?;
        let body = bytes.get(HEADER..size).ok_or(Errno::EBADMSG)?;
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let error = u32_at(body, 0).ok_or(Errno::EBADMSG)?.cast_signed();
                return if error == 0 { Ok(true) } else { Err(Errno::from_raw(-error)) };
            }
            _ => bodies.push(body.to_vec()),
        }
        bytes = bytes.get(aligned(size)..).unwrap_or_default();
    }
    Ok(false)
}

fn link(body: &[u8]) -> Option<Link> {
    let attributes = attributes(body.get(LINK..)?);
    let name = find(&attributes, IFLA_IFNAME)?;
    Some(Link {
        index: u32_at(body, 4)?,
        name: String::from_utf8_lossy(name).trim_end_matches('\0').to_string(),
        hardware: find(&attributes, IFLA_ADDRESS).unwrap_or_default().to_vec(),
    })
}

fn address(body: &[u8], index: u32) -> Option<Address> {
    let &[family, prefix, flags, scope, ..] = body else { return None };
    let mut attributes = attributes(body.get(ADDRESS..)?);
    // All of them, since Linux 3.14, and before that as many as have room.
    let all = find(&attributes, IFA_FLAGS).and_then(|flags| u32_at(flags, 0));
    let permanent = all.unwrap_or(u32::from(flags)) & IFA_F_PERMANENT != 0;
    if u32_at(body, 4)? != index || !permanent || scope != RT_SCOPE_UNIVERSE {
        return None;
    }
    attributes.retain(|(kind, _)| [IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST].contains(kind));
    Some(Address { family, prefix, attributes })
}

fn attributes(mut bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut found = Vec::new();
    while let Some((size, kind)) = u16_at(bytes, 0).zip(u16_at(bytes, 2)) {
        let size = usize::from(size);
        let Some(value) = bytes.get(4..size) else { break };
        found.push((kind, value.to_vec()));
        bytes = bytes.get(aligned(size)..).unwrap_or_default();
    }
    found
}

fn find(attributes: &[(u16, Vec<u8>)], kind: u16) -> Option<&[u8]> {
    attributes.iter().find(|(found, _)| *found == kind).map(|(_, value)| value.as_slice())
}

/// `ifinfomsg` of an interface, with new values of those flags that `change` names.
fn link_body(index: u32, flags: u32, change: u32) -> Vec<u8> {
    [[0; 4], index.to_ne_bytes(), flags.to_ne_bytes(), change.to_ne_bytes()].concat()
}

/// A message in the making: the length comes first and is known last.
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn new(kind: u16, flags: u16, body: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(body);
        Self { bytes }
    }

    /// Adds an attribute, whose value is shorter than 64 KiB.
    fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let size = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend(size.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(aligned(self.bytes.len()), 0);
        self
    }

    fn finish(mut self) -> Vec<u8> {
        let size = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes.splice(..4, size.to_ne_bytes());
        self.bytes
    }
}

fn aligned(size: usize) -> usize {
    size.next_multiple_of(4)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages of both directions have the same form.
    fn sent(message: Message) -> Vec<u8> {
        message.finish()
    }

    #[test]
    fn links_are_read() {
        let body = link_body(7, 0, 0);
        let message = Message::new(RTM_NEWLINK, 0, &body).with(IFLA_IFNAME, b"eth0\0");
        let mut bytes = sent(message.with(IFLA_ADDRESS, &[2, 0, 0, 0, 0, 1]));
        let mut bodies = Vec::new();
        assert_eq!(take(&bytes, &mut bodies), Ok(false));
        bytes.extend(sent(Message::new(NLMSG_DONE, 0, &[0; 4])));
        bodies.clear();
        assert_eq!(take(&bytes, &mut bodies), Ok(true));
        let want = Link { index: 7, name: "eth0".into(), hardware: vec![2, 0, 0, 0, 0, 1] };
        assert_eq!(link(&bodies[0]), Some(want));
    }

    #[test]
    fn only_lasting_addresses_of_the_interface_are_kept() {
        for (index, flags, scope, want) in [
            (7, IFA_F_PERMANENT, 0, true),
            (7, IFA_F_PERMANENT | 0x200, 0, true),
            (8, IFA_F_PERMANENT, 0, false),
            (7, 0, 0, false),
            (7, IFA_F_PERMANENT, 253, false),
        ] {
            let mut body = vec![2, 24, 0, scope];
            body.extend(u32::to_ne_bytes(index));
            let message = Message::new(RTM_NEWADDR, 0, &body)
                .with(IFA_LOCAL, &[10, 0, 0, 1])
                .with(3, b"eth0\0")
                .with(IFA_FLAGS, &flags.to_ne_bytes());
            let mut bodies = Vec::new();
            take(&sent(message), &mut bodies).unwrap();
            let got = address(&bodies[0], 7);
            assert_eq!(got.is_some(), want, "{index} {flags:x} {scope}");
            if let Some(address) = got {
                assert_eq!(address.attributes, [(IFA_LOCAL, vec![10, 0, 0, 1])]);
                assert_eq!((address.family, address.prefix), (2, 24));
            }
        }
    }

    #[test]
    fn errors_and_rubbish() {
        let error = |number: i32| sent(Message::new(NLMSG_ERROR, 0, &number.to_ne_bytes()));
        assert_eq!(take(&error(0), &mut Vec::new()), Ok(true));
        assert_eq!(take(&error(-17), &mut Vec::new()), Err(Errno::EEXIST));
        let long = [200, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(take(&long, &mut Vec::new()), Err(Errno::EBADMSG));
        assert_eq!(take(&[0; 16], &mut Vec::new()), Err(Errno::EBADMSG));
    }
}
