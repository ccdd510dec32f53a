//! Rules about `linux.intelRdt`.

use anyhow::{Result, ensure};
use oci_spec::runtime::LinuxIntelRdt;

/// Directories that resctrl itself has.
const TAKEN: [&str; 3] = ["info", "mon_data", "mon_groups"];

/// Checks names and lines (RDT-05 to RDT-12).
pub(super) fn check(rdt: &LinuxIntelRdt) -> Result<()> {
    if let Some(name) = rdt.clos_id().as_deref().filter(|name| !matches!(*name, "" | "/")) {
        let plain = !name.contains(['/', '\0', '\n']) && !name.starts_with('.');
        let free = !TAKEN.contains(&name);
        ensure!(plain && free, "linux.intelRdt.closID: {name:?} is no name for a group");
    }
    for (name, line) in
        [("l3CacheSchema", rdt.l3_cache_schema()), ("memBwSchema", rdt.mem_bw_schema())]
    {
        one_line(&format!("linux.intelRdt.{name}"), line.as_deref().unwrap_or_default())?;
    }
    let bandwidth = rdt.mem_bw_schema().as_deref().unwrap_or_default();
    ensure!(
        bandwidth.is_empty() || bandwidth.starts_with("MB:"),
        "linux.intelRdt.memBwSchema: {bandwidth:?} does not start with \"MB:\""
    );
    super::check::each("linux.intelRdt.schemata", rdt.schemata(), |path, line| one_line(path, line))
}

fn one_line(path: &str, line: &str) -> Result<()> {
    ensure!(!line.contains('\n'), "{path}: {line:?} has more than one line");
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::spec::tests::{accepted, refused};
    use serde_json::json;

    #[test]
    fn names_and_lines() {
        let rdt = |change| json!({"linux": {"intelRdt": change}});
        refused([
            (rdt(json!({"closID": "../x"})), "linux.intelRdt.closID: \"../x\" is no name"),
            (rdt(json!({"closID": ".."})), "linux.intelRdt.closID: "),
            (rdt(json!({"closID": "info"})), "linux.intelRdt.closID: "),
            (rdt(json!({"memBwSchema": "L3:0=f"})), "memBwSchema: \"L3:0=f\" does not start"),
            (rdt(json!({"memBwSchema": "MB:0=1\nL3:0=f"})), "has more than one line"),
            (rdt(json!({"l3CacheSchema": "L3:0=f\n"})), "has more than one line"),
            (rdt(json!({"schemata": ["a", "b\nc"]})), "linux.intelRdt.schemata[1]: "),
        ]);
        accepted([
            rdt(json!({})),
            rdt(json!({"closID": "/", "enableCMT": true})),
            rdt(json!({"closID": "gold", "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=9"})),
            rdt(json!({"schemata": ["L2:0=f"], "enableMonitoring": true})),
            // Where code and data have shares of their own.
            rdt(json!({"l3CacheSchema": "L3CODE:0=f"})),
        ]);
    }
}
