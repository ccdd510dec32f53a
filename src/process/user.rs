//! Ids, groups, umask, and the home directory.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use oci_spec::runtime::{self, Spec};

use crate::resolve::Root;

/// The umask without `process.user.umask`: what runc and crun set (AMB-09).
const UMASK: u32 = 0o022;

/// As much of the image's `/etc/passwd` as is read. Beyond it lies an attack or no entry that
/// is needed (CVE-2026-47262).
const PASSWD_LIMIT: u64 = 8 * 1024 * 1024;

/// The `user` object. Ids count inside the container's user namespace.
#[derive(Clone, Debug)]
pub struct User {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    groups: Vec<Gid>,
    /// He has the groups of the runtime's caller, as Podman's `keep-groups` wants.
    pub keeps_groups: bool,
    umask: Mode,
}

/// crun's annotation for it: how somebody gets at files that his groups may read.
const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

impl User {
    pub(super) fn from_spec(user: &runtime::User, spec: &Spec) -> Self {
        let groups = user.additional_gids().iter().flatten();
        Self {
            uid: user.uid(),
            gid: user.gid(),
            groups: groups.copied().map(Gid::from_raw).collect(),
            keeps_groups: spec.annotations().iter().flatten().any(|(name, _)| name == KEEP_GROUPS),
            umask: Mode::from_bits_truncate(user.umask().unwrap_or(UMASK)),
        }
    }

    /// Sets the umask that the program starts with.
    pub fn set_umask(&self) {
        umask(self.umask);
    }

    /// Changes groups, group and user, in this order.
    pub(super) fn assume(&self) -> Result<()> {
        let set = if self.keeps_groups { Ok(()) } else { setgroups(&self.groups) };
        match set {
            // setgroups is denied in a user namespace made by an unprivileged user
            // (user_namespaces(7)); nothing was asked for, so nothing is lost.
            Err(Errno::EPERM) if self.groups.is_empty() => {}
            other => other.context("process.user.additionalGids: set the groups")?,
        }
        let gid = Gid::from_raw(self.gid);
        unmapped("gid", self.gid, setresgid(gid, gid, gid))?;
        let uid = Uid::from_raw(self.uid);
        unmapped("uid", self.uid, setresuid(uid, uid, uid))
    }
}

/// EINVAL means that the id has no mapping (setresuid(2)).
fn unmapped(kind: &str, id: u32, result: nix::Result<()>) -> Result<()> {
    match result {
        Err(Errno::EINVAL) => {
            bail!("process.user.{kind}: cannot set{kind} to unmapped {kind} {id} in user namespace")
        }
        other => other.with_context(|| format!("process.user.{kind}: set it to {id}")),
    }
}

/// Returns the home directory of `uid` by the container's `/etc/passwd`, or `/` (BXP-08).
#[must_use]
pub fn home(root: &Root, uid: u32) -> String {
    // A FIFO must not block us, and a terminal must not become ours.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = root.open(Path::new("/etc/passwd"), flags).map(File::from);
    let regular = |file: &File| file.metadata().is_ok_and(|meta| meta.is_file());
    let found = file.ok().filter(regular).and_then(|file| home_in(file.take(PASSWD_LIMIT), uid));
    found.unwrap_or_else(|| "/".to_string())
}

/// passwd(5): `name:password:uid:gid:comment:home:shell`.
fn home_in(passwd: impl Read, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    let mut reader = BufReader::new(passwd);
    let mut line = Vec::new();
    loop {
        line.clear();
        // A line longer than any honest one is read in pieces, none of which is an entry.
        let read = reader.by_ref().take(4096).read_until(b'\n', &mut line).ok()?;
        if read == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&line);
        let fields: Vec<_> = text.trim_end().split(':').collect();
        if let [_, _, id, _, _, home, ..] = fields.as_slice()
            && *id == uid
            && !home.is_empty()
        {
            return Some((*home).to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n#x\n\
            1000:x:0:0::/wrong:\nme:x:1000:1000::/home/me:/bin/sh\nno:x:7:7:::\nshort:x:8\n";
        for (uid, want) in
            [(0, Some("/root")), (1000, Some("/home/me")), (7, None), (8, None), (9, None)]
        {
            assert_eq!(home_in(passwd.as_bytes(), uid).as_deref(), want, "{uid}");
        }
        let long = format!("{}\nme:x:5:5::/found:\n", "x".repeat(100_000));
        assert_eq!(home_in(long.as_bytes(), 5).as_deref(), Some("/found"));
    }
}
