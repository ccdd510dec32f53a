//! What the program becomes for security modules of the kernel, with its execve.

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use oci_spec::runtime;

use crate::host;
use crate::procfs::Procfs;

/// The labels of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    apparmor: Option<String>,
    selinux: Option<String>,
}

impl Labels {
    pub(super) fn from_spec(process: &runtime::Process) -> Self {
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Self {
            apparmor: filled(process.apparmor_profile()),
            selinux: filled(process.selinux_label()),
        }
    }

    /// Checks that the kernel does what is asked for: a container that is to be confined must not
    /// run without it (AMB-35).
    ///
    /// # Errors
    /// When a module is off.
    pub(super) fn check(&self) -> Result<()> {
        ensure!(
            self.apparmor.is_none() || host::has_apparmor(),
            "process.apparmorProfile: apparmor: config provided but apparmor not supported"
        );
        check_selinux("process.selinuxLabel", self.selinux.as_deref())
    }

    /// Labels the keyrings that the caller makes from now on as the program's.
    ///
    /// # Errors
    /// EINVAL for what is no label.
    pub(super) fn label_keys(&self, procfs: &Procfs) -> Result<()> {
        let Some(label) = &self.selinux else { return Ok(()) };
        write(procfs, &["keycreate"], label)
            .with_context(|| format!("process.selinuxLabel: label keys {label:?}"))
    }

    /// Tells the kernel about the next execve of the caller.
    ///
    /// # Errors
    /// ENOENT for a profile that is not loaded, EINVAL for what is no label.
    pub(super) fn announce(&self, procfs: &Procfs) -> Result<()> {
        if let Some(profile) = &self.apparmor {
            write(procfs, &["apparmor/exec", "exec"], &format!("exec {profile}")).with_context(
                || format!("process.apparmorProfile: apply apparmor profile {profile:?}"),
            )?;
        }
        if let Some(label) = &self.selinux {
            write(procfs, &["exec"], label)
                .with_context(|| format!("process.selinuxLabel: set it to {label:?}"))?;
        }
        Ok(())
    }
}

/// Checks that the label at the JSON path `json` means something here.
///
/// # Errors
/// When SELinux is off.
pub fn check_selinux(json: &str, label: Option<&str>) -> Result<()> {
    ensure!(
        label.is_none_or(str::is_empty) || host::has_selinux(),
        "{json}: selinux label is specified in config, but selinux is disabled or not supported"
    );
    Ok(())
}

/// Writes to the first of these attributes of the caller that the kernel has. One that belongs to
/// a module comes first: the others are those of the module that is asked first (proc(5)).
fn write(procfs: &Procfs, names: &[&str], value: &str) -> Result<()> {
    let own = procfs.own_directory()?;
    let path = |name: &&str| format!("{own}/attr/{name}");
    let missing = |path: &String| {
        let opened = procfs.open_file(path, OFlag::O_WRONLY);
        opened.is_err_and(|error| error.downcast_ref::<Errno>() == Some(&Errno::ENOENT))
    };
    let path = names.iter().map(path).find(|path| !missing(path));
    procfs.write(&path.context("the kernel has no such attribute of processes")?, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_is_asked_for_by_an_empty_label() {
        let process = json!({"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["a"],
            "apparmorProfile": "", "selinuxLabel": ""});
        let labels = Labels::from_spec(&serde_json::from_value(process).unwrap());
        assert_eq!(labels, Labels::default());
        assert!(labels.check().is_ok());
        assert!(check_selinux("x", None).is_ok() && check_selinux("x", Some("")).is_ok());
    }
}
