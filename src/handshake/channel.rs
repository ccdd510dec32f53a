//! A socket on which each side can say only what is its to say.

use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{read, write};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest message. A chain of errors with the output of a hook stays far below.
const MAX_MESSAGE: usize = 128 * 1024;

/// Long enough for the name of a message.
const SHORT_MESSAGE: usize = 64;

/// A message in the form in which it is sent.
#[derive(Debug)]
pub struct Encoded<S> {
    bytes: Vec<u8>,
    kind: PhantomData<S>,
}

impl<S: Serialize> Encoded<S> {
    /// Encodes a message.
    ///
    /// # Errors
    /// When it contains what JSON cannot hold.
    pub fn new(message: &S) -> Result<Self> {
        let bytes = serde_json::to_vec(message).context("encode a message")?;
        Ok(Self { bytes, kind: PhantomData })
    }
}

/// One end: sends `S` and receives `R`.
#[derive(Debug)]
pub struct Channel<S, R> {
    socket: OwnedFd,
    peer: &'static str,
    types: PhantomData<(S, R)>,
}

/// Returns two ends that fit each other, named for the side that holds them.
///
/// SOCK_SEQPACKET keeps message borders, so no length prefix is needed, and reading zero bytes
/// means that the other side is gone (unix(7)).
///
/// # Errors
/// Those of socketpair(2).
pub fn pair<S, R>(
    one: &'static str,
    other: &'static str,
) -> Result<(Channel<S, R>, Channel<R, S>)> {
    let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .context("make the channel")?;
    Ok((
        Channel { socket: a, peer: other, types: PhantomData },
        Channel { socket: b, peer: one, types: PhantomData },
    ))
}

impl<S: Serialize, R: DeserializeOwned> Channel<S, R> {
    /// Sends one message, by write(2): the call that a seccomp profile is least likely to forbid.
    ///
    /// # Errors
    /// EPIPE when the other side is gone.
    pub fn send(&self, message: &S) -> Result<()> {
        self.send_encoded(&Encoded::new(message)?)
    }

    /// Sends a message that was encoded before.
    ///
    /// # Errors
    /// EPIPE when the other side is gone.
    pub fn send_encoded(&self, message: &Encoded<S>) -> Result<()> {
        loop {
            match write(&self.socket, &message.bytes) {
                Err(Errno::EINTR) => {}
                other => {
                    other.with_context(|| format!("send to the {}", self.peer))?;
                    return Ok(());
                }
            }
        }
    }

    /// Receives a message without contents. No memory is allocated, which a resource limit or a
    /// seccomp profile may forbid.
    ///
    /// # Errors
    /// When the other side is gone.
    pub fn receive_short(&self) -> Result<R> {
        match self.receive_into(&mut [0; SHORT_MESSAGE])? {
            Some(message) => Ok(message),
            None => bail!("the {} ended unexpectedly", self.peer),
        }
    }

    /// Receives one message, or nothing when the other side is gone.
    ///
    /// # Errors
    /// Those of read(2), or a message of another form.
    pub fn receive_or_end(&self) -> Result<Option<R>> {
        self.receive_into(&mut vec![0; MAX_MESSAGE])
    }

    fn receive_into(&self, bytes: &mut [u8]) -> Result<Option<R>> {
        let count = loop {
            match read(&self.socket, bytes) {
                // The other side ended with a message of ours unread (unix(7)).
                Err(Errno::ECONNRESET) => break 0,
                Err(Errno::EINTR) => {}
                other => break other.with_context(|| format!("receive from the {}", self.peer))?,
            }
        };
        match bytes.get(..count).unwrap_or_default() {
            [] => Ok(None),
            bytes => serde_json::from_slice(bytes)
                .map(Some)
                .with_context(|| format!("decode a message of the {}", self.peer)),
        }
    }
}

impl<S, R> AsFd for Channel<S, R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::{FromInit, FromRuntime};

    fn both() -> (Channel<FromRuntime, FromInit>, Channel<FromInit, FromRuntime>) {
        pair("runtime", "container's init").unwrap()
    }

    #[test]
    fn messages_keep_their_borders() {
        let (runtime, init) = both();
        init.send(&FromInit::Hooks).unwrap();
        init.send(&FromInit::Failed(vec!["a".repeat(60_000), "b".into()])).unwrap();
        assert_eq!(runtime.receive_or_end().unwrap().unwrap(), FromInit::Hooks);
        let failed = runtime.receive_or_end().unwrap().unwrap();
        assert!(matches!(failed, FromInit::Failed(chain) if chain.len() == 2));
    }

    #[test]
    fn a_dead_peer_is_an_error_not_a_hang() {
        let (runtime, init) = both();
        drop(init);
        let error = runtime.receive_short().unwrap_err().to_string();
        assert_eq!(error, "the container's init ended unexpectedly");
        let (runtime, init) = both();
        runtime.send(&FromRuntime::HooksDone).unwrap();
        drop(init);
        assert!(runtime.receive_short().is_err());
    }
}
