//! `linux.resources.unified`: files of v2 by their names.

use anyhow::Result;
use oci_spec::runtime::LinuxResources;

use crate::cgroups::setting::Setting;

/// One write for each line: a file with a list takes one entry at a time (UNI-05).
pub(super) fn settings(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let mut files: Vec<_> = resources.unified().iter().flatten().collect();
    files.sort_unstable();
    let settings = files.into_iter().flat_map(|(file, value)| {
        let lines = value.lines().filter(|line| !line.is_empty());
        lines.map(move |line| Setting::new(format!("unified.{file}"), file, line))
    });
    Ok(settings.collect())
}

#[cfg(test)]
mod tests {
    use crate::cgroups::tests::check;
    use serde_json::json;

    #[test]
    fn translation() {
        let unified = json!({
            "memory.high": "5",
            "io.max": "8:0 rbps=1\n9:0 wbps=2\n",
            "cgroup.max.depth": ""});
        let want = "io.max=8:0 rbps=1 io.max=9:0 wbps=2 memory.high=5";
        check(super::settings, [(json!({}), Ok("")), (json!({"unified": unified}), Ok(want))]);
    }
}
