//! Counters of a group, in the form of runc's `events`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::Record;

/// All that the machine has of it. A counter that cannot be read is left out: some are told as
/// `Unavailable` while the hardware has no counter free.
#[must_use]
pub fn read(record: &Record) -> Map<String, Value> {
    let mut stats = Map::new();
    let (root, group) = (&record.root, &record.group);
    let schemata = lines(&group.join("schemata"));
    let of_root = lines(&root.join("schemata"));
    let line = |lines: &[String], kind: &str| lines.iter().find(|l| l.contains(kind)).cloned();
    for (kind, info, numbers, [info_name, root_name, name]) in [
        ("L3", &["cbm_mask"][..], &["min_cbm_bits", "num_closids"][..], L3),
        ("MB", &[], &["bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids"], MB),
    ] {
        let directory = root.join("info").join(kind);
        if !directory.exists() {
            continue;
        }
        let mut known = Map::new();
        for file in info {
            known.extend(text(&directory.join(file)).map(|text| (file.to_string(), json!(text))));
        }
        for file in numbers {
            let number = number(&directory.join(file)).filter(|number| *number != 0);
            known.extend(number.map(|number| (file.to_string(), json!(number))));
        }
        stats.insert(info_name.to_string(), Value::Object(known));
        stats.extend(line(&of_root, kind).map(|line| (root_name.to_string(), json!(line))));
        stats.extend(line(&schemata, kind).map(|line| (name.to_string(), json!(line))));
    }
    if !schemata.is_empty() {
        stats.insert("schemata".to_string(), json!(schemata));
    }
    let nodes = nodes(&record.monitor.as_ref().unwrap_or(group).join("mon_data"));
    let features = lines(&root.join("info/L3_MON/mon_features"));
    let has = |feature: &str| features.iter().any(|line| line == feature);
    if has("mbm_total_bytes") || has("mbm_local_bytes") {
        let counters = counters(&nodes, &["mbm_total_bytes", "mbm_local_bytes"]);
        stats.insert("mbm_stats".to_string(), counters);
    }
    if has("llc_occupancy") {
        stats.insert("cmt_stats".to_string(), counters(&nodes, &["llc_occupancy"]));
    }
    stats
}

const L3: [&str; 3] = ["l3_cache_info", "l3_cache_schema_root", "l3_cache_schema"];
const MB: [&str; 3] = ["mem_bw_info", "mem_bw_schema_root", "mem_bw_schema"];

/// The directories of counters, one for each cache.
fn nodes(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut nodes: Vec<_> = entries.map(|entry| entry.path()).collect();
    nodes.sort();
    nodes
}

fn counters(nodes: &[PathBuf], names: &[&str]) -> Value {
    let of = |node: &PathBuf| {
        let numbers = names.iter().filter_map(|name| {
            let number = number(&node.join(name)).filter(|number| *number != 0)?;
            Some((name.to_string(), json!(number)))
        });
        Value::Object(numbers.collect())
    };
    Value::Array(nodes.iter().map(of).collect())
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_string())
}

fn number(path: &Path) -> Option<u64> {
    text(path)?.parse().ok()
}

fn lines(path: &Path) -> Vec<String> {
    let text = text(path).unwrap_or_default();
    text.lines().map(|line| line.trim().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroups::rdt::group::tests::Fake;

    #[test]
    fn everything_there_is() {
        let fake = Fake::new("stats");
        fake.group("gold");
        for (file, text) in [
            ("schemata", "    L3:0=fff\n    MB:0=100\n"),
            ("gold/schemata", "    L3:0=00f\n    MB:0= 20\n"),
            ("info/L3/cbm_mask", "fff\n"),
            ("info/L3/min_cbm_bits", "1\n"),
            ("info/L3/num_closids", "16\n"),
            ("info/MB/bandwidth_gran", "10\n"),
            ("info/MB/delay_linear", "1\n"),
            ("info/MB/min_bandwidth", "10\n"),
            ("info/MB/num_closids", "8\n"),
            ("info/L3_MON/mon_features", "llc_occupancy\nmbm_total_bytes\n"),
            ("gold/mon_groups/box/mon_data/mon_L3_00/llc_occupancy", "5\n"),
            ("gold/mon_groups/box/mon_data/mon_L3_00/mbm_total_bytes", "Unavailable\n"),
        ] {
            let path = fake.root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let record = fake.make(json!({"closID": "gold", "enableMonitoring": true})).unwrap();
        let want = json!({
            "l3_cache_info": {"cbm_mask": "fff", "min_cbm_bits": 1, "num_closids": 16},
            "l3_cache_schema_root": "L3:0=fff",
            "l3_cache_schema": "L3:0=00f",
            "mem_bw_info": {
                "bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": 8},
            "mem_bw_schema_root": "MB:0=100",
            "mem_bw_schema": "MB:0= 20",
            "schemata": ["L3:0=00f", "MB:0= 20"],
            "mbm_stats": [{}],
            "cmt_stats": [{"llc_occupancy": 5}],
        });
        assert_eq!(Value::Object(read(&record)), want);
    }
}
