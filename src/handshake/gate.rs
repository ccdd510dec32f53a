//! The gate between `create` and `start`: init waits behind it, `start` opens it.
//!
//! Two FIFOs in the container's directory. Init reads one byte from `gate`; while that file is
//! there the container is `created`, and as long as it has another name the container is still
//! being created. On `report` init says how it went on: nothing before the program is executed,
//! which closes the descriptor, or why a startContainer hook failed.
//!
//! Behind the gate init may have a seccomp filter on, so all it needs is read(2) and write(2) on
//! descriptors it already has.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, openat, renameat};
use nix::sys::stat::{Mode, SFlag, mknodat};
use nix::unistd::{UnlinkatFlags, read, unlinkat, write};

const GATE: &str = "gate";
const UNFINISHED: &str = "gate.new";
const REPORT: &str = "report";

/// The names of the files, of which some are there.
pub const FILES: [&str; 3] = [GATE, UNFINISHED, REPORT];

/// What init writes before it executes the program, so that its death before is not taken for
/// success.
const EXECUTING: u8 = b'x';

/// Init's side.
#[derive(Debug)]
pub struct Inside {
    gate: OwnedFd,
    report: OwnedFd,
}

/// Makes a closed gate in the directory `dir` and returns the side for init.
///
/// # Errors
/// Those of mkfifo(3) and open(2).
pub fn make(dir: BorrowedFd<'_>) -> Result<Inside> {
    let open = |name: &str| -> Result<OwnedFd> {
        mknodat(dir, name, SFlag::S_IFIFO, Mode::from_bits_truncate(0o600), 0)
            .with_context(|| format!("make the FIFO {name}"))?;
        // Open for both, so that neither opening nor reading depends on the other side.
        openat(dir, name, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
            .with_context(|| format!("open the FIFO {name}"))
    };
    Ok(Inside { gate: open(UNFINISHED)?, report: open(REPORT)? })
}

/// Shows that the container in `dir` is complete: it is `created` from now on.
///
/// # Errors
/// Those of renameat(2).
pub fn finish(dir: BorrowedFd<'_>) -> Result<()> {
    renameat(dir, UNFINISHED, dir, GATE).context("rename the FIFO gate")
}

impl Inside {
    /// Waits until `start` opens the gate.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn wait(&self) -> Result<()> {
        let mut byte = [0];
        loop {
            match read(&self.gate, &mut byte) {
                Err(Errno::EINTR) => {}
                other => return other.map(drop).context("wait for start"),
            }
        }
    }

    /// Tells `start` that the program is executed next.
    ///
    /// # Errors
    /// Those of write(2).
    pub fn executing(&self) -> Result<()> {
        write(&self.report, &[EXECUTING]).map(drop).context("tell start about the program")
    }

    /// Tells `start` why the program is not executed.
    ///
    /// # Errors
    /// Those of write(2).
    pub fn failed(&self, why: &[String]) -> Result<()> {
        let text = serde_json::to_vec(why).context("encode an error")?;
        write(&self.report, &text).map(drop).context("tell start about an error")
    }

    /// The descriptors that have to stay open until the program is executed.
    #[must_use]
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.gate.as_fd(), self.report.as_fd()]
    }
}

/// What the gate of a container shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The container is not complete yet.
    Unfinished,
    /// Init waits behind it.
    Closed,
    /// Init went through.
    Open,
}

/// Looks at the gate of the container in `dir`.
///
/// # Errors
/// Those of openat(2) other than that it is not there.
pub fn position(dir: BorrowedFd<'_>) -> Result<Position> {
    for (name, position) in [(GATE, Position::Closed), (UNFINISHED, Position::Unfinished)] {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(dir, name, flags, Mode::empty()) {
            Ok(_) => return Ok(position),
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).context("look for the FIFO gate"),
        }
    }
    Ok(Position::Open)
}

/// The side of `start` after it opened the gate.
#[derive(Debug)]
pub struct Outside {
    report: File,
}

/// How init went on.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It executed the program.
    Executed,
    /// It reported an error: the chain.
    Failed(Vec<String>),
    /// It died without a word.
    Died,
}

/// Opens the gate in `dir` and takes it away: from now on the container is running.
///
/// # Errors
/// When init does not wait behind it any more.
pub fn open(dir: BorrowedFd<'_>) -> Result<Outside> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let report = openat(dir, REPORT, flags | OFlag::O_RDONLY, Mode::empty());
    let report = report.context("open the FIFO report")?;
    let gate = match openat(dir, GATE, flags | OFlag::O_WRONLY, Mode::empty()) {
        Err(Errno::ENXIO) => bail!("container process is already dead"),
        other => other.context("open the FIFO gate")?,
    };
    write(&gate, b"1").context("open the gate")?;
    unlinkat(dir, GATE, UnlinkatFlags::NoRemoveDir).context("remove the FIFO gate")?;
    fcntl(&report, FcntlArg::F_SETFL(OFlag::empty())).context("wait on the FIFO report")?;
    Ok(Outside { report: report.into() })
}

impl Outside {
    /// Waits until init executed the program or ended.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn outcome(mut self) -> Result<Outcome> {
        let mut bytes = Vec::new();
        self.report.read_to_end(&mut bytes).context("wait for the program to be executed")?;
        Ok(match bytes.as_slice() {
            [EXECUTING] => Outcome::Executed,
            [] => Outcome::Died,
            chain => {
                let chain = serde_json::from_slice(chain);
                Outcome::Failed(chain.context("decode the report of the container's init")?)
            }
        })
    }
}
