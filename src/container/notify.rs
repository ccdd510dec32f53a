//! `NOTIFY_SOCKET`: how a program tells the host's service manager that it is ready, by
//! sd_notify(3), whose socket it cannot reach (BXC-23).
//!
//! A directory of the container's own is bound to `/run/notify`, with a socket in it at which the
//! runtime listens. The manager hears the first `READY=` from there and which process that is, and
//! nothing else.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, Permissions};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, pipe2};

use crate::log;
use crate::sys::socket;

/// The name of the directory in that of the container.
const DIRECTORY: &str = "notify";

/// The name of the socket in it.
const SOCKET: &str = "notify.sock";

/// Where the program finds that directory.
pub const INSIDE: &str = "/run/notify";

/// How long the manager may take to take note.
const PATIENCE: u16 = 30_000;

/// The socket of the manager, if there is one.
#[must_use]
pub fn manager() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty())
}

/// The variable that the program gets.
#[must_use]
pub fn variable() -> String {
    format!("NOTIFY_SOCKET={INSIDE}/{SOCKET}")
}

/// The directory that is bound, for a container whose own is `container`.
#[must_use]
pub fn directory(container: &Path) -> PathBuf {
    container.join(DIRECTORY)
}

/// Makes that directory.
///
/// # Errors
/// Those of mkdir(2).
pub fn make_directory(container: &Path) -> Result<()> {
    let path = directory(container);
    let made = DirBuilder::new().mode(0o755).create(&path);
    made.with_context(|| format!("make the directory {}", path.display()))
}

/// The listening runtime.
#[derive(Debug)]
pub struct Proxy {
    socket: UnixDatagram,
    manager: SocketAddr,
    told: bool,
}

impl Proxy {
    /// Listens in the directory of `container` for who the manager at `manager` should know of;
    /// without a directory there is nobody.
    ///
    /// # Errors
    /// Those of bind(2), and for an address that is none.
    pub fn listen(container: &Path, manager: &OsStr) -> Result<Option<Self>> {
        let directory = directory(container);
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = match open(&directory, flags, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(None),
            other => other.with_context(|| format!("open {}", directory.display()))?,
        };
        // The path of a socket has 107 bytes (unix(7)); that of the container may have more.
        let path = format!("/proc/self/fd/{}/{SOCKET}", opened.as_raw_fd());
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).context("remove the old socket for NOTIFY_SOCKET");
            }
            _ => {}
        }
        let socket = UnixDatagram::bind(&path).context("make the socket for NOTIFY_SOCKET")?;
        socket.set_nonblocking(true).context("prepare the socket for NOTIFY_SOCKET")?;
        fs::set_permissions(&path, Permissions::from_mode(0o777))
            .context("open the socket for NOTIFY_SOCKET to all users")?;
        Ok(Some(Self { socket, manager: address(manager)?, told: false }))
    }

    /// What can be read when the program has said something, until the manager knows.
    pub(super) fn waiting(&self) -> Option<BorrowedFd<'_>> {
        (!self.told).then(|| self.socket.as_fd())
    }

    /// Waits until the manager knows that process `pid` is ready, or that has ended.
    ///
    /// # Errors
    /// Those of poll(2). What the manager does not hear is only a warning.
    pub fn serve(mut self, pid: Pid, program: BorrowedFd<'_>) -> Result<()> {
        while let Some(socket) = self.waiting() {
            let mut fds = [socket, program].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("wait for the program to be ready"),
            }
            let ended = fds[1].any() == Some(true);
            let barrier = self.pass_on(pid);
            if let Some(barrier) = barrier {
                // The manager closes its copy when it has seen to everything before.
                let mut fds = [PollFd::new(barrier.as_fd(), PollFlags::POLLIN)];
                if poll(&mut fds, PATIENCE) == Ok(0) {
                    log::warn("Timeout after waiting 30s for barrier. Ignored.");
                }
            }
            if ended {
                break;
            }
        }
        Ok(())
    }

    /// Reads what the program has said, and tells the manager if it is ready; returns what comes
    /// to its end when the manager knows.
    pub(super) fn pass_on(&mut self, pid: Pid) -> Option<OwnedFd> {
        let mut message = [0; 4096];
        while let Ok(size) = self.socket.recv(&mut message) {
            let Some(ready) = ready(message.get(..size).unwrap_or_default()) else { continue };
            self.told = true;
            match self.tell(ready, pid) {
                Ok(barrier) => return Some(barrier),
                Err(error) => log::warn(format!("NOTIFY_SOCKET: {error:#}")),
            }
        }
        None
    }

    fn tell(&self, ready: &[u8], pid: Pid) -> Result<OwnedFd> {
        let manager = UnixDatagram::unbound().context("make a socket")?;
        manager.connect_addr(&self.manager).context("connect to it")?;
        manager.send(&[ready, b"\n"].concat()).context("tell that the program is ready")?;
        manager.send(format!("MAINPID={pid}\n").as_bytes()).context("tell its pid")?;
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).context("pipe2")?;
        socket::send(manager.as_fd(), b"BARRIER=1", writer.as_fd()).context("send a barrier")?;
        Ok(reader)
    }
}

/// The line that says so, in a message of sd_notify(3).
fn ready(message: &[u8]) -> Option<&[u8]> {
    message.split(|byte| *byte == b'\n').find(|line| line.starts_with(b"READY="))
}

/// A path, or with `@` in front a name of the kernel's (unix(7)).
fn address(socket: &OsStr) -> Result<SocketAddr> {
    let bytes = socket.as_bytes();
    let address = match bytes.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(socket),
    };
    address.with_context(|| format!("NOTIFY_SOCKET: {}", socket.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_one_line_of_a_message() {
        for (message, want) in [
            ("READY=1", Some("READY=1")),
            ("STATUS=up\nREADY=1\nMAINPID=5", Some("READY=1")),
            ("STATUS=NOT READY=1", None),
            ("", None),
        ] {
            assert_eq!(ready(message.as_bytes()), want.map(str::as_bytes), "{message}");
        }
    }

    #[test]
    fn addresses() {
        let address = |text: &str| address(OsStr::new(text)).unwrap();
        assert_eq!(address("@a/b").as_abstract_name(), Some(&b"a/b"[..]));
        assert_eq!(address("/run/x").as_pathname(), Some(Path::new("/run/x")));
    }
}
