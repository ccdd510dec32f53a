//! The program: its environment, where it is, and executing it.

use std::collections::HashSet;
use std::ffi::CString;

use anyhow::{Context, Error, Result};
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::fcntl::AtFlags;
use nix::sys::stat::{SFlag, stat};
use nix::unistd::{AccessFlags, faccessat};

use super::failure::{self, Step};
use crate::sys::process::{Vector, execve};
use crate::sys::stat::kind;

/// A program that was found, with everything that executing it needs.
#[derive(Debug)]
pub struct Program {
    path: CString,
    argv: Vector,
    envp: Vector,
    env: Vec<String>,
}

impl Program {
    /// Looks `args[0]` up as execvp(3) does, by the `PATH` of `env` and with the caller's rights.
    ///
    /// The texts are those of Go's `exec.LookPath`, because engines derive exit codes from them
    /// (BXC-05).
    ///
    /// # Errors
    /// When there is no such file, or it cannot be executed.
    pub(super) fn find(args: &[CString], env: Vec<String>) -> Result<Self> {
        let name = args.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let path = env.iter().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
        let found = look_up(&name, path).map_err(Error::msg)?;
        let strings = env.iter().map(|entry| CString::new(entry.as_str()));
        let strings = strings.collect::<Result<_, _>>().context("process.env")?;
        Ok(Self {
            path: CString::new(found).context("process.args[0]")?,
            argv: Vector::new(args.to_vec()),
            envp: Vector::new(strings),
            env,
        })
    }

    /// The environment that the program gets.
    #[must_use]
    pub fn env(&self) -> &[String] {
        &self.env
    }

    /// Replaces this process by the program. Returns only an error, worded as by runc (BXC-06).
    #[must_use]
    pub fn execute(&self) -> anyhow::Error {
        let number = execve(&self.path, &self.argv, &self.envp);
        Error::msg(failure::text(Step::Execute(&self.path.to_string_lossy()), number))
    }
}

fn look_up(name: &str, path: &str) -> Result<String, String> {
    if name.contains('/') {
        return executable(name).map(|()| name.to_string());
    }
    let directories = path.split(':').filter(|_| !path.is_empty() && !name.is_empty());
    for directory in directories {
        // An empty entry is the current directory (environ(7)); as in Go, a program is not
        // taken from there by accident.
        if directory.starts_with('/') {
            let candidate = format!("{}/{name}", directory.trim_end_matches('/'));
            if executable(&candidate).is_ok() {
                return Ok(candidate);
            }
        }
    }
    Err(failure::not_in_path(name))
}

fn executable(path: &str) -> Result<(), String> {
    let stat = stat(path).map_err(|number| failure::text(Step::Look(path), number))?;
    let fails = |number| Err(failure::text(Step::Check(path), number));
    if kind(&stat) == SFlag::S_IFDIR {
        return fails(Errno::EISDIR);
    }
    // Root may read anything but execute only what has some x bit; the kernel knows the rest,
    // noexec mounts included.
    match faccessat(AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS) {
        // A kernel that does not know the call, or a sandbox that forbids it: the bits decide.
        Err(Errno::ENOSYS | Errno::EPERM | Errno::EINVAL) if stat.st_mode & 0o111 != 0 => Ok(()),
        Err(Errno::ENOSYS | Errno::EPERM | Errno::EINVAL) => fails(Errno::EACCES),
        Err(number) => fails(number),
        Ok(()) => Ok(()),
    }
}

/// The configured environment with the last of several values (BXP-09) and a default for `HOME`.
pub(super) fn environment(configured: &[String], home: impl FnOnce() -> String) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut env: Vec<String> = Vec::with_capacity(configured.len() + 1);
    for entry in configured.iter().rev() {
        let name = entry.split_once('=').map_or(entry.as_str(), |(name, _)| name);
        if seen.insert(name) {
            env.push(entry.clone());
        }
    }
    env.reverse();
    // An empty one counts as none.
    env.retain(|entry| entry != "HOME=");
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        env.push(format!("HOME={}", home()));
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_wins_and_home_is_set() {
        let cases: [(&[&str], &[&str]); 6] = [
            (&["A=1", "B=2", "A=3"], &["B=2", "A=3", "HOME=/h"]),
            (&["HOME=/x", "A=1"], &["HOME=/x", "A=1"]),
            (&["HOME="], &["HOME=/h"]),
            (&["HOME=/x", "HOME="], &["HOME=/h"]),
            (&["HOME=", "HOME=/x"], &["HOME=/x"]),
            (&["A=1=2", "AB=3"], &["A=1=2", "AB=3", "HOME=/h"]),
        ];
        for (configured, want) in cases {
            let configured: Vec<_> = configured.iter().map(ToString::to_string).collect();
            assert_eq!(environment(&configured, || "/h".to_string()), want);
        }
    }

    #[test]
    fn lookups_read_as_in_go() {
        let not_found = |name: &str| Err(failure::not_in_path(name));
        let fails = |step, number| Err(failure::text(step, number));
        for (name, path, want) in [
            ("sh", "/nonexistent:/bin", Ok("/bin/sh".to_string())),
            ("sh", "/bin/", Ok("/bin/sh".to_string())),
            ("/bin/sh", "", Ok("/bin/sh".to_string())),
            ("sh", "", not_found("sh")),
            ("", "/bin", not_found("")),
            ("nosuch", "/bin", not_found("nosuch")),
            // A file that cannot be executed is none in a directory of the path.
            ("passwd", "/etc", not_found("passwd")),
            ("/nosuch", "/bin", fails(Step::Look("/nosuch"), Errno::ENOENT)),
            ("/etc/passwd/x", "/bin", fails(Step::Look("/etc/passwd/x"), Errno::ENOTDIR)),
            ("/etc", "/bin", fails(Step::Check("/etc"), Errno::EISDIR)),
            ("/etc/passwd", "/bin", fails(Step::Check("/etc/passwd"), Errno::EACCES)),
        ] {
            assert_eq!(look_up(name, path), want, "{name} in {path}");
        }
    }
}
