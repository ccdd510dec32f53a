//! A connection to a bus, or to systemd itself: calls that are answered or fail in time.
//!
//! Whoever is at the other end may accept and never answer, answer forever, or go away. Every call
//! has a deadline, and an error says which call it was, on which bus, and how long it took.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::SendTimeout;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket};
use nix::sys::time::TimeVal;

use super::message::{self, FIXED, Kind, Message, Target};
use super::value::Value;
use crate::error;

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a line of the greeting may be; those of the specification have some forty bytes.
const MAX_LINE: usize = 1024;

const BUS: Target = Target {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
};

/// Where somebody listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    name: Vec<u8>,
    is_abstract: bool,
    /// There is no bus: the one who listens is who is called.
    direct: bool,
}

impl Address {
    /// A bus at `path`.
    pub(super) fn bus(path: &Path) -> Self {
        let name = path.as_os_str().as_encoded_bytes().to_vec();
        Self { name, is_abstract: false, direct: false }
    }

    /// The socket of systemd itself at `path`.
    pub(super) fn direct(path: &Path) -> Self {
        Self { direct: true, ..Self::bus(path) }
    }

    /// The addresses in a variable of the environment, those that are of sockets here (D-Bus
    /// specification, "Server addresses").
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn parse(text: &str) -> Result<Vec<Self>> {
        let parse = |address: &str| {
            let (key, value) = address.strip_prefix("unix:")?.split(',').find_map(|pair| {
                pair.split_once('=').filter(|(key, _)| ["path", "abstract"].contains(key))
            })?;
            let is_abstract = key == "abstract";
            Some(Self { name: unescape(value)?, is_abstract, direct: false })
        };
        let addresses: Vec<_> = text.split(';').filter_map(parse).collect();
        ensure!(!addresses.is_empty(), "{text:?} is no address of a bus on this machine");
        Ok(addresses)
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.is_abstract { "@" } else { "" };
        write!(to, "{kind}{}", String::from_utf8_lossy(&self.name))
    }
}

/// `%20` for a blank.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    Some(bytes)
}

/// The answer of somebody who did not do what the call asked for.
#[derive(Debug)]
pub(super) struct Refused {
    /// The kind of the error, such as `org.freedesktop.systemd1.NoSuchUnit`.
    pub(super) name: String,
    text: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.text.is_empty() { to.write_str(&self.name) } else { to.write_str(&self.text) }
    }
}

impl std::error::Error for Refused {}

/// The name of the error that the other side answered with.
pub(super) fn refusal(error: &Error) -> Option<&str> {
    error.downcast_ref::<Refused>().map(|refused| refused.name.as_str())
}

/// A connection.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    address: Address,
    serial: u32,
    received: Vec<u8>,
    signals: VecDeque<Message>,
}

impl Bus {
    /// Connects to the first of `addresses` where somebody listens, and says hello as user `uid`,
    /// as the other side counts.
    ///
    /// # Errors
    /// When nobody listens, or who does is no bus.
    pub(super) fn connect(addresses: &[Address], uid: u32) -> Result<Self> {
        let mut failed = Vec::new();
        for address in addresses {
            let stream = match open(address) {
                Ok(stream) => stream,
                Err(errno) => {
                    failed.push(format!("{address}: {}", error::errno(errno)));
                    continue;
                }
            };
            let address = address.clone();
            let (received, signals) = (Vec::new(), VecDeque::new());
            let mut bus = Self { stream, address, serial: 0, received, signals };
            bus.within("the greeting", |bus, deadline| bus.greet(uid, deadline))?;
            if !bus.address.direct {
                bus.call(BUS, "Hello", &[])?;
            }
            return Ok(bus);
        }
        bail!("connect to D-Bus: {}", failed.join("; "))
    }

    /// Asks the bus for signals of this kind; who is called directly sends them unasked.
    ///
    /// # Errors
    /// Those of a call.
    pub(super) fn subscribe(&mut self, from: Target, member: &str) -> Result<()> {
        if self.address.direct {
            return Ok(());
        }
        let rule = format!(
            "type='signal',sender='{}',path='{}',interface='{}',member='{member}'",
            from.destination, from.path, from.interface
        );
        self.call(BUS, "AddMatch", &[Value::Text(rule)]).map(drop)
    }

    /// Calls a method and returns what it answers.
    ///
    /// # Errors
    /// [`Refused`] when the answer is an error; else what went wrong on the way.
    pub(super) fn call(
        &mut self,
        target: Target,
        member: &str,
        body: &[Value],
    ) -> Result<Vec<Value>> {
        self.serial += 1;
        let serial = self.serial;
        let bytes = message::call(serial, target, member, body)?;
        self.within(member, |bus, deadline| {
            bus.send(&bytes, deadline)?;
            loop {
                let message = bus.receive(deadline)?;
                match message.kind {
                    Kind::Signal => bus.signals.push_back(message),
                    Kind::Reply if message.reply_to == serial => return Ok(message.body),
                    Kind::Error if message.reply_to == serial => {
                        let text = message.body.first().and_then(Value::as_text);
                        let text = text.unwrap_or_default().to_string();
                        return Err(Refused { name: message.error, text }.into());
                    }
                    // For a call that was given up, or by somebody who thinks we serve.
                    _ => {}
                }
            }
        })
    }

    /// Waits for a signal that `wanted` takes.
    ///
    /// # Errors
    /// When none comes for `patience`; `what` says what was waited for.
    pub(super) fn wait_for<T>(
        &mut self,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&Message) -> Option<T>,
    ) -> Result<T> {
        self.for_as_long(what, patience, |bus, deadline| {
            loop {
                let message = match bus.signals.pop_front() {
                    Some(message) => message,
                    None => bus.receive(deadline)?,
                };
                if let Some(found) = wanted(&message) {
                    return Ok(found);
                }
            }
        })
    }

    fn within<T>(
        &mut self,
        what: &str,
        act: impl FnOnce(&mut Self, Instant) -> Result<T>,
    ) -> Result<T> {
        self.for_as_long(what, PATIENCE, act)
    }

    fn for_as_long<T>(
        &mut self,
        what: &str,
        patience: Duration,
        act: impl FnOnce(&mut Self, Instant) -> Result<T>,
    ) -> Result<T> {
        let start = Instant::now();
        act(self, start + patience).map_err(|error| {
            let seconds = start.elapsed().as_secs_f32();
            let context = format!("D-Bus: {what} on {} ({seconds:.1} s)", self.address);
            error.context(context)
        })
    }

    /// Says who calls, which the other side compares with what the kernel says. All of it is sent
    /// in one go: systemd overlooks a call that arrives together with the end of the greeting.
    fn greet(&mut self, uid: u32, deadline: Instant) -> Result<()> {
        let uid: String = uid.to_string().bytes().map(|digit| format!("{digit:02x}")).collect();
        self.send(format!("\0AUTH EXTERNAL {uid}\r\nBEGIN\r\n").as_bytes(), deadline)?;
        let line = self.line(deadline)?;
        ensure!(line.starts_with("OK"), "not let in: {line:?}");
        Ok(())
    }

    fn line(&mut self, deadline: Instant) -> Result<String> {
        loop {
            if let Some(end) = self.received.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.received.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            ensure!(self.received.len() < MAX_LINE, "a greeting that does not end");
            self.read_more(deadline)?;
        }
    }

    fn send(&mut self, mut bytes: &[u8], deadline: Instant) -> Result<()> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait(PollFlags::POLLOUT, deadline)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("send"),
            }
        }
        Ok(())
    }

    fn receive(&mut self, deadline: Instant) -> Result<Message> {
        loop {
            if let Some(start) = self.received.first_chunk::<FIXED>() {
                let length = message::length(start)?;
                if self.received.len() >= length {
                    let bytes: Vec<u8> = self.received.drain(..length).collect();
                    return Message::parse(&bytes);
                }
            }
            self.read_more(deadline)?;
        }
    }

    fn read_more(&mut self, deadline: Instant) -> Result<()> {
        // Also somebody who never stops talking is left in the end.
        ensure!(Instant::now() < deadline, "no answer");
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => bail!("the connection was closed"),
            Ok(count) => self.received.extend(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.wait(PollFlags::POLLIN, deadline)?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("receive"),
        }
        Ok(())
    }

    fn wait(&self, events: PollFlags, deadline: Instant) -> Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        // One more, so that the last turn does not spin.
        let millis = i32::try_from(left.as_millis()).unwrap_or(i32::MAX - 1) + 1;
        let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.stream.as_fd(), events)], timeout) {
            Ok(0) => bail!("no answer"),
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno).context("poll"),
        }
    }
}

/// Connects a socket; the kernel waits for room in a queue of connections not longer than for a
/// call.
fn open(address: &Address) -> nix::Result<UnixStream> {
    let name = address.name.as_slice();
    let place = match address.is_abstract {
        true => UnixAddr::new_abstract(name)?,
        false => UnixAddr::new(name)?,
    };
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let seconds = i64::try_from(PATIENCE.as_secs()).unwrap_or(i64::MAX);
    setsockopt(&socket, SendTimeout, &TimeVal::new(seconds, 0))?;
    connect(socket.as_raw_fd(), &place)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(true).map_err(|_| nix::errno::Errno::last())?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let show = |text| {
            let addresses = Address::parse(text).unwrap_or_default();
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        for (text, want) in [
            ("unix:path=/run/bus", "/run/bus"),
            ("unix:path=/run/bus,guid=12", "/run/bus"),
            ("unix:guid=12,abstract=/tmp/x", "@/tmp/x"),
            ("tcp:host=a;unix:path=/a%20b;unix:path=/c", "/a b /c"),
            ("unix:path=/a%zz", ""),
            ("unix:path=/a%2", ""),
            ("unix:tmpdir=/tmp", ""),
            ("autolaunch:", ""),
            ("", ""),
        ] {
            assert_eq!(show(text), want, "{text}");
        }
    }
}
