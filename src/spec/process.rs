//! Rules about the values of the `process` object.

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::{LinuxIOPriority, LinuxSchedulerPolicy, PosixRlimit, Process, Scheduler};

use super::check::{absolute, each, no_nul, repeated};
use super::numbers::mask;

/// Checks the `process` object.
pub(super) fn check(process: &Process) -> Result<()> {
    absolute("process.cwd", process.cwd())?;
    ensure!(process.args().iter().flatten().count() > 0, "process.args: required");
    each("process.args", process.args(), |path, arg| no_nul(path, arg))?;
    each("process.env", process.env(), |path, entry| {
        no_nul(path, entry)?;
        let name = entry.split_once('=').map(|(name, _)| name);
        let Some(name) = name else { bail!("{path}: {entry:?} has no \"=\"") };
        ensure!(!name.is_empty(), "{path}: {entry:?} has no name before \"=\"");
        Ok(())
    })?;
    let user = process.user();
    valid_id("process.user.uid", user.uid())?;
    valid_id("process.user.gid", user.gid())?;
    each("process.user.additionalGids", user.additional_gids(), |path, gid| valid_id(path, *gid))?;
    if let Some(umask) = user.umask() {
        ensure!(umask <= 0o777, "process.user.umask: {umask} is above 511 (octal 0777)");
    }
    if let Some(score) = process.oom_score_adj() {
        let allowed = -1000..=1000;
        ensure!(allowed.contains(&score), "process.oomScoreAdj: {score} is not in -1000..=1000");
    }
    if let Some(affinity) = process.exec_cpu_affinity() {
        let lists = [("initial", affinity.initial()), ("final", affinity.cpu_affinity_final())];
        for (name, list) in lists {
            let list = list.as_deref().unwrap_or_default();
            mask(list).with_context(|| format!("process.execCPUAffinity.{name}"))?;
        }
    }
    if let Some(scheduler) = process.scheduler() {
        self::scheduler(scheduler)?;
    }
    if let Some(priority) = process.io_priority().as_ref().map(LinuxIOPriority::priority) {
        let allowed = 0..=7;
        ensure!(
            allowed.contains(&priority),
            "process.ioPriority.priority: {priority} is not in 0..=7"
        );
    }
    rlimits(process.rlimits().as_deref().unwrap_or_default())
}

/// Parameters of one policy say nothing to another: the kernel would pass over them (BXP-26).
fn scheduler(scheduler: &Scheduler) -> Result<()> {
    use LinuxSchedulerPolicy::{SchedBatch, SchedDeadline, SchedFifo, SchedOther, SchedRr};
    let policy = *scheduler.policy();
    let nice = scheduler.nice().unwrap_or(0);
    let allowed = !matches!(policy, SchedOther | SchedBatch) || (-20..=19).contains(&nice);
    ensure!(allowed, "process.scheduler.nice: {nice} is not in -20..=19");
    let priority = scheduler.priority().unwrap_or(0);
    ensure!(
        priority == 0 || matches!(policy, SchedFifo | SchedRr),
        "process.scheduler.priority: only SCHED_FIFO and SCHED_RR have one"
    );
    ensure!(priority >= 0, "process.scheduler.priority: {priority} is below 0");
    for (name, value) in [
        ("runtime", scheduler.runtime()),
        ("deadline", scheduler.deadline()),
        ("period", scheduler.period()),
    ] {
        let set = value.unwrap_or(0) != 0;
        ensure!(
            !set || policy == SchedDeadline,
            "process.scheduler.{name}: only SCHED_DEADLINE has one"
        );
    }
    Ok(())
}

/// The largest number is no id: to setresuid(2) it means «leave it as it is», which is root.
fn valid_id(path: &str, id: u32) -> Result<()> {
    ensure!(id != u32::MAX, "{path}: {id} is not an id");
    Ok(())
}

fn rlimits(limits: &[PosixRlimit]) -> Result<()> {
    if let Some((index, kind)) = repeated(limits.iter().map(|limit| limit.typ().to_string())) {
        bail!("process.rlimits[{index}].type: {kind} is listed twice");
    }
    for (index, limit) in limits.iter().enumerate() {
        let (kind, soft, hard) = (limit.typ(), limit.soft(), limit.hard());
        ensure!(soft <= hard, "process.rlimits[{index}]: {kind}: soft {soft} is above hard {hard}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::spec::tests::{accepted, refused};
    use serde_json::json;

    #[test]
    fn process_values() {
        let process = |change| json!({"process": change});
        refused([
            (process(json!({"cwd": "a"})), "process.cwd: \"a\" is not an absolute path"),
            (process(json!({"args": []})), "process.args: required"),
            (process(json!({"args": ["a\0b"]})), "process.args[0]: "),
            (process(json!({"env": ["A=1", "B"]})), "process.env[1]: \"B\" has no \"=\""),
            (process(json!({"env": ["=x"]})), "process.env[0]: "),
            (process(json!({"user": {"umask": 512}})), "process.user.umask: 512"),
            (process(json!({"user": {"uid": 4_294_967_295_u32}})), "process.user.uid: "),
            (process(json!({"user": {"gid": 4_294_967_295_u32}})), "process.user.gid: "),
            (
                process(json!({"user": {"additionalGids": [1, 4_294_967_295_u32]}})),
                "process.user.additionalGids[1]: 4294967295 is not an id",
            ),
            (process(json!({"oomScoreAdj": -1001})), "process.oomScoreAdj: -1001"),
            (
                process(json!({"rlimits": [{"type": "RLIMIT_FOO", "soft": 1, "hard": 1}]})),
                "process.rlimits[0].type: unknown variant",
            ),
            (
                process(json!({"rlimits": [
                    {"type": "RLIMIT_CPU", "soft": 1, "hard": 1},
                    {"type": "RLIMIT_CPU", "soft": 2, "hard": 2}]})),
                "process.rlimits[1].type: RLIMIT_CPU is listed twice",
            ),
            (
                process(json!({"rlimits": [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]})),
                "process.rlimits[0]: RLIMIT_CPU: soft 2 is above hard 1",
            ),
        ]);
        accepted([
            process(json!({"execCPUAffinity": {"initial": "0-1, 3", "final": ""}})),
            process(json!({"scheduler": {"policy": "SCHED_DEADLINE", "flags": [
                "SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN",
                "SCHED_FLAG_KEEP_POLICY", "SCHED_FLAG_KEEP_PARAMS", "SCHED_FLAG_UTIL_CLAMP_MIN",
                "SCHED_FLAG_UTIL_CLAMP_MAX"]}})),
            process(json!({"env": ["A=1=2", "B=", "C=a\nb"], "args": ["ä"]})),
            process(json!({"rlimits": [
                {"type": "RLIMIT_RTTIME", "soft": 1, "hard": 18_446_744_073_709_551_615_u64}]})),
        ]);
    }

    #[test]
    fn shares_of_the_machine() {
        let process = |change| json!({"process": change});
        refused([
            (
                process(json!({"scheduler": {"policy": "SCHED_OTHER", "nice": 20}})),
                "process.scheduler.nice: 20 is not in -20..=19",
            ),
            (
                process(json!({"scheduler": {"policy": "SCHED_IDLE", "priority": 1}})),
                "process.scheduler.priority: only SCHED_FIFO and SCHED_RR have one",
            ),
            (
                process(json!({"scheduler": {"policy": "SCHED_FIFO", "runtime": 1}})),
                "process.scheduler.runtime: only SCHED_DEADLINE has one",
            ),
            (process(json!({"scheduler": {"policy": "SCHED_NONE"}})), "process.scheduler.policy: "),
            (
                process(json!({"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}})),
                "process.ioPriority.priority: 8 is not in 0..=7",
            ),
            (
                process(json!({"ioPriority": {"class": "x", "priority": 1}})),
                "process.ioPriority.class: ",
            ),
            (
                process(json!({"execCPUAffinity": {"final": "3-1"}})),
                "process.execCPUAffinity.final: the range 3-1 goes backwards",
            ),
            (process(json!({"execCPUAffinity": {"initial": "a"}})), "execCPUAffinity.initial: "),
            (process(json!({"execCPUAffinity": {"initial": "1 2"}})), "execCPUAffinity.initial: "),
        ]);
    }
}
