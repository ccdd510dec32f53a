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
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use serde_json::json;

    fn labels(apparmor: &str, selinux: &str) -> Labels {
        let process = json!({"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["a"],
            "apparmorProfile": apparmor, "selinuxLabel": selinux});
        Labels::from_spec(&serde_json::from_value(process).unwrap())
    }

    /// A fake tree says which file gets what, and nothing of what a kernel makes of it.
    #[test]
    fn labels_go_to_their_attributes() {
        let root = std::env::temp_dir().join(format!("orlop-labels-{}", std::process::id()));
        let attributes = root.join("7/attr");
        fs::create_dir_all(attributes.join("apparmor")).unwrap();
        symlink("7", root.join("self")).unwrap();
        let all = ["exec", "keycreate", "apparmor/exec"];
        let label = "system_u:system_r:container_t:s0:c1,c2";
        let procfs = Procfs::fake(&root);
        for (apparmor, selinux, module, want) in [
            ("", label, true, [label, label, ""]),
            ("strict", "", true, ["", "", "exec strict"]),
            // Before Linux 5.8 the first module alone has attributes.
            ("strict", "", false, ["exec strict", "", ""]),
            ("strict", label, true, [label, label, "exec strict"]),
            ("", "", true, ["", "", ""]),
        ] {
            all.iter().for_each(|name| fs::write(attributes.join(name), "").unwrap());
            if !module {
                fs::remove_file(attributes.join("apparmor/exec")).unwrap();
            }
            let labels = labels(apparmor, selinux);
            labels.label_keys(&procfs).unwrap();
            labels.announce(&procfs).unwrap();
            let got = all.map(|name| fs::read_to_string(attributes.join(name)).unwrap_or_default());
            assert_eq!(got, want, "{apparmor} {selinux}");
        }
        fs::remove_file(attributes.join("exec")).unwrap();
        let error = format!("{:#}", labels("", label).announce(&procfs).unwrap_err());
        let want = format!(
            "process.selinuxLabel: set it to {label:?}: the kernel has no such attribute of processes"
        );
        assert_eq!(error, want);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn nothing_is_asked_for_by_an_empty_label() {
        let labels = labels("", "");
        assert_eq!(labels, Labels::default());
        assert!(labels.check().is_ok());
        assert!(check_selinux("x", None).is_ok() && check_selinux("x", Some("")).is_ok());
    }
}
