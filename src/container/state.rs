//! What is kept of a container on disk: facts, from which everything else is computed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::texts;
use crate::cgroups;
use crate::hooks::Hooks;
use crate::namespaces::Kind;
use crate::plan::Plan;
use crate::rootfs::HostMount;

/// The name of the file with the facts.
pub(super) const STATE: &str = "state.json";
const NEW: &str = "state.json.new";
const CONFIG: &str = crate::spec::CONFIG;

/// The names of the files, of which some are there.
pub(super) const FILES: [&str; 3] = [STATE, NEW, CONFIG];

/// The facts. They are written before anything is made, so that `delete --force` can undo a
/// `create` that was killed, and again when the first process is known.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Facts {
    /// The name.
    pub id: String,
    /// The absolute path of the bundle.
    pub bundle: PathBuf,
    /// The absolute path of the root file system on the host.
    pub rootfs: PathBuf,
    /// When it was created, RFC 3339 in UTC.
    pub created: String,
    /// The user on the host who created it.
    pub owner: u32,
    /// The annotations of the config.
    pub annotations: BTreeMap<String, String>,
    /// Its first process, once that is ready to be started.
    pub pid: Option<i32>,
    /// Clock ticks from boot to the start of that process: a later process of the same number
    /// has another one.
    pub start_time: Option<u64>,
    /// It has a program that can be started.
    pub has_process: bool,
    /// Its first process takes all others with it when it ends.
    pub own_pid_namespace: bool,
    /// It has a session keyring of its own, which later processes join.
    pub keyring: bool,
    /// Where its cgroups are.
    pub cgroups: cgroups::Record,
    /// Its group of resctrl, if it has one.
    #[serde(default)]
    pub rdt: Option<cgroups::rdt::Record>,
    /// What was mounted on the host, which only a container without a mount namespace does.
    pub host_mount: Option<HostMount>,
    /// The hooks that run after it was started and after it is gone. They are those of the
    /// config it was made from, whatever that file says now (LIF-07).
    pub hooks: Hooks,
}

impl Facts {
    /// What is known before anything is made.
    ///
    /// # Errors
    /// When the place of a mount on the host cannot be looked at.
    pub fn new(plan: &Plan) -> Result<Self> {
        let now = SystemTime::now();
        Ok(Self {
            id: plan.id.clone(),
            bundle: plan.bundle.clone(),
            rootfs: plan.rootfs.path().to_path_buf(),
            created: humantime::format_rfc3339_nanos(now).to_string(),
            owner: nix::unistd::geteuid().as_raw(),
            annotations: plan.annotations.clone(),
            pid: None,
            start_time: None,
            has_process: plan.process.is_some(),
            own_pid_namespace: plan.namespaces.is_new(Kind::Pid),
            keyring: plan.new_keyring,
            cgroups: plan.cgroups.record(),
            rdt: None,
            host_mount: plan.rootfs.host_mount()?,
            hooks: plan.hooks.clone(),
        })
    }

    /// Reads the facts in `directory`.
    ///
    /// # Errors
    /// That the container does not exist, when there are none: its maker died before it made
    /// anything.
    pub fn read(directory: BorrowedFd<'_>) -> Result<Self> {
        let Some(text) = read(directory, STATE)? else { bail!(texts::DOES_NOT_EXIST) };
        serde_json::from_slice(&text).context("state.json is damaged")
    }

    /// Replaces the facts in `directory`.
    ///
    /// # Errors
    /// Those of writing files.
    pub fn save(&self, directory: BorrowedFd<'_>) -> Result<()> {
        let text = serde_json::to_vec(self).context("encode state.json")?;
        write(directory, NEW, &text)?;
        renameat(directory, NEW, directory, STATE).context("replace state.json")
    }

    /// Takes away what was mounted on the host.
    ///
    /// # Errors
    /// Those of umount2(2).
    pub fn unmount(&self) -> Result<()> {
        self.host_mount.as_ref().map_or(Ok(()), HostMount::undo)
    }

    /// The first process.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        self.pid.map(Pid::from_raw)
    }
}

/// Keeps the config that the container was made from.
///
/// # Errors
/// Those of writing files.
pub fn save_config(directory: BorrowedFd<'_>, bytes: &[u8]) -> Result<()> {
    write(directory, CONFIG, bytes)
}

/// Reads the config that the container was made from, whatever the bundle has now.
///
/// # Errors
/// Those of reading files.
pub fn read_config(directory: BorrowedFd<'_>) -> Result<Vec<u8>> {
    read(directory, CONFIG)?.with_context(|| format!("the container has no {CONFIG}"))
}

fn read(directory: BorrowedFd<'_>, name: &str) -> Result<Option<Vec<u8>>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = match openat(directory, name, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::ENOENT) => return Ok(None),
        Err(errno) => return Err(errno).with_context(|| format!("open {name}")),
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).with_context(|| format!("read {name}"))?;
    Ok(Some(bytes))
}

fn write(directory: BorrowedFd<'_>, name: &str, bytes: &[u8]) -> Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_CLOEXEC;
    let mode = Mode::from_bits_truncate(0o600);
    let file = openat(directory, name, flags | OFlag::O_NOFOLLOW, mode);
    let mut file = File::from(file.with_context(|| format!("make {name}"))?);
    file.write_all(bytes).with_context(|| format!("write {name}"))
}
