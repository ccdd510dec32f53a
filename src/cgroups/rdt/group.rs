//! Groups: directories of resctrl.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, ensure};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::{Plan, schema};
use crate::{error, log};

/// The group of a container: facts for its state on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Where resctrl is mounted.
    pub(super) root: PathBuf,
    /// The group.
    pub(super) group: PathBuf,
    /// It was made for the container, and goes with it.
    own: bool,
    /// The group below it whose use is counted.
    pub(super) monitor: Option<PathBuf>,
}

/// Makes the group below `root`.
pub(super) fn make(plan: &Plan, root: &Path) -> Result<Record> {
    let group = root.join(&plan.class);
    let wanted: Vec<_> = [&plan.cache, &plan.bandwidth].into_iter().flatten().collect();
    let silent = wanted.is_empty() && plan.lines.is_empty();
    ensure!(
        !plan.named || !silent || group.is_dir(),
        "clos dir not accessible (must be pre-created when schemata, l3CacheSchema and memBwSchema \
        are empty): {}",
        group.display()
    );
    let new = make_directory(root, &group)?;
    let own = new && !plan.named;
    let mut record = Record { root: root.to_path_buf(), group, own, monitor: None };
    record.fill(plan, new).inspect_err(|_| {
        let undone = Record { own: new, ..record.clone() }.remove();
        undone.unwrap_or_else(|error| log::warn(format!("undo create: {}", error::line(&error))));
    })?;
    Ok(record)
}

/// Says whether it was new.
fn make_directory(root: &Path, path: &Path) -> Result<bool> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(explained(root, error, format!("make {}", path.display()))),
    }
}

impl Record {
    fn fill(&mut self, plan: &Plan, new: bool) -> Result<()> {
        let wanted = [&plan.cache, &plan.bandwidth].into_iter().flatten();
        let mut lines: Vec<_> = wanted.cloned().collect();
        if plan.named && !new {
            let present = self.schemata()?;
            for line in lines.drain(..) {
                ensure!(
                    schema::holds(&present, &line),
                    "{} exists and has other shares than {line:?}: {present:?}",
                    self.group.display()
                );
            }
        }
        lines.extend(plan.lines.iter().cloned());
        if !lines.is_empty() {
            self.write_lines(&lines)?;
        }
        if let Some(name) = &plan.monitor {
            let monitor = self.group.join("mon_groups").join(name);
            make_directory(&self.root, &monitor)?;
            self.monitor = Some(monitor);
        }
        Ok(())
    }

    fn schemata(&self) -> Result<String> {
        let path = self.group.join("schemata");
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    }

    /// All lines in one write, as the kernel looks at the last one of each resource only.
    fn write_lines(&self, lines: &[String]) -> Result<()> {
        let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        self.write(&self.group.join("schemata"), &text)
    }

    fn write(&self, path: &Path, text: &str) -> Result<()> {
        let write = || OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes());
        let context = || format!("write {text:?} to {}", path.display());
        write().map_err(|error| explained(&self.root, error, context()))
    }

    /// Replaces shares. The kernel takes line by line, so those before a bad one are taken back.
    pub(super) fn change(&self, lines: &[String]) -> Result<()> {
        let present = self.schemata()?;
        self.write_lines(lines).inspect_err(|_| {
            let kind = |line: &str| line.split(':').next().unwrap_or_default().trim().to_string();
            let kinds: Vec<_> = lines.iter().map(|line| kind(line)).collect();
            let former = present.lines().filter(|line| kinds.contains(&kind(line)));
            let former: Vec<_> = former.map(|line| line.trim().to_string()).collect();
            if let Err(error) = self.write_lines(&former) {
                log::warn(format!("undo update: {}", error::line(&error)));
            }
        })
    }

    /// Puts a process into the group, and all that it forks from then on.
    ///
    /// # Errors
    /// Those of write(2), with what the kernel has to say.
    pub fn place(&self, pid: Pid) -> Result<()> {
        for group in std::iter::once(&self.group).chain(&self.monitor) {
            self.write(&group.join("tasks"), &pid.to_string()).context("linux.intelRdt")?;
        }
        Ok(())
    }

    /// Removes what was made for the container.
    ///
    /// # Errors
    /// Those of rmdir(2).
    pub fn remove(&self) -> Result<()> {
        let own = self.own.then_some(&self.group);
        for group in self.monitor.iter().chain(own) {
            match fs::remove_dir(group) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => other.with_context(|| format!("remove {}", group.display()))?,
            }
        }
        Ok(())
    }
}

/// The kernel says in a file why it refused.
fn explained(root: &Path, error: std::io::Error, context: String) -> Error {
    let error = Error::new(error).context(context);
    match fs::read_to_string(root.join("info/last_cmd_status")) {
        Ok(status) => error.context(format!("last_cmd_status: {}", status.trim())),
        Err(_) => error,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A tree of plain files that looks like resctrl. New groups have no files, as nobody makes
    /// them, so those that are written to are made before.
    pub(in crate::cgroups::rdt) struct Fake {
        pub root: PathBuf,
    }

    impl Fake {
        pub(in crate::cgroups::rdt) fn new(name: &str) -> Self {
            let root =
                std::env::temp_dir().join(format!("orlop-rdt-{}-{name}", std::process::id()));
            for directory in ["info/L3", "info/MB", "mon_groups", "box/mon_groups"] {
                fs::create_dir_all(root.join(directory)).unwrap();
            }
            let fake = Self { root };
            fake.group("");
            fake.group("box");
            fake
        }

        pub(in crate::cgroups::rdt) fn group(&self, name: &str) {
            fs::create_dir_all(self.root.join(name).join("mon_groups")).unwrap();
            for file in ["tasks", "schemata"] {
                fs::write(self.root.join(name).join(file), "").unwrap();
            }
        }

        pub(in crate::cgroups::rdt) fn read(&self, file: &str) -> String {
            fs::read_to_string(self.root.join(file)).unwrap()
        }

        pub(in crate::cgroups::rdt) fn make(&self, rdt: Value) -> Result<Record> {
            let linux: oci_spec::runtime::Linux =
                serde_json::from_value(json!({"intelRdt": rdt})).unwrap();
            make(&Plan::new(Some(&linux), "box").unwrap(), &self.root)
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.root).unwrap();
        }
    }

    #[test]
    fn shares_are_written_in_order() {
        let fake = Fake::new("order");
        let record = fake
            .make(json!({
                "schemata": ["L2:0=f", "L3:0=1"], "memBwSchema": "MB:0=20", "l3CacheSchema": "L3:0=ff"}))
            .unwrap();
        assert_eq!(fake.read("box/schemata"), "L3:0=ff\nMB:0=20\nL2:0=f\nL3:0=1\n");
        record.place(Pid::from_raw(7)).unwrap();
        assert_eq!(fake.read("box/tasks"), "7");
        assert_eq!(fake.read("tasks"), "");
        // It was there before.
        assert!(!record.own);
        record.remove().unwrap();
        assert!(fake.root.join("box").exists());
    }

    #[test]
    fn nothing_is_written_without_shares() {
        let fake = Fake::new("silent");
        fs::write(fake.root.join("box/schemata"), "L3:0=f\n").unwrap();
        fake.make(json!({})).unwrap();
        assert_eq!(fake.read("box/schemata"), "L3:0=f\n");
    }

    #[test]
    fn a_new_group_goes_with_its_container() {
        let fake = Fake::new("new");
        fs::remove_dir_all(fake.root.join("box")).unwrap();
        let record = fake.make(json!({})).unwrap();
        assert!(record.own && fake.root.join("box").is_dir());
        record.remove().unwrap();
        assert!(!fake.root.join("box").exists());
        // The kernel would have made the file: without it the shares cannot be written.
        fake.make(json!({"l3CacheSchema": "L3:0=f"})).unwrap_err();
        assert!(!fake.root.join("box").exists());
    }

    #[test]
    fn a_named_group_is_checked_and_stays() {
        let fake = Fake::new("named");
        fake.group("gold");
        fs::write(fake.root.join("gold/schemata"), "L3:0=0f;1=ff\nMB:0=100;1=100\n").unwrap();
        for (rdt, want) in [
            (json!({"closID": "gold"}), Ok(())),
            (json!({"closID": "/"}), Ok(())),
            (json!({"closID": "gold", "l3CacheSchema": "L3:0=f"}), Ok(())),
            (json!({"closID": "gold", "l3CacheSchema": "L3:0=1"}), Err("has other shares than")),
            (json!({"closID": "gold", "memBwSchema": "MB:0=10"}), Err("has other shares than")),
            (json!({"closID": "lead"}), Err("clos dir not accessible")),
        ] {
            match (fake.make(rdt.clone()), want) {
                (Ok(record), Ok(())) => record.remove().unwrap(),
                (Err(error), Err(want)) => {
                    assert!(format!("{error:#}").contains(want), "{rdt}: {error:#}");
                }
                (got, want) => panic!("{rdt}: {got:?}, not {want:?}"),
            }
        }
        assert!(fake.root.join("gold").exists());
        assert_eq!(fake.read("gold/schemata"), "L3:0=0f;1=ff\nMB:0=100;1=100\n");
    }

    #[test]
    fn use_is_counted_in_a_group_of_its_own() {
        let fake = Fake::new("monitor");
        fake.group("gold");
        let record = fake.make(json!({"closID": "gold", "enableMonitoring": true})).unwrap();
        let monitor = fake.root.join("gold/mon_groups/box");
        assert!(monitor.is_dir());
        fs::write(monitor.join("tasks"), "").unwrap();
        record.place(Pid::from_raw(7)).unwrap();
        assert_eq!(fake.read("gold/mon_groups/box/tasks"), "7");
        fs::remove_file(monitor.join("tasks")).unwrap();
        record.remove().unwrap();
        assert!(!monitor.exists() && fake.root.join("gold").exists());
    }

    /// The kernel would have put a file into it: without that the shares cannot be written.
    #[test]
    fn a_named_group_with_shares_is_made() {
        let fake = Fake::new("made");
        let root = fs::File::open(&fake.root).unwrap();
        for (rdt, made) in [
            (json!({"closID": "lead"}), false),
            (json!({"closID": "lead", "l3CacheSchema": "L3:0=f"}), true),
            (json!({"closID": "lead", "schemata": ["L3:0=f"]}), true),
        ] {
            root.set_modified(std::time::UNIX_EPOCH).unwrap();
            fake.make(rdt.clone()).unwrap_err();
            let touched = root.metadata().unwrap().modified().unwrap() > std::time::UNIX_EPOCH;
            assert_eq!(touched, made, "{rdt}");
            assert!(!fake.root.join("lead").exists());
        }
    }

    #[test]
    fn a_group_to_count_in_that_cannot_be_made_is_an_error() {
        let fake = Fake::new("uncounted");
        fs::remove_dir(fake.root.join("box/mon_groups")).unwrap();
        let error = fake.make(json!({"enableMonitoring": true})).unwrap_err();
        assert!(format!("{error:#}").contains("/box/mon_groups/box: "), "{error:#}");
    }

    #[test]
    fn the_kernels_reason_is_told() {
        let fake = Fake::new("reason");
        fs::write(fake.root.join("info/last_cmd_status"), "out of CLOSIDs\n").unwrap();
        fs::remove_file(fake.root.join("box/schemata")).unwrap();
        let error = fake.make(json!({"l3CacheSchema": "L3:0=f"})).unwrap_err();
        assert!(format!("{error:#}").starts_with("last_cmd_status: out of CLOSIDs: write"));
    }
}
