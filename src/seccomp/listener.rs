//! The listener: its descriptor goes to a socket, together with the state of the container.
//!
//! The message is the specification's container process state, with the descriptor as
//! `SCM_RIGHTS` in the same call (NFY-01 to NFY-17).

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Context, Result};
use oci_spec::runtime::{LinuxSeccomp, Spec};
use serde::Serialize;

use crate::spec::VERSION;
use crate::spec::seccomp::listener_path;
use crate::spec::state::State;
use crate::sys::socket::send;

/// Who decides about calls, and what it is told.
#[derive(Debug)]
pub struct Listener {
    /// The member of the document that names the socket.
    member: &'static str,
    path: PathBuf,
    metadata: Option<String>,
}

/// The specification's container process state.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState<'a> {
    oci_version: &'static str,
    fds: [&'static str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
    state: &'a State<'a>,
}

impl Listener {
    /// Takes over what a checked document says.
    pub(super) fn from_spec(spec: &Spec, seccomp: &LinuxSeccomp) -> Option<Self> {
        let (member, path) = listener_path(spec)?;
        let metadata = seccomp.listener_metadata().clone().filter(|text| !text.is_empty());
        Some(Self { member, path: path.into(), metadata })
    }

    /// Sends the descriptor of the listener of process `pid`, on a connection of its own.
    ///
    /// # Errors
    /// When nobody listens on the socket, or its other side is closed before all is sent.
    pub fn send(&self, descriptor: BorrowedFd<'_>, pid: i32, state: &State<'_>) -> Result<()> {
        let metadata = self.metadata.as_deref();
        let message =
            ProcessState { oci_version: VERSION, fds: ["seccompFd"], pid, metadata, state };
        let text = serde_json::to_vec(&message).context("encode the container process state")?;
        self.send_bytes(descriptor, &text).with_context(|| {
            format!(
                "{}: failed to connect with seccomp agent specified in the seccomp profile: {}",
                self.member,
                self.path.display()
            )
        })
    }

    fn send_bytes(&self, descriptor: BorrowedFd<'_>, text: &[u8]) -> Result<()> {
        let mut socket = UnixStream::connect(&self.path).context("connect")?;
        let sent = send(socket.as_fd(), text, descriptor).context("send")?;
        socket.write_all(text.get(sent..).unwrap_or_default()).context("send the rest")
    }
}
