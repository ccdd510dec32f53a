//! Making the cgroups of a container, and how its init gets into them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::Pid;

use super::setting::{self, write, write_each};
use super::v1::cpuset;
use super::v2::device_program;
use super::{Group, Plan, Record, Rights, owner, processes, remove, systemd};
use crate::{error, log};

/// What happened to memory since the machine was started: Linux 4.13 counts kills there.
const VMSTAT: &str = "/proc/vmstat";

/// runc's words for a cgroup that cannot be made.
const CANNOT_APPLY: &str = "unable to apply cgroup configuration";

/// How init gets into its cgroups: everything is open before it is born.
#[derive(Debug, Default)]
pub struct Entry {
    /// The directory in the unified hierarchy: for the clone.
    unified: Option<(PathBuf, OwnedFd)>,
    /// Files of which a process that writes `0` moves itself.
    files: Vec<(PathBuf, File)>,
}

impl Entry {
    /// The cgroup that the clone places init into.
    #[must_use]
    pub fn unified(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(|(_, directory)| directory.as_fd())
    }

    /// Adds the cgroup at `directory`, of the unified hierarchy or of one of v1.
    ///
    /// # Errors
    /// Those of open(2).
    pub(super) fn add(&mut self, directory: &Path, unified: bool) -> Result<()> {
        if unified {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let open = open(directory, flags, Mode::empty());
            let open = open.with_context(|| format!("open the cgroup {}", directory.display()))?;
            self.unified = Some((directory.to_path_buf(), open));
        } else {
            let path = directory.join("tasks");
            let file = open_for_writing(&path)?;
            self.files.push((path, file));
        }
        Ok(())
    }

    /// Prepares for a clone that cannot place init: it then moves itself in the unified
    /// hierarchy as well.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn without_clone(mut self) -> Result<Self> {
        if let Some((directory, _)) = self.unified.take() {
            let path = directory.join("cgroup.procs");
            let file = open_for_writing(&path)?;
            self.files.push((path, file));
        }
        Ok(self)
    }

    /// Moves the calling process, which has one thread, into the cgroups.
    ///
    /// A task of v1 that moves only itself takes no lock for writing (`cgroup_procs_write_start`
    /// of the kernel), which costs microseconds instead of milliseconds on an idle machine.
    ///
    /// # Errors
    /// Those of write(2), with the file.
    pub fn enter(&self) -> Result<()> {
        for (path, file) in &self.files {
            (&*file)
                .write_all(b"0")
                .with_context(|| format!("join the cgroup by {}", path.display()))?;
        }
        Ok(())
    }
}

/// What was made, to be undone when something later fails.
#[derive(Debug, Default)]
pub struct Made {
    /// Parents before their children.
    directories: Vec<PathBuf>,
    /// What systemd has made.
    unit: Option<systemd::Unit>,
    /// The file of the cgroup above that counts whom the kernel killed for want of memory, and the
    /// number that was in it.
    killed_above: Option<(PathBuf, u64)>,
    /// The container's own that could not be had and are done without.
    missing: Vec<PathBuf>,
}

impl Made {
    /// Removes what was made, children first. Whoever put something there meanwhile keeps it.
    pub fn undo(&self) {
        if let Some(Err(error)) = self.unit.as_ref().map(systemd::Unit::stop) {
            log::warn(error::line(&error));
        }
        for directory in self.directories.iter().rev() {
            if let Err(error) = remove::empty_directory(directory) {
                log::debug(|| error::line(&error));
            }
        }
    }

    /// Remembers how many were killed below the cgroup above `directory`: systemd removes a cgroup
    /// with its last process, before anybody could look into it. The one above counts as well; for
    /// the root, and for a slice that is yet to be made, the whole machine does.
    fn watch(&mut self, directory: &Path) {
        let above = directory.parent().map(|above| above.join(processes::MEMORY_EVENTS));
        let file = above.filter(|file| file.exists()).unwrap_or_else(|| VMSTAT.into());
        self.killed_above = processes::oom_kills(&file).map(|count| (file, count));
    }

    /// The kernel has killed a process of the container for want of memory.
    #[must_use]
    pub fn oom_killed(&self, record: &Record) -> bool {
        let above = || {
            let (file, before) = self.killed_above.as_ref()?;
            Some(processes::oom_kills(file)? > *before)
        };
        record.oom_killed().or_else(above).unwrap_or(false)
    }

    /// The container has the cgroup `directory`.
    pub(super) fn has(&self, directory: &Path) -> bool {
        !self.missing.iter().any(|missing| missing == directory)
    }

    /// Makes `directory` and what is missing above it, down from `top`. Says whether it was new.
    fn directory(&mut self, top: &Path, directory: &Path) -> Result<bool> {
        let make = |level: &Path| DirBuilder::new().mode(0o755).create(level);
        let context = |level: &Path| format!("make the cgroup {}", level.display());
        match make(directory) {
            Ok(()) => {
                self.directories.push(directory.to_path_buf());
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) if error.kind() == ErrorKind::NotFound && directory != top => {
                let above = directory.parent().with_context(|| context(directory))?;
                self.directory(top, above)?;
                self.directory(top, directory)
            }
            Err(error) => Err(error).with_context(|| context(directory)),
        }
    }
}

impl Plan {
    /// Makes the cgroups with their limits and opens what init needs to get in. systemd makes its
    /// own later, around init: then nothing is to be opened.
    ///
    /// # Errors
    /// The first step that fails; what was made until then is removed.
    pub fn make(&self) -> Result<(Made, Entry)> {
        let mut made = Made::default();
        if self.unit.is_some() {
            self.groups.iter().try_for_each(|group| processes::check_unused(&group.directory))?;
            return Ok((made, Entry::default()));
        }
        match self.make_all(&mut made) {
            Ok(entry) => Ok((made, entry)),
            Err(error) => {
                made.undo();
                Err(error)
            }
        }
    }

    fn make_all(&self, made: &mut Made) -> Result<Entry> {
        let mut entry = Entry::default();
        for group in &self.groups {
            let new = match made.directory(&group.hierarchy.mount, &group.directory) {
                Err(error) if self.rights != Rights::Root && is_refused(&error) => {
                    self.go_without(group, error).context(CANNOT_APPLY)?;
                    made.missing.push(group.directory.clone());
                    continue;
                }
                other => other.context(CANNOT_APPLY)?,
            };
            if !new {
                processes::check_unused(&group.directory)?;
            }
            match group.is_unified() {
                true => self.make_unified(group, new, made)?,
                false => self.make_v1(group)?,
            }
            entry.add(&group.directory, group.is_unified())?;
        }
        Ok(entry)
    }

    /// Init has to wait until [`Plan::place`] has put it into its cgroups.
    #[must_use]
    pub fn waits_for_systemd(&self) -> bool {
        self.unit.is_some()
    }

    /// Has systemd make the cgroups around the process `pid`, and sets their limits.
    ///
    /// # Errors
    /// The first step that fails; what is to be undone is in `made`.
    pub fn place(&self, pid: Pid, made: &mut Made) -> Result<()> {
        let Some(planned) = &self.unit else { return Ok(()) };
        if self.v2 {
            // Before the limits are in force: init may not live to see the end of the call.
            self.groups.iter().for_each(|group| made.watch(&group.directory));
        }
        let started = planned.start(pid);
        if !started.as_ref().is_err_and(systemd::is_somebody_elses) {
            made.unit = Some(planned.unit.clone());
        }
        started?;
        for group in &self.groups {
            if self.v2 {
                let there = group.directory.is_dir();
                ensure!(there, "systemd has made no cgroup {}", group.directory.display());
                self.make_unified(group, true, made)?;
                self.subgroups.enter(&group.directory, pid, self.owner)?;
                continue;
            }
            // It makes those that it has a use for.
            made.directory(&group.hierarchy.mount, &group.directory)?;
            if !group.is_unified() {
                self.make_v1(group)?;
            }
            write(&group.directory.join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    /// Init has to say when it has its cgroup namespace, for [`Plan::delegate`].
    #[must_use]
    pub fn delegates(&self) -> bool {
        self.subgroups.delegates()
    }

    /// Moves init, the process `pid`, to the cgroup that is the container's own.
    ///
    /// # Errors
    /// Those of making it, of giving it to its owner, and of moving.
    pub fn delegate(&self, pid: Pid) -> Result<()> {
        let mut groups = self.groups.iter();
        groups.try_for_each(|group| self.subgroups.delegate(&group.directory, pid, self.owner))
    }

    /// An ordinary user has no cgroups unless somebody gave him some. Only who asks for something
    /// that takes one misses it.
    fn go_without(&self, group: &Group, error: anyhow::Error) -> Result<()> {
        if self.rights == Rights::RootlessAnywhere && group.settings.is_empty() {
            log::debug(|| format!("go on without a cgroup: {}", error::line(&error)));
            return Ok(());
        }
        Err(error.context(
            "rootless needs no limits + no cgrouppath when no permission is granted for cgroups",
        ))
    }

    /// An ordinary user cannot give device rules, nor does he make devices.
    fn devices_may_fail(&self, result: Result<()>) -> Result<()> {
        match result.context("linux.resources.devices") {
            Err(error) if self.rights != Rights::Root && is_refused(&error) => {
                log::debug(|| format!("go on without device rules: {}", error::line(&error)));
                Ok(())
            }
            other => other,
        }
    }

    fn make_v1(&self, group: &Group) -> Result<()> {
        if group.has("cpuset") {
            cpuset::inherit(&group.hierarchy.mount, &group.directory)?;
        }
        setting::apply(&group.settings, &group.directory)?;
        if group.has("devices") {
            for (file, lines) in self.devices.v1_lines() {
                self.devices_may_fail(write_each(&group.directory.join(file), &lines))?;
            }
        }
        Ok(())
    }

    /// Beside hierarchies of v1 this one has no controllers and no limits.
    fn make_unified(&self, group: &Group, new: bool, made: &mut Made) -> Result<()> {
        if !self.v2 {
            return Ok(());
        }
        // systemd enables those that it knows by itself.
        if self.unit.is_none() || setting::resolve(&group.settings, &group.directory).is_err() {
            enable_controllers(&group.hierarchy.mount, &group.directory)?;
        }
        setting::apply(&group.settings, &group.directory)?;
        if !new {
            device_program::detach_all(&group.directory)?;
        }
        if !self.devices.allow_everything() {
            self.devices_may_fail(device_program::attach(&self.devices, &group.directory))?;
        }
        if self.unit.is_none() {
            made.watch(&group.directory);
        }
        let given = self.owner.map_or(Ok(()), |uid| owner::give(&group.directory, uid));
        match given {
            // Only root may give to others.
            Err(error) if self.rights != Rights::Root && is_refused(&error) => {
                log::debug(|| format!("go on as the owner: {}", error::line(&error)));
            }
            other => other?,
        }
        Ok(())
    }
}

/// The caller lacks a right, or the file system is read-only as in many containers.
fn is_refused(error: &anyhow::Error) -> bool {
    use nix::errno::Errno::{EACCES, EPERM, EROFS};
    let number = error.downcast_ref::<nix::errno::Errno>().map(|errno| *errno as i32);
    let number = number.or_else(|| error.downcast_ref::<std::io::Error>()?.raw_os_error());
    number.is_some_and(|number| [EACCES, EPERM, EROFS].iter().any(|one| *one as i32 == number))
}

fn open_for_writing(path: &Path) -> Result<File> {
    let file = OpenOptions::new().write(true).open(path);
    file.with_context(|| format!("open {}", path.display()))
}

/// Enables every controller that there is for the children of each level above `directory`
/// (BXG-20). One that cannot be enabled is missed only by a limit that needs it.
///
/// A level with processes of its own refuses (cgroup-v2, no internal process constraint). It would
/// take some controllers one by one and become threaded by that, with children that no container
/// can be in, so it is left as it is.
fn enable_controllers(mount: &Path, directory: &Path) -> Result<()> {
    let mut above: Vec<_> = directory.ancestors().skip(1).collect();
    above.retain(|level| level.starts_with(mount));
    for level in above.into_iter().rev() {
        let read = |file: &str| {
            let path = level.join(file);
            fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        };
        let (available, enabled) = (read("cgroup.controllers")?, read("cgroup.subtree_control")?);
        let missing = |name: &&str| !enabled.split_whitespace().any(|other| other == *name);
        let missing: Vec<_> = available.split_whitespace().filter(missing).collect();
        let file = level.join("cgroup.subtree_control");
        let all = missing.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
        if missing.is_empty() {
            continue;
        }
        let Err(error) = write(&file, &all) else { continue };
        log::debug(|| format!("enable cgroup controllers: {}", error::line(&error)));
        if is_busy(&error) {
            continue;
        }
        for name in missing {
            if let Err(error) = write(&file, &format!("+{name}")) {
                log::debug(|| format!("cgroup controller {name}: {}", error::line(&error)));
            }
        }
    }
    Ok(())
}

fn is_busy(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.raw_os_error() == Some(libc::EBUSY))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::host::{Cgroups, Hierarchy};

    /// A tree of plain files that looks like hierarchies of v1, `cpu` and `cpuacct` in one of them
    /// and none with `memory`. Cgroups in it have to be there, as nobody makes their files.
    struct Fake(PathBuf);

    const CPU: &str = "cpu,cpuacct";

    impl Fake {
        fn new() -> Self {
            let root = std::env::temp_dir().join(format!("orlop-make-{}", std::process::id()));
            for (hierarchy, files) in [
                (CPU, &["cpu.shares", "cpu.cfs_quota_us"][..]),
                ("cpuset", &["cpuset.cpus", "cpuset.mems"]),
                ("devices", &["devices.deny", "devices.allow"]),
                ("pids", &["pids.max"]),
            ] {
                let directory = root.join(hierarchy).join("a/box");
                fs::create_dir_all(&directory).unwrap();
                for file in files.iter().chain(&["tasks", "cgroup.procs"]) {
                    fs::write(directory.join(file), "").unwrap();
                }
            }
            for file in ["cpuset.cpus", "cpuset.mems"] {
                fs::write(root.join("cpuset").join(file), "0-3\n").unwrap();
                fs::write(root.join("cpuset/a").join(file), "\n").unwrap();
            }
            Self(root)
        }

        fn plan(&self, resources: serde_json::Value) -> Result<Plan> {
            let hierarchy = |names: &str| Hierarchy {
                controllers: names.split(',').map(str::to_string).collect(),
                mount: self.0.join(names),
                own: "/".into(),
            };
            let v1 = [CPU, "cpuset", "devices", "pids"].map(hierarchy).to_vec();
            let linux = serde_json::json!({"cgroupsPath": "/a/box", "resources": resources});
            let linux = serde_json::from_value(linux)?;
            Plan::new(Some(&linux), "box", &Cgroups { v1, unified: None }, false)
        }

        fn read(&self, file: &str) -> String {
            fs::read_to_string(self.0.join(file)).unwrap()
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn hierarchies_mounted_together_and_missing_ones() {
        let fake = Fake::new();
        let limits = serde_json::json!({
            "cpu": {"shares": 512, "quota": 5000}, "pids": {"limit": 7}, "memory": {"limit": 0}
        });
        let (made, entry) = fake.plan(limits).unwrap().make().unwrap();
        for (file, want) in [
            ("cpu,cpuacct/a/box/cpu.shares", "512"),
            ("cpu,cpuacct/a/box/cpu.cfs_quota_us", "5000"),
            ("pids/a/box/pids.max", "7"),
            // From the next one above that has some.
            ("cpuset/a/box/cpuset.cpus", "0-3"),
            ("cpuset/a/cpuset.mems", "0-3"),
        ] {
            assert_eq!(fake.read(file).trim(), want, "{file}");
        }
        assert!(fake.read("devices/a/box/devices.deny").starts_with('a'));
        // The runtime enters each of them once.
        assert!(made.directories.is_empty());
        let mut files: Vec<_> = entry.files.iter().map(|(path, _)| path.clone()).collect();
        files.sort();
        let want = [CPU, "cpuset", "devices", "pids"].map(|h| fake.0.join(h).join("a/box/tasks"));
        assert_eq!(files, want);
        entry.enter().unwrap();
        for path in want {
            let mut text = String::new();
            File::open(path).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "0");
        }
        let limits = serde_json::json!({"memory": {"limit": 4096}});
        let error = fake.plan(limits).unwrap_err().to_string();
        assert!(error.contains("this host has no cgroup controller \"memory\""), "{error}");
    }
}
