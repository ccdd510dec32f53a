//! Running the runtime, and waiting for what it does: always for an event, never for a time.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{PoisonError, RwLock};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::DEADLINE;

/// A program that is open for writing cannot be executed (ETXTBSY), and a process that is being
/// started has copies of all descriptors until it executes its own program. So nobody starts one
/// while a program is being written.
static PROGRAMS: RwLock<()> = RwLock::new(());

/// The runtime under test: `RUNTIME`, or ours as the Makefile has built it, or as cargo did.
pub fn runtime() -> PathBuf {
    let chosen = std::env::var_os("RUNTIME").or_else(|| std::env::var_os("ORLOP"));
    chosen.map_or_else(|| env!("CARGO_BIN_EXE_orlop").into(), PathBuf::from)
}

/// Starts a command.
pub fn spawn(command: &mut Command) -> Child {
    let _guard = PROGRAMS.read().unwrap_or_else(PoisonError::into_inner);
    command.spawn().expect("start a command")
}

/// Copies a program that will be executed.
pub fn copy_program(from: &Path, to: &Path) {
    let _guard = PROGRAMS.write().unwrap_or_else(PoisonError::into_inner);
    fs::copy(from, to).expect("copy a program");
}

/// What a command left.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub code: i32,
    /// What it wrote.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Output {
    /// Runs a command to its end, or fails after the deadline.
    pub fn of(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Background::start(command).end()
    }

    /// Returns standard output of a command that succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "the command failed: {self:#?}");
        self.stdout
    }

    /// Checks that the command failed with this code and text.
    #[track_caller]
    pub fn fails(self, code: i32, text: &str) -> String {
        assert_eq!(self.code, code, "wanted exit code {code}: {self:#?}");
        // runc quotes the whole message when it goes to standard error.
        let stderr = self.stderr.replace("\\\"", "\"");
        assert!(stderr.contains(text), "wanted {text:?}: {self:#?}");
        stderr
    }
}

/// A command that runs.
pub struct Background {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: ChildStderr,
}

impl Background {
    /// Starts a command whose output streams are pipes.
    pub fn start(command: &mut Command) -> Self {
        let mut child = spawn(command);
        let stdout = child.stdout.take().expect("a pipe for standard output");
        let stderr = child.stderr.take().expect("a pipe for standard error");
        Self { child, stdout: BufReader::new(stdout), stderr }
    }

    /// Runs a command that has streams already to its end.
    pub fn wait_for(command: &mut Command) -> i32 {
        let mut child = spawn(command);
        wait_until_gone(i32::try_from(child.id()).expect("a pid"));
        code(child.wait().expect("wait for a command"))
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// Ends the command by force.
    pub fn kill(mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("kill a command");
    }

    /// Waits for a line of output.
    #[track_caller]
    pub fn line(&mut self) -> String {
        if self.stdout.buffer().is_empty() {
            wait(self.stdout.get_ref().as_fd(), "a line of output");
        }
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("read a line");
        line.trim_end().to_string()
    }

    /// Waits for the end of the command, whose container may keep the pipes.
    #[track_caller]
    pub fn wait(&mut self) -> i32 {
        wait_until_gone(self.pid());
        code(self.child.wait().expect("wait for a command"))
    }

    /// Waits for the end and reads what is left of the output.
    #[track_caller]
    pub fn end(mut self) -> Output {
        let pidfd = pidfd(self.pid()).expect("a child is there until it is waited for");
        let (mut stdout, mut stderr) = (self.stdout.buffer().to_vec(), Vec::new());
        drain(
            &pidfd,
            &mut [
                (&mut self.stdout.into_inner() as &mut dyn Pipe, &mut stdout),
                (&mut self.stderr, &mut stderr),
            ],
        );
        let status = self.child.wait().expect("wait for a command");
        Output { code: code(status), stdout: text(stdout), stderr: text(stderr) }
    }
}

trait Pipe: Read + AsFd {}
impl<P: Read + AsFd> Pipe for P {}

/// Reads both pipes until the process has ended and they are empty. A container may hold them
/// open for longer, so their end is not waited for.
fn drain(pidfd: &OwnedFd, pipes: &mut [(&mut dyn Pipe, &mut Vec<u8>); 2]) {
    let begin = Instant::now();
    let mut open = [true, true];
    loop {
        let mut fds = vec![PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        for (index, (pipe, _)) in pipes.iter().enumerate() {
            let flags = if open[index] { PollFlags::POLLIN } else { PollFlags::empty() };
            fds.push(PollFd::new(pipe.as_fd(), flags));
        }
        let left = DEADLINE.saturating_sub(begin.elapsed());
        let timeout = PollTimeout::try_from(left).expect("a timeout");
        assert!(poll(&mut fds, timeout).expect("poll") > 0, "the command does not end");
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        drop(fds);
        let mut read = false;
        for (index, (pipe, bytes)) in pipes.iter_mut().enumerate() {
            if ready[index + 1] && open[index] {
                let mut buffer = [0; 65536];
                let count = pipe.read(&mut buffer).expect("read a pipe");
                bytes.extend_from_slice(&buffer[..count]);
                open[index] = count > 0;
                read |= count > 0;
            }
        }
        if ready[0] && !read {
            return;
        }
    }
}

/// Waits until there is something to read, or fails.
#[track_caller]
fn wait(fd: std::os::fd::BorrowedFd<'_>, what: &str) {
    let timeout = PollTimeout::try_from(DEADLINE).expect("a timeout");
    let ready = poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout).expect("poll");
    assert!(ready > 0, "waited in vain for {what}");
}

/// Waits for the end of a process that need not be a child.
#[track_caller]
pub fn wait_until_gone(pid: i32) {
    if let Some(pidfd) = pidfd(pid) {
        wait(pidfd.as_fd(), "the end of a process");
    }
}

fn pidfd(pid: i32) -> Option<OwnedFd> {
    orlop::sys::process::pidfd_open(nix::unistd::Pid::from_raw(pid)).ok()
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}
