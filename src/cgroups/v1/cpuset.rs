//! `cpuset.*`: cpuset(7). A new cpuset is empty and takes no process before it is filled.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use oci_spec::runtime::LinuxResources;

use crate::cgroups::setting::{Setting, write};

/// Lists of processors and memory nodes; an empty one is inherited.
pub(in crate::cgroups) fn settings(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let Some(cpu) = resources.cpu() else { return Ok(vec![]) };
    let lists = [("cpu.cpus", "cpuset.cpus", cpu.cpus()), ("cpu.mems", "cpuset.mems", cpu.mems())];
    let settings = lists.into_iter().filter_map(|(json, file, list)| {
        let list = list.as_ref().filter(|list| !list.is_empty())?;
        Some(Setting::new(json, file, list))
    });
    Ok(settings.collect())
}

/// Copies both lists from the parent to a cpuset that has none, else joining it is ENOSPC. The
/// cpusets between it and `top`, where the hierarchy is mounted, may need it as well.
pub(in crate::cgroups) fn inherit(top: &Path, directory: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        inherit_list(top, directory, file)?;
    }
    Ok(())
}

/// Returns the list of the cpuset, which is filled if it was empty.
fn inherit_list(top: &Path, directory: &Path, file: &str) -> Result<String> {
    let path = directory.join(file);
    let list = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    if !list.trim().is_empty() || directory == top {
        return Ok(list);
    }
    let above = directory.parent().context("the parent of a cpuset")?;
    let list = inherit_list(top, above, file)?;
    write(&path, list.trim())?;
    Ok(list)
}

#[cfg(test)]
mod tests {
    use crate::cgroups::tests::check;
    use serde_json::json;

    #[test]
    fn translation() {
        check(
            super::settings,
            [
                (json!({"cpu": {"cpus": "", "mems": ""}}), Ok("")),
                (
                    json!({"cpu": {"cpus": "0-1,3", "mems": "0"}}),
                    Ok("cpuset.cpus=0-1,3 cpuset.mems=0"),
                ),
            ],
        );
    }
}
