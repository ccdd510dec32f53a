//! New limits for a container that runs: all of them or none.
//!
//! Planned, checked and then applied. What depends on a limit that is not mentioned takes that
//! from the kernel, which knows it better than any record.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use oci_spec::runtime::{LinuxMemory, LinuxResources};

use super::setting::{Setting, Write, resolve, write_in_order};
use super::systemd::{self, Unit};
use super::{Record, controllers};
use crate::log;

/// What will be written, and what takes each of it back.
#[derive(Debug)]
pub struct Update {
    writes: Vec<Write>,
    former: Vec<Vec<Write>>,
    /// Who has made the cgroup, if that is systemd: it may write there again.
    unit: Option<Unit>,
    /// What was passed over, with the reason.
    pub warnings: Vec<String>,
}

impl Record {
    /// Plans to change the limits that `resources` mentions. Device rules are left alone.
    ///
    /// # Errors
    /// For limits that contradict each other or what is in use, and those that nothing here can
    /// set.
    pub fn plan_update(&self, resources: &LinuxResources) -> Result<Update> {
        let (mut resources, mut warnings) = (resources.clone(), Vec::new());
        self.check_usage(&resources)?;
        self.complete_cpu(&mut resources, &mut warnings);
        self.complete_unified(&mut resources, &mut warnings);
        if self.v2 {
            self.complete_memory(&mut resources);
        }
        let mut writes = Vec::new();
        for (name, translate) in controllers(&resources, self.v2)? {
            let mut settings = translate(&resources)?;
            if self.unit.is_some() {
                systemd::round(&mut settings);
            }
            let Some(setting) = settings.first() else { continue };
            let directory = self.directory(name).with_context(|| {
                let json = &setting.json;
                format!("linux.resources.{json}: this host has no cgroup controller {name:?}")
            })?;
            writes.extend(resolve(&settings, directory)?);
        }
        let former = writes.iter().map(former).collect();
        Ok(Update { writes, former, unit: self.unit.clone(), warnings })
    }

    fn read(&self, controller: &str, file: &str) -> Option<String> {
        let text = fs::read_to_string(self.directory(controller)?.join(file)).ok()?;
        Some(text.trim().to_string())
    }

    /// Refuses a limit that is in the way already, if that is asked for (BXG-18). As far as it
    /// goes: the container may use more in the next moment.
    fn check_usage(&self, resources: &LinuxResources) -> Result<()> {
        let Some(memory) = resources.memory() else { return Ok(()) };
        let file = if self.v2 { "memory.current" } else { "memory.usage_in_bytes" };
        let usage = self.read("memory", file).and_then(|usage| usage.parse::<i64>().ok());
        match usage {
            Some(usage) if memory.check_before_update() == Some(true) => in_use(memory, usage),
            _ => Ok(()),
        }
    }

    /// One file of v2 has both quota and period. An idle cgroup takes no shares.
    fn complete_cpu(&self, resources: &mut LinuxResources, warnings: &mut Vec<String>) {
        let Some(mut cpu) = resources.cpu().clone() else { return };
        let (quota, period) = (cpu.quota().unwrap_or(0), cpu.period().unwrap_or(0));
        if self.v2 && (quota == 0) != (period == 0) {
            let text = self.read("cpu", "cpu.max").unwrap_or_default();
            let (quota_now, period_now) = text.split_once(' ').unwrap_or_default();
            match quota {
                0 => cpu.set_quota(Some(quota_now.parse().unwrap_or(-1))),
                _ => cpu.set_period(period_now.parse().ok()),
            };
        }
        if cpu.shares().is_some_and(|shares| shares != 0) {
            match cpu.idle() {
                Some(1) => {
                    warnings.push(
                        "unable to apply both CPU shares and idle: shares are ignored".to_string(),
                    );
                    cpu.set_shares(None);
                }
                None if self.read("cpu", "cpu.idle").as_deref() == Some("1") => {
                    cpu.set_idle(Some(0));
                }
                _ => {}
            }
        }
        resources.set_cpu(Some(cpu));
    }

    /// As [`Record::complete_cpu`], for files by name.
    fn complete_unified(&self, resources: &mut LinuxResources, warnings: &mut Vec<String>) {
        let Some(mut files) = resources.unified().clone() else { return };
        if !files.contains_key("cpu.weight") {
            return;
        }
        match files.get("cpu.idle").map(|idle| idle.trim()) {
            Some("1") => {
                let text = "unable to apply both cpu.weight and cpu.idle: cpu.weight is ignored";
                warnings.push(text.to_string());
                files.remove("cpu.weight");
            }
            None if self.read("cpu", "cpu.idle").as_deref() == Some("1") => {
                files.insert("cpu.idle".to_string(), "0".to_string());
            }
            _ => {}
        }
        resources.set_unified(Some(files));
    }

    /// The config limits memory and swap together, v2 swap alone: one of them changes with the
    /// other.
    fn complete_memory(&self, resources: &mut LinuxResources) {
        let Some(mut memory) = *resources.memory() else { return };
        let number = |file| self.read("memory", file).and_then(|text| text.parse::<i64>().ok());
        let (limit_now, swap_now) = (number("memory.max"), number("memory.swap.max"));
        match (memory.limit().unwrap_or(0), memory.swap().unwrap_or(0)) {
            (0, 1..) => {
                memory.set_limit(limit_now);
            }
            (1.., 0) => {
                // No swap at all stays so.
                let swap_now = swap_now.filter(|swap| *swap > 0);
                memory.set_swap(limit_now.zip(swap_now).map(|(limit, swap)| limit + swap));
            }
            _ => {}
        }
        resources.set_memory(Some(memory));
    }
}

fn in_use(memory: &LinuxMemory, usage: i64) -> Result<()> {
    for (name, what, limit) in
        [("swap", "memory+swap", memory.swap()), ("limit", "memory", memory.limit())]
    {
        let limit = limit.filter(|limit| *limit > 0).unwrap_or(i64::MAX);
        ensure!(
            limit > usage,
            "linux.resources.memory.{name}: rejecting {what} limit {limit} <= usage {usage}"
        );
    }
    Ok(())
}

impl Update {
    /// Writes all of it, after systemd was told.
    ///
    /// # Errors
    /// The first that systemd or the kernel refuses; what was written before is taken back.
    pub fn apply(&self) -> Result<()> {
        let mut done = Vec::new();
        self.tell(self.writes.iter())?;
        write_in_order(&self.writes, &mut done).inspect_err(|_| self.undo(&done))
    }

    fn tell<'a>(&self, writes: impl Iterator<Item = &'a Write>) -> Result<()> {
        let Some(unit) = &self.unit else { return Ok(()) };
        let name = |path: &Path| path.file_name().unwrap_or_default().display().to_string();
        let setting = |write: &Write| Setting::new(&write.json, &name(&write.path), &write.value);
        unit.set(&writes.map(setting).collect::<Vec<_>>())
    }

    /// Takes all of it back, after something else has failed.
    pub fn undo_all(&self) {
        self.undo(&(0..self.writes.len()).collect::<Vec<_>>());
    }

    fn undo(&self, done: &[usize]) {
        if let Err(error) = self.tell(self.former.iter().flatten()) {
            log::warn(format!("undo update: {error:#}"));
        }
        let former = done.iter().rev().flat_map(|index| &self.former[*index]);
        let mut former: Vec<_> = former.cloned().collect();
        // BFQ forgets the weights of devices when it is told the one for all.
        former.sort_by_key(|write| write.value.contains(':'));
        if let Err(error) = write_in_order(&former, &mut Vec::new()) {
            log::warn(format!("undo update: {error:#}"));
        }
    }
}

/// What takes a value back, if the file can be read.
fn former(write: &Write) -> Vec<Write> {
    let Ok(current) = fs::read_to_string(&write.path) else { return Vec::new() };
    let value = former_value(&write.path, &write.value, &current);
    let mut former = vec![Write { value, ..write.clone() }];
    if let Some(list) = forgotten(write) {
        let weights = fs::read_to_string(&list).unwrap_or_default();
        let weights = weights.lines().filter(|line| line.contains(':'));
        former.extend(weights.map(|line| Write {
            path: list.clone(),
            value: line.to_string(),
            ..write.clone()
        }));
    }
    former
}

/// The weights of devices that BFQ forgets when it is told the weight for all
/// (bfq_io_set_weight_legacy, block/bfq-cgroup.c): where they are.
fn forgotten(write: &Write) -> Option<PathBuf> {
    if write.value.contains(':') {
        return None;
    }
    match write.path.file_name()?.to_str()? {
        "io.bfq.weight" => Some(write.path.clone()),
        "blkio.bfq.weight" => Some(write.path.with_file_name("blkio.bfq.weight_device")),
        _ => None,
    }
}

/// Files with a line for each device or the like, by the end of their names; and what to write
/// behind the key of one that has no line.
const LISTS: [(&str, &str); 7] = [
    ("io.max", "rbps=max wbps=max riops=max wiops=max"),
    ("rdma.max", "hca_handle=max hca_object=max"),
    ("net_prio.ifpriomap", "0"),
    ("ps_device", "0"),
    ("weight_device", "default"),
    ("io.weight", "default"),
    ("io.bfq.weight", "default"),
];

/// Turns the content of a file, which is being read, into what has to be written there to have
/// the same again.
fn former_value(path: &Path, value: &str, current: &str) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let (key, rest) = value.split_once(' ').unwrap_or((value, ""));
    let line = |key: &str| current.lines().find(|line| line.split(' ').next() == Some(key));
    let list = LISTS.iter().find(|(end, _)| file.ends_with(end));
    match list {
        _ if file == "memory.oom_control" => {
            let line = line("oom_kill_disable").unwrap_or_default();
            line.trim_start_matches("oom_kill_disable ").to_string()
        }
        Some((_, none)) if !rest.is_empty() => {
            line(key).map_or_else(|| format!("{key} {none}"), str::to_string)
        }
        // The weight for all other devices.
        Some(_) => line("default").unwrap_or(current.trim()).replace("default ", ""),
        None if !rest.is_empty() && current.lines().count() > 1 => {
            line(key).unwrap_or_default().to_string()
        }
        // An empty list is written as an empty line: nothing at all would be no write.
        None => Some(current.trim()).filter(|text| !text.is_empty()).unwrap_or("\n").to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroups::Place;
    use serde_json::{Value, json};

    #[test]
    fn what_takes_a_value_back() {
        for (file, value, current, want) in [
            ("memory.max", "5", "max\n", "max"),
            ("cpu.max", "1 2", "max 100000\n", "max 100000"),
            ("cpuset.cpus", "0", "\n", "\n"),
            ("memory.oom_control", "1", "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n", "0"),
            ("io.max", "8:0 rbps=5", "", "8:0 rbps=max wbps=max riops=max wiops=max"),
            (
                "io.max",
                "8:0 rbps=5",
                "8:1 rbps=1\n8:0 rbps=max wbps=3 riops=max wiops=max\n",
                "8:0 rbps=max wbps=3 riops=max wiops=max",
            ),
            ("io.weight", "50", "default 100\n8:0 30\n", "100"),
            ("io.weight", "8:0 50", "default 100\n8:0 30\n", "8:0 30"),
            ("io.bfq.weight", "8:1 50", "default 100\n8:0 30\n", "8:1 default"),
            ("io.bfq.weight", "50", "100\n", "100"),
            ("blkio.bfq.weight_device", "8:1 50", "", "8:1 default"),
            ("blkio.throttle.read_bps_device", "8:1 50", "", "8:1 0"),
            ("blkio.throttle.write_iops_device", "8:1 50", "8:1 7\n", "8:1 7"),
            ("rdma.max", "mlx hca_handle=1", "", "mlx hca_handle=max hca_object=max"),
            ("net_prio.ifpriomap", "lo 3", "lo 0\neth0 5\n", "lo 0"),
            ("misc.max", "res_a 3", "res_a max\nres_b 5\n", "res_a max"),
        ] {
            let got = former_value(&Path::new("/c").join(file), value, current);
            assert_eq!(got, want, "{file}: {value:?} after {current:?}");
        }
    }

    /// A cgroup of plain files.
    struct Fake(PathBuf);

    impl Fake {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let path = std::env::temp_dir().join(format!("orlop-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            for (file, text) in files {
                fs::write(path.join(file), text).unwrap();
            }
            Self(path)
        }

        fn plan(&self, v2: bool, resources: Value) -> Result<Update> {
            let controllers = if v2 { vec![] } else { vec!["cpu".into(), "memory".into()] };
            let place = Place { controllers, directory: self.0.clone() };
            let record = Record { groups: vec![place], v2, ..Record::default() };
            record.plan_update(&serde_json::from_value(resources).unwrap())
        }

        fn lines(&self, v2: bool, resources: Value) -> String {
            shown(&self.plan(v2, resources).unwrap().writes)
        }
    }

    fn shown(writes: &[Write]) -> String {
        let name = |write: &Write| write.path.file_name().unwrap().display().to_string();
        let lines = writes.iter().map(|write| format!("{}={}", name(write), write.value));
        lines.collect::<Vec<_>>().join(" ")
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn what_is_not_mentioned_comes_from_the_kernel() {
        let fake = Fake::new(
            "complete",
            &[
                ("cpu.max", "50000 200000\n"),
                ("cpu.idle", "1\n"),
                ("cpu.weight", "0\n"),
                ("memory.max", "100\n"),
                ("memory.swap.max", "50\n"),
                ("memory.current", "60\n"),
            ],
        );
        for (resources, want) in [
            (json!({}), ""),
            (json!({"cpu": {"quota": 7}}), "cpu.max=7 200000"),
            (json!({"cpu": {"period": 7}}), "cpu.max=50000 7"),
            (json!({"cpu": {"quota": -1}}), "cpu.max=max 200000"),
            (json!({"cpu": {"shares": 1024}}), "cpu.weight=100 cpu.idle=0"),
            (json!({"cpu": {"shares": 1024, "idle": 1}}), "cpu.idle=1"),
            (json!({"unified": {"cpu.weight": "8", "cpu.idle": "1"}}), "cpu.idle=1"),
            (json!({"unified": {"cpu.max": "max"}}), "cpu.max=max"),
            (json!({"memory": {"limit": 80}}), "memory.swap.max=70 memory.max=80"),
            (json!({"memory": {"limit": 80, "swap": 80}}), "memory.swap.max=0 memory.max=80"),
            (json!({"memory": {"swap": 120}}), "memory.swap.max=20 memory.max=100"),
            (json!({"memory": {"swap": -1}}), "memory.swap.max=max"),
            (json!({"memory": {"limit": -1}}), "memory.swap.max=max memory.max=max"),
        ] {
            assert_eq!(fake.lines(true, resources.clone()), want, "{resources}");
        }
        for (memory, want) in [
            (json!({"limit": 60}), "rejecting memory limit 60 <= usage 60"),
            (json!({"limit": 50, "swap": 55}), "rejecting memory+swap limit 55 <= usage 60"),
            (json!({"limit": 70, "swap": 55}), "rejecting memory+swap limit 55 <= usage 60"),
        ] {
            let mut checked = json!({"memory": memory});
            checked["memory"]["checkBeforeUpdate"] = json!(true);
            let error = format!("{:#}", fake.plan(true, checked).unwrap_err());
            assert!(error.contains(want), "{error}");
        }
        let checked = json!({"memory": {"limit": 61, "swap": 71, "checkBeforeUpdate": true}});
        assert_eq!(fake.lines(true, checked), "memory.swap.max=10 memory.max=61");
        let error = fake.plan(true, json!({"memory": {"limit": 200}})).unwrap_err();
        assert!(error.to_string().contains("should be >= memory limit"), "{error}");
    }

    #[test]
    fn weights_of_devices_come_back_with_the_weight_for_all() {
        let fake = Fake::new(
            "weights",
            &[
                ("io.bfq.weight", "default 100\n8:0 30\n8:16 40\n"),
                ("blkio.bfq.weight", "100\n"),
                ("blkio.bfq.weight_device", "default 100\n8:0 30\n"),
            ],
        );
        for (file, value, want) in [
            (
                "io.bfq.weight",
                "300",
                "io.bfq.weight=100 io.bfq.weight=8:0 30 io.bfq.weight=8:16 40",
            ),
            ("io.bfq.weight", "8:0 300", "io.bfq.weight=8:0 30"),
            ("blkio.bfq.weight", "300", "blkio.bfq.weight=100 blkio.bfq.weight_device=8:0 30"),
        ] {
            let path = fake.0.join(file);
            let write = Write { path, value: value.into(), json: String::new() };
            assert_eq!(shown(&former(&write)), want);
        }
    }

    #[test]
    fn an_update_that_fails_is_taken_back() {
        let fake = Fake::new(
            "undo",
            &[("cpu.shares", "5\n"), ("memory.limit_in_bytes", "7\n"), ("pids.max", "")],
        );
        let update = json!({"cpu": {"shares": 90}, "memory": {"limit": 8}});
        let update = fake.plan(false, update).unwrap();
        let file = fake.0.join("memory.limit_in_bytes");
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        update.apply().unwrap_err();
        // A file that is no cgroup's is not cut: the first digit was written again.
        assert_eq!(fs::read_to_string(fake.0.join("cpu.shares")).unwrap(), "50");
        let error = fake.plan(false, json!({"pids": {"limit": 8}})).unwrap_err();
        assert!(error.to_string().ends_with("no cgroup controller \"pids\""), "{error}");
    }
}
