//! A hook that runs: fed, read and watched until its end.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, ExitStatus};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use super::outputs::Files;
use crate::log;
use crate::sys::process::pidfd_open;

/// How much of each output stream an error text shows.
pub(super) const TAIL: usize = 4096;

/// A hook, and both sides of its pipes.
pub(super) struct Running<'a> {
    child: Child,
    stdin: Option<ChildStdin>,
    state: &'a [u8],
    stdout: Tail<'a, ChildStdout>,
    stderr: Tail<'a, ChildStderr>,
}

impl<'a> Running<'a> {
    /// Takes the pipes of `child`, who is to read `state`; what comes goes to `files` as well.
    pub(super) fn new(mut child: Child, state: &'a [u8], files: &'a Files) -> Result<Self> {
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            bail!("a pipe of the hook is missing")
        };
        for pipe in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
            fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
                .context("prepare the hook's pipes")?;
        }
        Ok(Self {
            child,
            stdin: Some(stdin),
            state,
            stdout: Tail::new(stdout, files.stdout()),
            stderr: Tail::new(stderr, files.stderr()),
        })
    }

    /// Feeds and reads the hook until it ends. Returns nothing if `deadline` came first; the
    /// hook is killed and reaped then.
    pub(super) fn watch(&mut self, deadline: Option<Instant>) -> Result<Option<ExitStatus>> {
        let pid = i32::try_from(self.child.id()).context("the hook's pid")?;
        let pidfd = pidfd_open(Pid::from_raw(pid)).context("watch the hook")?;
        loop {
            let ended = self.wait(pidfd.as_fd(), deadline)?;
            self.feed();
            self.stdout.read();
            self.stderr.read();
            match ended {
                Event::Ended => return self.child.wait().map(Some).context("reap the hook"),
                Event::TimeIsUp => {
                    self.child.kill().context("kill the hook")?;
                    self.child.wait().context("reap the hook")?;
                    return Ok(None);
                }
                Event::Pipe => {}
            }
        }
    }

    fn wait(&self, pidfd: BorrowedFd<'_>, deadline: Option<Instant>) -> Result<Event> {
        let mut fds = vec![PollFd::new(pidfd, PollFlags::POLLIN)];
        if let Some(stdin) = &self.stdin {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLOUT));
        }
        let outputs = [self.stdout.open_fd(), self.stderr.open_fd()];
        fds.extend(outputs.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        let timeout = match deadline {
            None => PollTimeout::NONE,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                // Rounded up, so that the loop does not turn in the last millisecond.
                let left = i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
        };
        match poll(&mut fds, timeout) {
            Ok(0) => return Ok(Event::TimeIsUp),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("wait for the hook"),
        }
        let ended = fds.first().and_then(PollFd::any).unwrap_or(false);
        Ok(if ended { Event::Ended } else { Event::Pipe })
    }

    /// Writes what the pipe takes. A hook need not read its input: EPIPE is no error.
    fn feed(&mut self) {
        let Some(stdin) = &mut self.stdin else { return };
        match stdin.write(self.state) {
            Ok(written) => self.state = self.state.get(written..).unwrap_or_default(),
            Err(error) if would_block(&error) => return,
            Err(_) => self.state = &[],
        }
        if self.state.is_empty() {
            self.stdin = None;
        }
    }

    /// The last of what it wrote, for an error text.
    pub(super) fn output(&self) -> String {
        format!("stdout: {}, stderr: {}", self.stdout.text(), self.stderr.text())
    }
}

enum Event {
    Ended,
    TimeIsUp,
    Pipe,
}

fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// The last part of what comes out of a pipe; all of it goes to a file if there is one.
struct Tail<'a, P> {
    pipe: Option<P>,
    bytes: Vec<u8>,
    file: Option<&'a File>,
}

impl<'a, P: Read + AsFd> Tail<'a, P> {
    fn new(pipe: P, file: Option<&'a File>) -> Self {
        Self { pipe: Some(pipe), bytes: Vec::new(), file }
    }

    fn open_fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    fn read(&mut self) {
        let mut buffer = [0; TAIL];
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut buffer) {
                Err(error) if would_block(&error) => return,
                Ok(0) | Err(_) => self.pipe = None,
                Ok(count) => self.take(buffer.get(..count).unwrap_or_default()),
            }
            let excess = self.bytes.len().saturating_sub(TAIL);
            self.bytes.drain(..excess);
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        // A full disk is no failure of the hook.
        if let Some(Err(error)) = self.file.map(|mut file| file.write_all(bytes)) {
            log::debug(|| format!("write the output of a hook: {error}"));
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).trim_end().to_string()
    }
}
