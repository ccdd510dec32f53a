//! What the program says besides its output: debug lines, warnings, and the one error.
//!
//! Without `--log` everything goes to standard error. With it, lines go to that file and the
//! error to standard error as well, because some engines read one and some the other
//! (go-runc: both streams of `kill` and `delete`; conmon: standard error of `create`).
//!
//! Podman parses the whole JSON log as one object and containerd takes its last error record,
//! so in that format warnings wait until the command has succeeded and are dropped when it
//! fails: a failed command writes exactly one record.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use anyhow::{Context, Result};

/// The level of lines for developers. They are records everywhere, so that the many lines that one
/// may have stay together.
const DEBUG: &str = "debug";

/// How lines of the log look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `time="…" level=… msg="…"`, the form of runc's logger.
    #[default]
    Text,
    /// One object per line with `level`, `msg` and `time` (RFC 3339).
    Json,
}

struct Log {
    debug: bool,
    format: Format,
    file: Option<File>,
    waiting: Mutex<Vec<String>>,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Says where lines go. Until this is called they go to standard error, without debug lines.
///
/// # Errors
/// When `file` cannot be opened for appending.
pub fn open(debug: bool, format: Format, file: Option<&Path>) -> Result<()> {
    let open = |path: &Path| {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("open the log {}", path.display()))
    };
    let file = file.map(open).transpose()?;
    // A second call would be a mistake of ours and changes nothing.
    let _ = LOG.set(Log { debug, format, file, waiting: Mutex::default() });
    Ok(())
}

/// Writes a line that only `--debug` shows. The text is made only then.
pub fn debug<T: Display>(text: impl FnOnce() -> T) {
    if let Some(log) = LOG.get().filter(|log| log.debug) {
        log.write(DEBUG, &text().to_string());
    }
}

/// Writes a warning: something was asked for that is passed over, and the command goes on.
pub fn warn(text: impl Display) {
    let text = text.to_string();
    match LOG.get() {
        Some(log) if log.waits() => {
            log.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }
        Some(log) => log.write("warning", &text),
        None => to_stderr("warning", &text),
    }
}

/// Writes the warnings that waited for the command to succeed.
pub fn succeeded() {
    if let Some(log) = LOG.get() {
        let mut waiting = log.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for text in waiting.drain(..) {
            log.write("warning", &text);
        }
    }
}

/// Takes the warnings that wait, for init to pass them to the runtime.
pub fn take_waiting() -> Vec<String> {
    let Some(log) = LOG.get() else { return Vec::new() };
    std::mem::take(&mut *log.waiting.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The open log file, if there is one.
pub fn descriptor() -> Option<BorrowedFd<'static>> {
    LOG.get()?.file.as_ref().map(AsFd::as_fd)
}

/// Writes one line to standard error as it is: for a program's user, not for the runtime's.
pub fn plain(text: impl Display) {
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Writes the error that ends the command, to the log and to standard error.
pub fn error(text: &str) {
    let Some(log) = LOG.get() else { return to_stderr("error", text) };
    log.write("error", text);
    if log.file.is_some() {
        to_stderr("error", text);
    }
}

impl Log {
    fn waits(&self) -> bool {
        self.format == Format::Json && !self.debug
    }

    fn write(&self, level: &str, text: &str) {
        let line = match (&self.file, self.format) {
            (None, Format::Text) if level != DEBUG => return to_stderr(level, text),
            (_, Format::Text) => {
                format!("time={:?} level={level} msg={text:?}\n", timestamp())
            }
            (_, Format::Json) => {
                let record = serde_json::json!({"level": level, "msg": text, "time": timestamp()});
                format!("{record}\n")
            }
        };
        // One write(2) per line keeps the lines of several processes apart (O_APPEND). A full
        // disk under the log must not fail the command.
        let _ = match &self.file {
            Some(file) => (&*file).write_all(line.as_bytes()),
            None => std::io::stderr().write_all(line.as_bytes()),
        };
    }
}

fn to_stderr(level: &str, text: &str) {
    let _ = std::io::stderr().write_all(format!("{level}: {text}\n").as_bytes());
}

fn timestamp() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}
