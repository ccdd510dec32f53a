//! Real terminals: that of a caller, and the socket of somebody who reads a container's.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::read;
use orlop::sys::tty::{self, Size};

use super::{DEADLINE, spawn, wait_until_gone};

/// The controlling end of a terminal, with what was read from it.
pub struct Screen {
    controlling: OwnedFd,
    /// Everything that was written to the terminal.
    pub text: String,
}

impl Screen {
    /// Takes over the controlling end of a terminal.
    pub fn new(controlling: OwnedFd) -> Self {
        fcntl(&controlling, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("fcntl");
        Self { controlling, text: String::new() }
    }

    /// Types a text.
    pub fn type_in(&self, text: &str) {
        let mut file = File::from(self.controlling.try_clone().expect("dup"));
        file.write_all(text.as_bytes()).expect("write to the terminal");
    }

    /// Sets its size.
    pub fn resize(&self, rows: u16, columns: u16) {
        tty::set_size(self.controlling.as_fd(), Size { rows, columns }).expect("resize");
    }

    /// Reads what there is to read; `false` when nobody has the terminal open any more.
    fn read(&mut self) -> bool {
        let mut bytes = [0; 65536];
        match read(&self.controlling, &mut bytes) {
            Ok(0) | Err(Errno::EIO) => false,
            Ok(count) => {
                self.text.push_str(&String::from_utf8_lossy(&bytes[..count]));
                true
            }
            Err(Errno::EAGAIN) => true,
            Err(errno) => panic!("read the terminal: {errno}"),
        }
    }

    /// Waits until `part` was written.
    #[track_caller]
    pub fn wait_for(&mut self, part: &str) {
        let begin = Instant::now();
        while !self.text.contains(part) {
            let timeout = PollTimeout::try_from(DEADLINE.saturating_sub(begin.elapsed()));
            let mut fds = [PollFd::new(self.controlling.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut fds, timeout.expect("a timeout")).expect("poll");
            assert!(ready > 0, "waited in vain for {part:?}: {:?}", self.text);
            assert!(self.read() || self.text.contains(part), "no {part:?} in {:?}", self.text);
        }
    }

    /// Reads until nobody has the terminal open any more.
    #[track_caller]
    pub fn rest(&mut self) {
        let begin = Instant::now();
        loop {
            let timeout = PollTimeout::try_from(DEADLINE.saturating_sub(begin.elapsed()));
            let mut fds = [PollFd::new(self.controlling.as_fd(), PollFlags::POLLIN)];
            assert!(poll(&mut fds, timeout.expect("a timeout")).expect("poll") > 0, "no end");
            if !self.read() {
                return;
            }
        }
    }
}

/// A user at a terminal.
pub struct User {
    /// What he sees.
    pub screen: Screen,
    /// The other end, for commands.
    pub terminal: OwnedFd,
}

impl User {
    /// A new terminal of this size.
    pub fn new(rows: u16, columns: u16) -> Self {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let controlling = open("/dev/ptmx", flags, Mode::empty()).expect("open /dev/ptmx");
        tty::unlock(controlling.as_fd()).expect("unlock");
        let terminal = tty::peer(controlling.as_fd()).expect("open the terminal");
        let screen = Screen::new(controlling);
        screen.resize(rows, columns);
        Self { screen, terminal }
    }

    /// Starts a command whose streams and controlling terminal are this one.
    pub fn start(&self, command: &mut Command) -> Child {
        let stream = || self.terminal.try_clone().expect("dup");
        command.stdin(stream()).stdout(stream()).stderr(stream());
        self.lead(command);
        spawn(command)
    }

    /// Makes the command's process lead a session with this terminal.
    #[expect(unsafe_code, reason = "pre_exec is how a child gets its session")]
    pub fn lead(&self, command: &mut Command) {
        let terminal = self.terminal.try_clone().expect("dup");
        let take = move || {
            nix::unistd::setsid()?;
            tty::take_control(terminal.as_fd())?;
            Ok(())
        };
        // SAFETY: setsid(2) and ioctl(2) are safe to call between fork and exec (signal-safety(7)).
        unsafe { command.pre_exec(take) };
    }

    /// The modes of the terminal.
    pub fn modes(&self) -> Termios {
        tcgetattr(&self.terminal).expect("tcgetattr")
    }
}

/// Waits for the end of a command; returns its exit code.
#[track_caller]
pub fn end(mut child: Child) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    wait_until_gone(i32::try_from(child.id()).expect("a pid"));
    let status = child.wait().expect("wait");
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// A UNIX socket at which somebody waits for a descriptor.
pub struct Receiver {
    listener: UnixListener,
    path: PathBuf,
}

impl Receiver {
    /// Listens at a short path: those of sockets are limited (unix(7)).
    pub fn new(id: &str) -> Self {
        let path = std::env::temp_dir().join(format!("{id}.sock"));
        let listener = UnixListener::bind(&path).expect("bind a socket");
        // An ordinary user's runtime may connect as well.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("chmod");
        Self { listener, path }
    }

    /// The path, as an argument.
    pub fn argument(&self) -> &str {
        self.path.to_str().expect("a path")
    }

    /// Receives the one descriptor that was sent, and the text that came with it.
    #[track_caller]
    pub fn receive(&self) -> (OwnedFd, String) {
        self.listener.set_nonblocking(true).expect("prepare");
        let (stream, _) = self.listener.accept().expect("nobody has connected");
        stream.set_nonblocking(false).expect("prepare");
        let text = peek(&stream);
        let mut received = orlop::sys::socket::receive(stream.as_fd()).expect("receive");
        assert_eq!(received.len(), 1);
        (received.remove(0), text)
    }

    /// Somebody has connected.
    pub fn was_used(&self) -> bool {
        self.listener.set_nonblocking(true).expect("prepare");
        self.listener.accept().is_ok()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn peek(stream: &UnixStream) -> String {
    use std::os::fd::AsRawFd;
    let mut bytes = [0; 256];
    let flags = nix::sys::socket::MsgFlags::MSG_PEEK;
    let count = nix::sys::socket::recv(stream.as_raw_fd(), &mut bytes, flags).expect("peek");
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}
