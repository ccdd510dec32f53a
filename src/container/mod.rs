//! The runtime's side: a container is a directory below `--root`, named after its id.
//!
//! The directory holds facts (`state.json`), the config it was made from, and the gate. Whoever
//! changes the container holds a lock on the directory, which goes away with its holder; looking
//! at it needs none, since facts are replaced whole.

pub mod child;
pub mod console;
pub mod create;
pub mod delete;
pub mod events;
pub mod exec;
pub mod foreground;
pub mod kill;
pub mod notify;
mod pause;
pub mod pid_file;
mod prepare_mounts;
pub mod relay;
pub mod start;
pub mod state;
pub mod status;
mod update;

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::handshake::gate;
use crate::log;
use state::Facts;
use status::Status;

/// Texts that engines and their users look for; they are runc's (BXC-03, ENGINES 2).
pub mod texts {
    /// containerd's shim takes this for «gone» after kill and delete.
    pub const DOES_NOT_EXIST: &str = "container does not exist";
    /// The name is taken.
    pub const EXISTS: &str = "container with given ID already exists";
    /// containerd's shim and CRI-O take this for «gone» after kill.
    pub const NOT_RUNNING: &str = "container not running";
    /// `resume` of a container that runs.
    pub const NOT_PAUSED: &str = "container not paused";
}

/// The longest id: it is the name of a directory and of a cgroup (`NAME_MAX`).
const MAX_ID: usize = 255;

/// Checks the form of an id (BXC-02).
///
/// # Errors
/// When it is empty, too long, or has other letters.
pub fn check_id(id: &str) -> Result<()> {
    ensure!(!id.is_empty(), "container id cannot be empty");
    let letter = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    ensure!(
        id.chars().all(letter) && id != "." && id != "..",
        "invalid container ID format: {id:?} (allowed are letters, digits and _ + - .)"
    );
    ensure!(
        id.len() <= MAX_ID,
        "invalid container ID format: {} bytes are more than {MAX_ID}",
        id.len()
    );
    Ok(())
}

/// The directory with all containers: `--root`.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// It is in a directory that a desktop tidies up.
    tidied: bool,
    /// The caller has named it, so that it is a mistake if it is not there.
    named: bool,
}

impl Store {
    /// Uses `path`, which need not exist yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, tidied: false, named: false }
    }

    /// Uses `path`, which the caller has named.
    #[must_use]
    pub fn named(path: PathBuf) -> Self {
        Self { path, tidied: false, named: true }
    }

    /// Uses `path` in `XDG_RUNTIME_DIR`.
    #[must_use]
    pub fn in_runtime_directory(path: PathBuf) -> Self {
        Self { path, tidied: true, named: false }
    }

    /// Makes the directory for a new container and locks it.
    ///
    /// # Errors
    /// When the id is taken, or the directory cannot be made.
    pub fn make(&self, id: &str) -> Result<Directory> {
        check_id(id)?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .with_context(|| format!("make the state directory {}", self.path.display()))?;
        if self.tidied {
            // The sticky bit says «not this» to who removes what is old there (XDG base directory
            // specification).
            let mode = Permissions::from_mode(0o1700);
            fs::set_permissions(&self.path, mode)
                .with_context(|| format!("keep the state directory {}", self.path.display()))?;
        }
        let path = self.path.join(id);
        match DirBuilder::new().mode(0o711).create(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!(texts::EXISTS),
            other => other.with_context(|| format!("make the directory {}", path.display()))?,
        }
        Directory::open(path)?.lock()
    }

    /// Where the directory of a container is.
    #[must_use]
    pub fn directory(&self, id: &str) -> PathBuf {
        self.path.join(id)
    }

    /// Opens the directory of a container, without a lock.
    ///
    /// # Errors
    /// When there is no container of that name.
    pub fn open(&self, id: &str) -> Result<Directory> {
        check_id(id)?;
        Directory::open(self.path.join(id))
    }

    /// Opens a container to look at it.
    ///
    /// # Errors
    /// When there is no container of that name, or its state cannot be read.
    pub fn look_up(&self, id: &str) -> Result<Container> {
        Container::read(self.open(id)?)
    }

    /// Opens a container to change it; waits for whoever is changing it now.
    ///
    /// # Errors
    /// When there is no container of that name, or it is still being created.
    pub fn take(&self, id: &str) -> Result<Container> {
        let directory = self.open(id)?;
        let container = Container::read(directory)?;
        if container.status()? == Status::Creating {
            bail!("container is being created");
        }
        Container::read(container.directory.lock()?)
    }

    /// As [`Store::take`], but waits for a container that is being created. One whose maker died
    /// before it wrote anything down is removed, and so is one whose facts a loss of power has
    /// damaged: nothing of it lives any more.
    ///
    /// # Errors
    /// When there is no container of that name, or its directory cannot be read or removed.
    pub fn take_any(&self, id: &str) -> Result<Option<Container>> {
        let directory = self.open(id)?.lock()?;
        match Facts::read(directory.as_fd()) {
            Ok(facts) => Ok(Some(Container { directory, facts })),
            Err(error) if error.to_string() == texts::DOES_NOT_EXIST => {
                directory.remove().map(|()| None)
            }
            Err(error) if error.is::<serde_json::Error>() => {
                log::warn(format!("{error:#}; removed what is known of container {id}"));
                directory.remove().map(|()| None)
            }
            Err(error) => Err(error),
        }
    }

    /// The ids of all containers, sorted.
    ///
    /// # Errors
    /// Those of reading the directory. If nobody has named it and it is not there, there are none.
    pub fn ids(&self) -> Result<Vec<String>> {
        let context = || format!("read {}", self.path.display());
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound && !self.named => {
                return Ok(Vec::new());
            }
            other => other.with_context(context)?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry.with_context(context)?;
            let id = entry.file_name().into_string().unwrap_or_default();
            if check_id(&id).is_ok() && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                ids.push(id);
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }
}

/// The open directory of a container.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    file: File,
}

impl Directory {
    fn open(path: PathBuf) -> Result<Self> {
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
        match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
            Ok(file) => Ok(Self { path, file }),
            Err(error) if error.kind() == ErrorKind::NotFound => bail!(texts::DOES_NOT_EXIST),
            Err(error) => Err(error).with_context(|| format!("open {}", path.display())),
        }
    }

    /// Waits for the lock, which lasts as long as some process has this descriptor open: init
    /// closes its copy as soon as it is born.
    fn lock(self) -> Result<Self> {
        self.file.lock().with_context(|| format!("lock {}", self.path.display()))?;
        // Its last holder may have deleted it.
        let gone = self.file.metadata().is_ok_and(|meta| meta.nlink() == 0);
        ensure!(!gone, texts::DOES_NOT_EXIST);
        Ok(self)
    }

    /// Somebody else holds the lock.
    fn is_locked(&self) -> Result<bool> {
        match self.file.try_lock() {
            Ok(()) => self.file.unlock().map(|()| false).context("unlock the container"),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error).context("lock the container"),
        }
    }

    /// Gives the lock back, to keep looking at the container.
    pub(super) fn unlock(&self) -> Result<()> {
        self.file.unlock().context("unlock the container")
    }

    /// Takes the lock again.
    ///
    /// # Errors
    /// Those of flock(2).
    pub fn relock(&self) -> Result<()> {
        self.file.lock().with_context(|| format!("lock {}", self.path.display()))
    }

    /// Removes it with everything in it.
    ///
    /// # Errors
    /// Those of removing files.
    pub fn remove(&self) -> Result<()> {
        // By their names, so that the directory need not be read; what is left is found below.
        for name in gate::FILES.iter().chain(&state::FILES) {
            let _ = unlinkat(&self.file, *name, UnlinkatFlags::NoRemoveDir);
        }
        if fs::remove_dir(&self.path).is_ok() {
            return Ok(());
        }
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other.with_context(|| format!("remove {}", self.path.display())),
        }
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A container that exists: its directory and the facts in it.
#[derive(Debug)]
pub struct Container {
    /// Where it is.
    pub directory: Directory,
    /// What is known of it.
    pub facts: Facts,
}

impl Container {
    fn read(directory: Directory) -> Result<Self> {
        let facts = Facts::read(directory.as_fd())?;
        Ok(Self { directory, facts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        for id in ["a", "A-b_c.d+e", "0", "...", ".a", &"x".repeat(255)] {
            assert!(check_id(id).is_ok(), "{id}");
        }
        for id in ["", ".", "..", "a/b", "a b", "a\0", "\u{e4}", "../a", &"x".repeat(256)] {
            assert!(check_id(id).is_err(), "{id}");
        }
    }
}
