//! newuidmap(1) and newgidmap(1): they map the ids that the administrator has given to an ordinary
//! user in subuid(5) and subgid(5).

use std::io::ErrorKind;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;
use oci_spec::runtime::LinuxIdMapping;

/// What a map is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ids {
    Users,
    Groups,
}

impl Ids {
    /// The file of the map in `/proc/PID`.
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::Users => "uid_map",
            Self::Groups => "gid_map",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Users => "newuidmap",
            Self::Groups => "newgidmap",
        }
    }

    /// Has the helper write the map of the process `pid`.
    ///
    /// # Errors
    /// When it is not installed, and what it complains about.
    pub(super) fn map_by_helper(self, pid: Pid, map: &[LinuxIdMapping]) -> Result<()> {
        let program = self.program();
        let mut command = Command::new(program);
        command.args(arguments(pid, map)).stdin(Stdio::null());
        let output = match command.output() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!("it takes {program}(1), which is not installed: operation not permitted")
            }
            other => other.with_context(|| format!("execute {program}"))?,
        };
        if output.status.success() {
            return Ok(());
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        let complaint = complaint.trim().strip_prefix(&format!("{program}: ")).map(str::to_string);
        let complaint = complaint.unwrap_or_else(|| output.status.to_string());
        bail!("{program}: {complaint}")
    }
}

fn arguments(pid: Pid, map: &[LinuxIdMapping]) -> Vec<String> {
    let numbers = map.iter().flat_map(|range| {
        [range.container_id(), range.host_id(), range.size()].map(|number| number.to_string())
    });
    std::iter::once(pid.to_string()).chain(numbers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_numbers_in_threes() {
        let map = serde_json::from_str::<Vec<LinuxIdMapping>>(
            r#"[{"containerID": 0, "hostID": 7, "size": 1},
                {"containerID": 1, "hostID": 100000, "size": 65535}]"#,
        );
        let got = arguments(Pid::from_raw(42), &map.unwrap()).join(" ");
        assert_eq!(got, "42 0 7 1 1 100000 65535");
    }
}
