//! The `process` object of a program that joins a container: a document of its own, or the
//! container's with changes from the command line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::{Process, Spec};
use serde_json::{Map, Value, json};

use super::{names, presence, typed};

/// What the command line changes in the container's own process (BXC-27).
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The arguments, as far as JSON can hold them.
    pub args: Vec<String>,
    /// Another working directory.
    pub cwd: Option<PathBuf>,
    /// More variables.
    pub env: Vec<String>,
    /// Another user, and another group if one is given: see [`user`].
    pub user: Option<(u32, Option<u32>)>,
    /// More groups.
    pub additional_gids: Vec<u32>,
    /// More capabilities.
    pub capabilities: Vec<String>,
    /// Another value of `noNewPrivileges`.
    pub no_new_privileges: Option<bool>,
    /// Another profile of AppArmor.
    pub apparmor: Option<String>,
    /// Another label of SELinux.
    pub process_label: Option<String>,
    /// With a terminal. That of the container's own process says nothing here (BXC-28).
    pub terminal: bool,
}

/// A process, and warnings about what was passed over.
pub type Checked = (Process, Vec<String>);

/// Reads and checks the document at `path`, which may be a pipe.
///
/// # Errors
/// Anything that the specification does not allow, with the JSON path of the member.
pub fn read(path: &Path) -> Result<Checked> {
    // A shell hands over a document of its own as a pipe, for which is waited.
    let file = std::fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
    let kind = file.metadata().with_context(|| format!("stat {}", path.display()))?.file_type();
    let pipe = std::os::unix::fs::FileTypeExt::is_fifo(&kind);
    ensure!(kind.is_file() || pipe, "{} is not a regular file", path.display());
    let bytes = super::read(file, path)?;
    let tree = serde_json::from_slice(&bytes).context("not JSON");
    tree.and_then(checked).with_context(|| path.display().to_string())
}

/// Makes the changes to the container's own `process` object and checks the result.
///
/// # Errors
/// When there is none, or the result is not allowed.
pub fn changed(mut own: Value, changes: &Changes) -> Result<Checked> {
    let Value::Object(process) = &mut own else { bail!("the container has no process of its own") };
    changes.apply(process);
    checked(own)
}

fn checked(mut process: Value) -> Result<Checked> {
    names::correct(&mut process);
    presence::drop_null(&mut process);
    // Paths in messages are those of `config.json`.
    let mut tree = json!({"process": process});
    ensure!(tree["process"].is_object(), "the document is not an object");
    presence::tidy_processors(&mut tree);
    presence::rename_scheduler_flags(&mut tree);
    presence::fill_user(&mut tree);
    let warnings = presence::drop_unknown_capabilities(&mut tree);
    presence::check_process(&tree)?;
    let process = typed(tree["process"].take()).map_err(|e| anyhow::anyhow!("process.{e}"))?;
    super::process::check(&process)?;
    Ok((process, warnings))
}

impl Changes {
    fn apply(&self, process: &mut Map<String, Value>) {
        process.insert("args".into(), json!(self.args));
        process.insert("terminal".into(), json!(self.terminal));
        if let Some(cwd) = &self.cwd {
            process.insert("cwd".into(), json!(cwd));
        }
        if let Some(value) = self.no_new_privileges {
            process.insert("noNewPrivileges".into(), json!(value));
        }
        for (member, value) in
            [("apparmorProfile", &self.apparmor), ("selinuxLabel", &self.process_label)]
        {
            process.extend(value.as_ref().map(|value| (member.to_string(), json!(value))));
        }
        append(process, "env", &self.env);
        if let Some(user) = process.get_mut("user").and_then(Value::as_object_mut) {
            if let Some((uid, gid)) = self.user {
                user.insert("uid".into(), json!(uid));
                user.extend(gid.map(|gid| ("gid".to_string(), json!(gid))));
            }
            append(user, "additionalGids", &self.additional_gids);
        }
        let sets = process.get_mut("capabilities").and_then(Value::as_object_mut);
        for sets in sets.into_iter().filter(|_| !self.capabilities.is_empty()) {
            // What is not inheritable cannot be ambient, and nothing becomes inheritable
            // (CVE-2022-29162).
            let inherits = sets.get("inheritable").and_then(Value::as_array);
            let ambient = inherits.is_some_and(|set| !set.is_empty()).then_some("ambient");
            for set in ["bounding", "effective", "permitted"].into_iter().chain(ambient) {
                append(sets, set, &self.capabilities);
            }
        }
    }
}

fn append<T: serde::Serialize>(object: &mut Map<String, Value>, member: &str, more: &[T]) {
    if more.is_empty() {
        return;
    }
    let list = object.entry(member).or_insert_with(|| json!([]));
    if let Value::Array(list) = list {
        list.extend(more.iter().map(|item| json!(item)));
    }
}

/// Takes from the container what the process leaves open (BXC-29).
pub fn inherit(process: &mut Process, container: &Spec) {
    let Some(own) = container.process() else { return };
    if process.capabilities().is_none() {
        process.set_capabilities(own.capabilities().clone());
    }
    if process.rlimits().as_ref().is_none_or(Vec::is_empty) {
        process.set_rlimits(own.rlimits().clone());
    }
    if process.oom_score_adj().is_none() {
        process.set_oom_score_adj(own.oom_score_adj());
    }
    if process.apparmor_profile().as_ref().is_none_or(String::is_empty) {
        process.set_apparmor_profile(own.apparmor_profile().clone());
    }
    if process.selinux_label().as_ref().is_none_or(String::is_empty) {
        process.set_selinux_label(own.selinux_label().clone());
    }
    if process.scheduler().is_none() {
        process.set_scheduler(own.scheduler().clone());
    }
    if process.io_priority().is_none() {
        process.set_io_priority(*own.io_priority());
    }
    if process.exec_cpu_affinity().is_none() {
        process.set_exec_cpu_affinity(own.exec_cpu_affinity().clone());
    }
    if process.user().umask().is_none() {
        process.user_mut().set_umask(own.user().umask());
    }
}

/// Reads `uid[:gid]`: decimal numbers, nothing else (CVE-2026-30892).
///
/// # Errors
/// What is not a number, and the number that is not an id.
pub fn user(text: &str) -> Result<(u32, Option<u32>)> {
    match text.split_once(':') {
        Some((uid, gid)) => Ok((id("uid", uid)?, Some(id("gid", gid)?))),
        None => Ok((id("uid", text)?, None)),
    }
}

/// Reads a decimal id; `name` says what of.
///
/// # Errors
/// What is not a number, and the number that is not an id.
pub fn id(name: &str, text: &str) -> Result<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u32>() {
        Ok(id) if digits && id != u32::MAX => Ok(id),
        _ => bail!("bad {name}: {text:?} is not a number from 0 to {}", u32::MAX - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers() {
        for (text, want) in [
            ("1", Some((1, None))),
            ("0", Some((0, None))),
            ("01", Some((1, None))),
            ("1:1", Some((1, Some(1)))),
            ("1000:5", Some((1000, Some(5)))),
            ("4294967294", Some((4_294_967_294, None))),
            ("4294967295", None),
            ("4294967296", None),
            ("", None),
            (":", None),
            ("1:", None),
            (":1", None),
            ("-1", None),
            ("+1", None),
            ("1x", None),
            ("0x1", None),
            (" 1", None),
            ("1:2:3", None),
            ("root", None),
        ] {
            assert_eq!(user(text).ok(), want, "{text:?}");
        }
    }

    fn own() -> Value {
        json!({"user": {"uid": 5, "gid": 6, "additionalGids": [7]}, "cwd": "/", "args": ["a"],
            "env": ["A=1"], "terminal": true, "noNewPrivileges": true,
            "capabilities": {"bounding": ["CAP_KILL"]}})
    }

    #[test]
    fn changes_are_made_to_the_containers_process() {
        let changes = Changes {
            args: vec!["b".into()],
            env: vec!["A=2".into()],
            user: Some((8, None)),
            additional_gids: vec![9],
            capabilities: vec!["CAP_CHOWN".into(), "CAP_NOSUCH".into()],
            ..Changes::default()
        };
        let (process, warnings) = changed(own(), &changes).unwrap();
        assert_eq!(process.args().as_deref().unwrap(), ["b"]);
        assert_eq!(process.env().as_deref().unwrap(), ["A=1", "A=2"]);
        assert_eq!((process.user().uid(), process.user().gid()), (8, 6));
        assert_eq!(process.user().additional_gids().as_deref().unwrap(), [7, 9]);
        assert_eq!(process.terminal(), Some(false));
        assert_eq!(process.no_new_privileges(), Some(true));
        let sets = process.capabilities().as_ref().unwrap();
        assert_eq!(sets.bounding().as_ref().unwrap().len(), 2);
        assert_eq!(sets.effective().as_ref().unwrap().len(), 1);
        assert!(sets.inheritable().is_none() && sets.ambient().is_none());
        assert_eq!(warnings.len(), 3, "{warnings:?}");
    }

    #[test]
    fn mistakes_are_named_by_path() {
        for (document, want) in [
            (json!([]), "not an object"),
            (json!({"args": ["a"], "cwd": "x", "user": {"uid": 0, "gid": 0}}), "process.cwd: "),
            (json!({"args": ["a"], "cwd": "/", "user": {"uid": -1, "gid": 0}}), "process.user.uid"),
            (json!({"args": [], "cwd": "/", "user": {"uid": 0, "gid": 0}}), "process.args: "),
        ] {
            let error = format!("{:#}", checked(document.clone()).unwrap_err());
            assert!(error.contains(want), "{document}: {error}");
        }
    }
}
