//! How an error reads: its causes from the outside in, joined by `: `.
//!
//! A system error reads as Go prints it, in lower case and without its number. Engines look for
//! `no such file or directory`, `permission denied` and `is a directory` in the text and derive
//! the exit code of `docker run` from them, some of them minding the case (ENGINES 2).

use std::fmt;
use std::io;

use nix::errno::Errno;

/// Returns the message and its causes, outermost first.
#[must_use]
pub fn chain(error: &anyhow::Error) -> Vec<String> {
    error.chain().map(one).collect()
}

/// Returns the chain as one line.
#[must_use]
pub fn line(error: &anyhow::Error) -> String {
    chain(error).join(": ")
}

/// The errors that Go names in other words than nix: all of them.
const WORDS: [(Errno, &str); 17] = [
    (Errno::EIO, "input/output error"),
    (Errno::EBADF, "bad file descriptor"),
    (Errno::EAGAIN, "resource temporarily unavailable"),
    (Errno::ENOMEM, "cannot allocate memory"),
    (Errno::EXDEV, "invalid cross-device link"),
    (Errno::ENFILE, "too many open files in system"),
    (Errno::ENOTTY, "inappropriate ioctl for device"),
    (Errno::EDOM, "numerical argument out of domain"),
    (Errno::ERANGE, "numerical result out of range"),
    (Errno::EDEADLK, "resource deadlock avoided"),
    (Errno::ENOLCK, "no locks available"),
    (Errno::ELOOP, "too many levels of symbolic links"),
    (Errno::EBADMSG, "bad message"),
    (Errno::EILSEQ, "invalid or incomplete multibyte or wide character"),
    (Errno::EOPNOTSUPP, "operation not supported"),
    (Errno::ENETRESET, "network dropped connection on reset"),
    (Errno::EDQUOT, "disk quota exceeded"),
];

/// The text of a system error as Go prints it.
#[must_use]
pub fn errno(errno: Errno) -> String {
    if let Some((_, text)) = WORDS.iter().find(|(other, _)| *other == errno) {
        return (*text).to_string();
    }
    let text = errno.desc();
    let mut letters = text.chars();
    // A name in capitals stays.
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            format!("{}{}", first.to_ascii_lowercase(), &text[first.len_utf8()..])
        }
        _ => text.to_string(),
    }
}

fn one(cause: &(dyn std::error::Error + 'static)) -> String {
    if let Some(number) = cause.downcast_ref::<Errno>() {
        return errno(*number);
    }
    match cause.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
        Some(number) => errno(Errno::from_raw(number)),
        None => cause.to_string(),
    }
}

/// An error that arrived from the other side as text: its causes become causes again.
#[derive(Debug)]
pub struct Remote {
    text: String,
    cause: Option<Box<Remote>>,
}

impl Remote {
    /// Makes an error of the texts of a chain, outermost first.
    #[must_use]
    pub fn new(chain: Vec<String>) -> Option<Self> {
        let join = |cause, text| Some(Self { text, cause: Option::map(cause, Box::new) });
        chain.into_iter().rev().fold(None, join)
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Remote {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn system_errors_read_as_in_go() {
        for (number, want) in [
            (Errno::ENOENT, "no such file or directory"),
            (Errno::EACCES, "permission denied"),
            (Errno::EISDIR, "is a directory"),
            (Errno::ENOTDIR, "not a directory"),
            (Errno::EIO, "input/output error"),
            (Errno::ELOOP, "too many levels of symbolic links"),
            (Errno::EOPNOTSUPP, "operation not supported"),
            (Errno::EL2NSYNC, "level 2 not synchronized"),
            (Errno::ELIBSCN, ".lib section in a.out corrupted"),
            (Errno::EPROTO, "protocol error"),
            (Errno::ESTALE, "stale file handle"),
        ] {
            assert_eq!(errno(number), want);
        }
        let error = Err::<(), _>(io::Error::from_raw_os_error(libc::EPERM));
        let error = error.context("open x").context("create").unwrap_err();
        assert_eq!(line(&error), "create: open x: operation not permitted");
    }

    #[test]
    fn a_chain_survives_the_journey() {
        let error = Err::<(), _>(Errno::ENOENT).context("open x").unwrap_err();
        let remote = anyhow::Error::new(Remote::new(chain(&error)).unwrap());
        assert_eq!(line(&remote.context("run")), "run: open x: no such file or directory");
    }
}
