//! What keeps a program from running, in the words from which engines derive exit statuses
//! (BXC-05, BXC-06).

use std::path::Path;

use nix::errno::Errno;

use crate::error;

/// What was being done.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// stat(2) of the file that a path names.
    Look(&'a str),
    /// Checking that it is a program that may be executed.
    Check(&'a str),
    /// execve(2).
    Execute(&'a str),
    /// Entering the working directory.
    Enter(&'a Path),
}

/// What there is to say when no directory of `PATH` has a program of that name, whatever else the
/// reasons are: as Go's `exec.LookPath`.
#[must_use]
pub fn not_in_path(name: &str) -> String {
    format!("exec: {name:?}: executable file not found in $PATH")
}

/// What there is to say when a step fails.
#[must_use]
pub fn text(step: Step<'_>, number: Errno) -> String {
    let why = error::errno(number);
    match step {
        Step::Look(path) => format!("exec: {path:?}: stat {path}: {why}"),
        Step::Check(path) => format!("exec: {path:?}: {why}"),
        Step::Execute(path) => format!("exec {path}: {why}"),
        Step::Enter(cwd) => {
            format!("process.cwd: chdir to cwd ({cwd:?}) set in config.json failed: {why}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    /// Texts that some engine looks for, in any case, and the error that each belongs to.
    const MATCHED: [(&str, Option<Errno>); 13] = [
        ("executable file not found", None),
        ("no such file", Some(Errno::ENOENT)),
        ("permission denied", Some(Errno::EACCES)),
        ("operation not permitted", Some(Errno::EPERM)),
        ("is a directory", Some(Errno::EISDIR)),
        ("not a directory", Some(Errno::ENOTDIR)),
        ("no such process", Some(Errno::ESRCH)),
        ("os: process already finished", None),
        ("container not running", None),
        ("does not exist", None),
        ("not found", None),
        ("open executable", None),
        ("failed to run runc create/exec call", None),
    ];

    /// All steps, those included that only pass the error on.
    fn texts(number: Errno) -> [String; 5] {
        let mount = anyhow!(number).context("mount tmpfs at /x").context("mounts[0]");
        [
            text(Step::Look("/x"), number),
            text(Step::Check("/x"), number),
            text(Step::Execute("/x"), number),
            text(Step::Enter(Path::new("/x")), number),
            error::line(&mount),
        ]
    }

    #[test]
    fn no_text_is_that_of_another_error() {
        let mut known = 0;
        for number in (1..=133).map(Errno::from_raw).filter(|it| *it != Errno::UnknownErrno) {
            for text in texts(number) {
                for (matched, belongs) in MATCHED {
                    let there = text.to_lowercase().contains(matched);
                    assert_eq!(there, belongs == Some(number), "{number:?}: {text}");
                }
            }
            known += 1;
        }
        assert!(known > 130, "{known}");
    }

    /// What Docker's client makes of a text, which it compares minding the case.
    fn docker(text: &str) -> i32 {
        let has = |part: &&str| text.contains(*part);
        if ["executable file not found", "no such file or directory"].iter().any(has) {
            return 127;
        }
        if ["permission denied", "is a directory"].iter().any(has) { 126 } else { 125 }
    }

    #[test]
    fn docker_derives_its_status() {
        assert_eq!(docker(&not_in_path("x")), 127);
        let first = |number| texts(number).map(|text| docker(&text));
        for (number, status) in [
            (Errno::ENOENT, 127),
            (Errno::EACCES, 126),
            (Errno::EISDIR, 126),
            (Errno::EPERM, 125),
            (Errno::ENOTDIR, 125),
            (Errno::ENOEXEC, 125),
            (Errno::ELOOP, 125),
            (Errno::ETXTBSY, 125),
            (Errno::ENAMETOOLONG, 125),
            (Errno::EINVAL, 125),
            (Errno::ENODEV, 125),
            (Errno::EBUSY, 125),
        ] {
            assert_eq!(first(number), [status; 5], "{number:?}");
        }
    }
}
