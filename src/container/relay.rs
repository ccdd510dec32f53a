//! Copying between the caller's terminal and that of the program.
//!
//! Nothing here ever waits for one side alone: a caller who stops reading stops the program's
//! output and nothing else. The program's end of the terminal is held open here as well, so that
//! its controlling end does not report a hangup again and again while nobody inside has it open;
//! what tells the end is the end of the program.

use std::fs::OpenOptions;
use std::io::{stdin, stdout};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::{isatty, read, write};

use super::console::Raw;
use crate::sys::stat::kind;
use crate::sys::tty;

/// What is read at once.
const CHUNK: usize = 16 * 1024;

/// More than the kernel keeps of a terminal's output. Whoever still writes when the program has
/// ended cannot keep the relay going for longer than that.
const KEPT: usize = 256 * 1024;

/// The copying in both directions.
#[derive(Debug)]
pub struct Relay {
    caller: Raw,
    /// Gone when the reader of the output is: the program is hung up then, as by closing a
    /// window.
    program: Option<Ends>,
    /// What the caller types; gone at its end.
    input: Option<OwnedFd>,
    output: OwnedFd,
    typed: Pending,
    shown: Pending,
}

#[derive(Debug)]
struct Ends {
    controlling: OwnedFd,
    _program: OwnedFd,
}

/// Bytes that were read and not yet written.
#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    done: usize,
}

/// Which of the relay's files can be read or written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ready {
    input: bool,
    output: bool,
    readable: bool,
    writable: bool,
}

impl Relay {
    /// Copies between the terminal with this controlling end and the caller's streams.
    ///
    /// # Errors
    /// Those of opening the streams again.
    pub(super) fn new(controlling: OwnedFd, caller: Raw) -> Result<Self> {
        let program = tty::peer(controlling.as_fd()).context("hold the program's terminal")?;
        fcntl(&controlling, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
            .context("prepare the program's terminal")?;
        let relay = Self {
            caller,
            program: Some(Ends { controlling, _program: program }),
            input: Some(own(stdin().as_fd(), false)?),
            output: own(stdout().as_fd(), true)?,
            typed: Pending::default(),
            shown: Pending::default(),
        };
        relay.resize();
        Ok(relay)
    }

    /// Gives the program's terminal the size of the caller's. One that is gone has none.
    pub(super) fn resize(&self) {
        if let (Some(program), Some(size)) = (&self.program, self.caller.size()) {
            let _ = tty::set_size(program.controlling.as_fd(), size);
        }
    }

    /// Waits until there is something to copy, or one of `others` can be read.
    ///
    /// # Errors
    /// Those of poll(2).
    pub(super) fn wait(&self, others: &[BorrowedFd<'_>]) -> Result<Ready> {
        let mut fds: Vec<_> = others.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
        let (typing, showing) = (!self.typed.is_empty(), !self.shown.is_empty());
        let program = self.program.as_ref().map(|program| &program.controlling);
        let input = self.input.as_ref().filter(|_| program.is_some());
        let if_so = |so: bool, flag| if so { flag } else { PollFlags::empty() };
        let files = [
            (input, if_so(!typing, PollFlags::POLLIN)),
            (Some(&self.output), if_so(showing, PollFlags::POLLOUT)),
            (program, if_so(!showing, PollFlags::POLLIN) | if_so(typing, PollFlags::POLLOUT)),
        ];
        // A file that is not waited for is left out: its hangup would end every wait at once.
        let places = files.map(|(file, flags)| {
            let file = file.filter(|_| !flags.is_empty())?;
            fds.push(PollFd::new(file.as_fd(), flags));
            Some(fds.len() - 1)
        });
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Ready::default()),
            Err(errno) => return Err(errno).context("wait for the container"),
        }
        // A hangup or an error is for read(2) and write(2) to tell.
        let [input, output, program] = places.map(|place| {
            let found = place.and_then(|index| fds.get(index)?.revents());
            found.unwrap_or(PollFlags::empty())
        });
        Ok(Ready {
            input: !input.is_empty(),
            output: !output.is_empty(),
            readable: !showing && !(program - PollFlags::POLLOUT).is_empty(),
            writable: typing && !(program - PollFlags::POLLIN).is_empty(),
        })
    }

    /// Copies what can be copied without waiting.
    pub(super) fn copy(&mut self, ready: Ready) {
        if ready.input {
            let read = self.input.as_ref().map(|input| self.typed.fill(input));
            if matches!(read, Some(Ok(0) | Err(_))) {
                self.input = None;
            }
        }
        if ready.readable {
            self.read_program();
        }
        if let Some(program) = self.program.as_ref().filter(|_| ready.writable || ready.input)
            && self.typed.drain_to(&program.controlling).is_err()
        {
            self.program = None;
        }
        if (ready.output || ready.readable) && self.shown.drain_to(&self.output).is_err() {
            self.program = None;
            self.shown = Pending::default();
        }
    }

    /// Returns how much was there.
    fn read_program(&mut self) -> usize {
        let Some(program) = &self.program else { return 0 };
        match self.shown.fill(&program.controlling) {
            Ok(count) => count,
            Err(Errno::EAGAIN) => 0,
            // Somebody with the privilege has hung it up: vhangup(2).
            Err(_) => {
                self.program = None;
                0
            }
        }
    }

    /// Shows what the program wrote before it ended. `interrupted` is asked whenever `signals`
    /// can be read, and says that nobody wants to see the rest.
    ///
    /// # Errors
    /// Those of poll(2).
    pub(super) fn finish(
        mut self,
        signals: BorrowedFd<'_>,
        interrupted: impl Fn() -> Result<bool>,
    ) -> Result<()> {
        self.input = None;
        self.typed = Pending::default();
        let mut total = 0;
        loop {
            if self.shown.is_empty() {
                let count = self.read_program();
                total += count;
                if count == 0 || total > KEPT {
                    return Ok(());
                }
            }
            let output = PollFd::new(self.output.as_fd(), PollFlags::POLLOUT);
            let mut fds = [PollFd::new(signals, PollFlags::POLLIN), output];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("wait for the reader of the output"),
            }
            if fds[0].any() == Some(true) && interrupted()? {
                return Ok(());
            }
            let writable = fds[1].any() == Some(true);
            if writable && self.shown.drain_to(&self.output).is_err() {
                return Ok(());
            }
        }
    }
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.done == self.bytes.len()
    }

    /// Reads once, when nothing is left.
    fn fill(&mut self, from: &OwnedFd) -> nix::Result<usize> {
        self.bytes.resize(CHUNK, 0);
        let count = match read(from, &mut self.bytes) {
            Err(Errno::EINTR) => Err(Errno::EAGAIN),
            other => other,
        };
        self.bytes.truncate(count.unwrap_or(0));
        self.done = 0;
        count
    }

    /// Writes as much as goes at once.
    fn drain_to(&mut self, to: &OwnedFd) -> nix::Result<()> {
        match write(to, self.bytes.get(self.done..).unwrap_or_default()) {
            Ok(count) => self.done += count,
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        Ok(())
    }
}

/// Returns a stream of the caller for the relay. A terminal or pipe is opened a second time where
/// that is allowed: not to wait in write(2) is a property that others would inherit.
fn own(stream: BorrowedFd<'_>, writing: bool) -> Result<OwnedFd> {
    let stat = fstat(stream).context("stat a stream of the caller")?;
    if kind(&stat) == SFlag::S_IFIFO || isatty(stream).unwrap_or(false) {
        let mut options = OpenOptions::new();
        options.read(!writing).write(writing);
        options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        let path = format!("/proc/self/fd/{}", stream.as_raw_fd());
        if let Ok(file) = options.open(path) {
            return Ok(file.into());
        }
    }
    stream.try_clone_to_owned().context("duplicate a stream of the caller")
}
