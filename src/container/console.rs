//! Who reads the terminal of a program: somebody at a socket, or the caller through the runtime.

use std::fs::OpenOptions;
use std::io::{stderr, stdin, stdout};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result};
use nix::sys::termios::{OutputFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::isatty;

use super::relay::Relay;
use crate::log;
use crate::process::Process;
use crate::process::terminal::Console;
use crate::sys::socket::receive;
use crate::sys::tty::{Size, size};

/// Both sides of a terminal that is yet to be made.
#[derive(Debug, Default)]
pub struct Sides {
    /// What the process that makes it needs; none without a terminal.
    pub console: Option<Console>,
    /// The caller of the runtime, who waits for its program at his own terminal.
    pub caller: Option<Caller>,
}

/// Prepares for the terminal of `process`, if it is to have one, for the reader at the socket
/// `path` or, without one, for the caller.
///
/// # Errors
/// When the socket cannot be connected to, or the caller has no terminal.
pub fn prepare(process: Option<&Process>, path: Option<&Path>) -> Result<Sides> {
    let Some(process) = process.filter(|process| process.terminal) else {
        return Ok(Sides::default());
    };
    let configured = process.console_size;
    if let Some(path) = path {
        let console = Console { socket: connect(path)?, size: configured, relayed: false };
        return Ok(Sides { console: Some(console), caller: None });
    }
    let terminal = own_terminal().context("find the terminal of the caller")?;
    let (ours, theirs) = UnixStream::pair().context("make a pair of sockets")?;
    let size = size(terminal.as_fd()).ok().filter(|size| size.rows != 0 && size.columns != 0);
    let console = Console { socket: theirs.into(), size: size.or(configured), relayed: true };
    Ok(Sides { console: Some(console), caller: Some(Caller { terminal, socket: ours.into() }) })
}

/// Connects to the UNIX socket at `path`.
///
/// # Errors
/// Those of connect(2).
pub fn connect(path: &Path) -> Result<OwnedFd> {
    let connected = UnixStream::connect(path).map(OwnedFd::from);
    connected.with_context(|| format!("connect to {}", path.display()))
}

/// Any of the standard streams may be redirected, and all of them while there is a terminal.
fn own_terminal() -> std::io::Result<OwnedFd> {
    let streams: [&dyn AsFd; 3] = [&stderr(), &stdout(), &stdin()];
    match streams.iter().map(AsFd::as_fd).find(|stream| isatty(stream).unwrap_or(false)) {
        Some(stream) => stream.try_clone_to_owned(),
        None => OpenOptions::new().read(true).write(true).open("/dev/tty").map(OwnedFd::from),
    }
}

/// The caller's terminal, and where the program's will arrive.
#[derive(Debug)]
pub struct Caller {
    terminal: OwnedFd,
    socket: OwnedFd,
}

impl Caller {
    /// Takes the program's terminal, which has been sent, and makes that of the caller as good
    /// as a part of it.
    ///
    /// # Errors
    /// When none was sent, or a terminal cannot be set.
    pub fn relay(self) -> Result<Relay> {
        let received = receive(self.socket.as_fd()).context("receive the program's terminal")?;
        let controlling = received.into_iter().next().context("no terminal was sent")?;
        Relay::new(controlling, Raw::new(self.terminal)?)
    }
}

/// The caller's terminal, without any processing of its own as long as this lives.
#[derive(Debug)]
pub struct Raw {
    terminal: OwnedFd,
    before: Termios,
}

impl Raw {
    fn new(terminal: OwnedFd) -> Result<Self> {
        let before = tcgetattr(&terminal).context("read the modes of the caller's terminal")?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        // Line ends are made here, and not a second time in the container.
        raw.output_flags |= before.output_flags & OutputFlags::OPOST;
        tcsetattr(&terminal, SetArg::TCSANOW, &raw).context("make the caller's terminal raw")?;
        Ok(Self { terminal, before })
    }

    /// Its size, if it tells.
    pub(super) fn size(&self) -> Option<Size> {
        size(self.terminal.as_fd()).ok()
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // It may have been hung up, which is no news for its user.
        if let Err(errno) = tcsetattr(&self.terminal, SetArg::TCSANOW, &self.before) {
            log::debug(|| format!("restore the caller's terminal: {errno}"));
        }
    }
}
