//! Joining namespaces that exist.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::setns;
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{Pid, chroot, fchdir};

use super::{KINDS, Kind, Namespaces, Source};
use crate::procfs::Procfs;
use crate::sys;

/// The open namespaces that a container joins, in an order that works: those whose owner is
/// needed for it come before the user namespace, the mount namespace last because paths change
/// their meaning with it.
#[derive(Debug, Default)]
pub struct Joined {
    list: Vec<(Kind, OwnedFd, String)>,
}

const ORDER: [Kind; 8] = [
    Kind::Pid,
    Kind::Network,
    Kind::Ipc,
    Kind::Uts,
    Kind::Cgroup,
    Kind::Time,
    Kind::User,
    Kind::Mount,
];

impl Joined {
    /// Opens every namespace that is given by path and checks that it is of its kind.
    ///
    /// # Errors
    /// With the JSON path, when one is missing or is something else.
    pub fn open(namespaces: &Namespaces) -> Result<Self> {
        let mut list = Vec::new();
        for kind in ORDER {
            let entry = namespaces.list.iter().find(|(listed, ..)| *listed == kind);
            let Some((_, Source::Path(path), index)) = entry else { continue };
            let json = format!("linux.namespaces[{index}].path");
            let fd = open_namespace(path, kind).with_context(|| json.clone())?;
            list.push((kind, fd, json));
        }
        Ok(Self { list })
    }

    /// Opens the namespaces of these kinds that the process `pid` is in.
    ///
    /// # Errors
    /// Those of open(2).
    pub(super) fn of_process(procfs: &Procfs, pid: Pid, kinds: &[Kind]) -> Result<Self> {
        let kinds = ORDER.into_iter().filter(|kind| kinds.contains(kind));
        let open = |kind: Kind| {
            let fd = procfs.open_namespace(&pid.to_string(), kind.file())?;
            Ok((kind, fd, format!("the container's {} namespace", kind.file())))
        };
        Ok(Self { list: kinds.map(open).collect::<Result<_>>()? })
    }

    /// The joined namespace of this kind is the one that the runtime is in.
    ///
    /// # Errors
    /// Those of looking at both.
    pub fn is_own(&self, kind: Kind) -> Result<bool> {
        let Some((_, joined, _)) = self.list.iter().find(|(listed, ..)| *listed == kind) else {
            return Ok(false);
        };
        let path = format!("/proc/self/ns/{}", kind.file());
        let own = File::open(&path).with_context(|| format!("open {path}"))?;
        let (joined, own) = (fstat(joined)?, fstat(&own)?);
        Ok((joined.st_dev, joined.st_ino) == (own.st_dev, own.st_ino))
    }

    /// The open namespace of this kind.
    #[must_use]
    pub fn get(&self, kind: Kind) -> Option<&OwnedFd> {
        self.list.iter().find(|(listed, ..)| *listed == kind).map(|(_, fd, _)| fd)
    }

    /// Moves the caller (for PID: its children) into those of the namespaces that `wanted` picks.
    ///
    /// # Errors
    /// Those of setns(2), with the JSON path.
    pub fn enter(&self, wanted: impl Fn(Kind) -> bool) -> Result<()> {
        for (kind, fd, json) in self.list.iter().filter(|(kind, ..)| wanted(*kind)) {
            setns(fd, kind.clone_flag()).with_context(|| format!("{json}: join it"))?;
        }
        Ok(())
    }

    /// As [`Joined::enter`] for a process that will get its rights from the user namespace among
    /// the joined ones: what is not permitted before is tried again after (BXS-01).
    ///
    /// # Errors
    /// Those of setns(2), with the JSON path.
    pub fn enter_with_user(&self) -> Result<()> {
        let mut later = Vec::new();
        for entry @ (kind, fd, json) in &self.list {
            match setns(fd, kind.clone_flag()) {
                Err(Errno::EPERM) if *kind != Kind::User => later.push(entry),
                other => other.with_context(|| format!("{json}: join it"))?,
            }
        }
        for (kind, fd, json) in later {
            setns(fd, kind.clone_flag()).with_context(|| format!("{json}: join it"))?;
        }
        Ok(())
    }
}

fn open_namespace(path: &Path, kind: Kind) -> Result<OwnedFd> {
    // A FIFO must not block us.
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let fd = open(path, flags, Mode::empty()).with_context(|| path.display().to_string())?;
    match sys::namespace::kind(fd.as_fd()) {
        Ok(found) if found == kind.flag() => Ok(fd),
        Ok(found) => {
            let found = KINDS.iter().find(|row| row.1 == found).map_or("unknown", |row| row.2);
            bail!("{} is a namespace of type {found}, not {}", path.display(), kind.file())
        }
        Err(_) => bail!("{} is not a namespace", path.display()),
    }
}

/// The runtime's own namespaces, to go back to after the clone.
#[derive(Debug)]
pub struct Own {
    list: Vec<(Kind, OwnedFd)>,
    /// Joining a mount namespace changes both (setns(2)).
    root_and_cwd: Option<(OwnedFd, OwnedFd)>,
}

impl Own {
    /// Moves the runtime into those of the `joined` namespaces that `wanted` picks.
    ///
    /// # Errors
    /// Those of setns(2). The runtime may then stand in some of them and has to end.
    pub fn leave(joined: &Joined, wanted: impl Fn(Kind) -> bool) -> Result<Self> {
        let mut own = Self { list: Vec::new(), root_and_cwd: None };
        for (kind, ..) in joined.list.iter().filter(|(kind, ..)| wanted(*kind)) {
            let path = format!("/proc/self/ns/{}", kind.file());
            let fd = File::open(&path).with_context(|| format!("open {path}"))?;
            own.list.push((*kind, fd.into()));
            if *kind == Kind::Mount {
                let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
                let root = open("/", flags, Mode::empty()).context("open /")?;
                let cwd = open(".", flags, Mode::empty()).context("open .")?;
                own.root_and_cwd = Some((root, cwd));
            }
        }
        joined.enter(wanted)?;
        Ok(own)
    }

    /// Moves the runtime back.
    ///
    /// # Errors
    /// Those of setns(2). The runtime must not go on then.
    pub fn return_home(self) -> Result<()> {
        for (kind, fd) in &self.list {
            let back = || format!("go back to the runtime's own {} namespace", kind.file());
            setns(fd, kind.clone_flag()).with_context(back)?;
        }
        if let Some((root, cwd)) = self.root_and_cwd {
            fchdir(&root).context("go back to the runtime's own root")?;
            chroot(".").context("go back to the runtime's own root")?;
            fchdir(&cwd).context("go back to the runtime's own directory")?;
        }
        Ok(())
    }
}

/// Checks what only an open namespace can tell.
///
/// # Errors
/// A `net.*` parameter for a joined network namespace that is the host's own (BXS-09).
pub fn check_sysctls(joined: &Joined, sysctls: &[super::sysctl::Sysctl]) -> Result<()> {
    for sysctl in sysctls {
        let own = joined.is_own(sysctl.kind)?;
        ensure!(
            !own,
            "linux.sysctl: {sysctl} not allowed in host {} namespace",
            sysctl.kind.file()
        );
    }
    Ok(())
}
