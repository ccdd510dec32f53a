//! Rules about `linux.resources`, and the document of that form that `update` reads.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxInterfacePriority, LinuxMemory,
    LinuxResources, LinuxThrottleDevice, LinuxWeightDevice,
};
use serde_json::{Value, json};

use super::check::{device_rule, each};
use super::{MAX_SIZE, names, presence, typed, utf8};

/// Checks the values of limits.
pub(super) fn check(resources: &LinuxResources) -> Result<()> {
    each("linux.resources.devices", resources.devices(), device_rule)?;
    if let Some(memory) = resources.memory() {
        self::memory(memory)?;
    }
    if let Some(cpu) = resources.cpu() {
        self::cpu(cpu)?;
    }
    if let Some(block_io) = resources.block_io() {
        self::block_io(block_io)?;
    }
    each("linux.resources.hugepageLimits", resources.hugepage_limits(), hugepages)?;
    if let Some(network) = resources.network() {
        each("linux.resources.network.priorities", network.priorities(), priority)?;
    }
    for (name, limits) in resources.rdma().iter().flatten() {
        let path = format!("linux.resources.rdma.{name}");
        one_word(&path, name)?;
        let given = limits.hca_handles().is_some() || limits.hca_objects().is_some();
        ensure!(given, "{path}: needs hcaHandles, hcaObjects, or both");
    }
    resources.unified().iter().flatten().try_for_each(|(file, _)| unified(file))
}

fn memory(memory: &LinuxMemory) -> Result<()> {
    let swappiness = swappiness(memory).unwrap_or(0);
    let path = "linux.resources.memory.swappiness";
    ensure!(swappiness <= 100, "{path}: {swappiness} is not in 0..=100");
    Ok(())
}

/// How eagerly memory is swapped. Docker's word for «as usual» is -1, which has no sign here.
#[must_use]
pub fn swappiness(memory: &LinuxMemory) -> Option<u64> {
    memory.swappiness().filter(|swappiness| *swappiness != u64::MAX)
}

fn cpu(cpu: &LinuxCpu) -> Result<()> {
    if let Some(idle) = cpu.idle() {
        ensure!(matches!(idle, 0 | 1), "linux.resources.cpu.idle: {idle} is neither 0 nor 1");
    }
    let quota = cpu.quota().and_then(|quota| u64::try_from(quota).ok()).filter(|quota| *quota > 0);
    if let (Some(burst), Some(quota)) = (cpu.burst(), quota) {
        let path = "linux.resources.cpu.burst";
        ensure!(burst <= quota, "{path}: {burst} is above the quota of {quota}");
    }
    Ok(())
}

fn block_io(block_io: &LinuxBlockIo) -> Result<()> {
    let path = "linux.resources.blockIO";
    weight(&format!("{path}.weight"), block_io.weight())?;
    weight(&format!("{path}.leafWeight"), block_io.leaf_weight())?;
    each(&format!("{path}.weightDevice"), block_io.weight_device(), weight_device)?;
    for (name, list) in [
        ("ReadBps", block_io.throttle_read_bps_device()),
        ("WriteBps", block_io.throttle_write_bps_device()),
        ("ReadIOPS", block_io.throttle_read_iops_device()),
        ("WriteIOPS", block_io.throttle_write_iops_device()),
    ] {
        each(&format!("{path}.throttle{name}Device"), list, throttle)?;
    }
    Ok(())
}

/// 0 means unset.
fn weight(path: &str, weight: Option<u16>) -> Result<()> {
    let weight = weight.unwrap_or(0);
    ensure!(weight == 0 || (10..=1000).contains(&weight), "{path}: {weight} is not in 10..=1000");
    Ok(())
}

fn weight_device(path: &str, device: &LinuxWeightDevice) -> Result<()> {
    numbers(path, device.major(), device.minor())?;
    let given = device.weight().is_some() || device.leaf_weight().is_some();
    ensure!(given, "{path}: needs weight, leafWeight, or both");
    weight(&format!("{path}.weight"), device.weight())?;
    weight(&format!("{path}.leafWeight"), device.leaf_weight())
}

fn throttle(path: &str, device: &LinuxThrottleDevice) -> Result<()> {
    numbers(path, device.major(), device.minor())
}

fn numbers(path: &str, major: i64, minor: i64) -> Result<()> {
    for (name, number) in [("major", major), ("minor", minor)] {
        let known = u32::try_from(number).is_ok();
        ensure!(known, "{path}.{name}: {number} is no device number");
    }
    Ok(())
}

/// A number and a unit, as in the names of the kernel's files (HUG-04).
fn hugepages(path: &str, limit: &LinuxHugepageLimit) -> Result<()> {
    let size = limit.page_size();
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit));
    let is_number = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() && !text.starts_with('0')
    };
    let known = number.is_some_and(is_number);
    ensure!(known, "{path}.pageSize: {size:?} is no size as in 64KB, 2MB or 1GB");
    ensure!(limit.limit() >= 0, "{path}.limit: {} is below 0", limit.limit());
    Ok(())
}

fn priority(path: &str, entry: &LinuxInterfacePriority) -> Result<()> {
    one_word(&format!("{path}.name"), entry.name())
}

/// The kernel takes it for a word of a line.
fn one_word(path: &str, word: &str) -> Result<()> {
    let blank = |c: char| c.is_whitespace() || c.is_control();
    ensure!(!word.is_empty() && !word.contains(blank), "{path}: {word:?} is not one word");
    Ok(())
}

/// The name of a file in the container's cgroup, and nowhere else.
fn unified(file: &str) -> Result<()> {
    let path = "linux.resources.unified";
    ensure!(
        !file.contains('/'),
        "{path}: unified resource {file:?} must be a file name (no slashes)"
    );
    let (controller, parameter) = file.split_once('.').unwrap_or((file, ""));
    let named = !controller.is_empty() && !parameter.is_empty() && !file.contains("..");
    ensure!(
        named && !file.contains('\0'),
        "{path}: unified resource {file:?} must be in the form CONTROLLER.PARAMETER"
    );
    Ok(())
}

/// What is passed over, with the reason.
pub(super) fn warnings(resources: &LinuxResources) -> Option<String> {
    let memory = resources.memory().as_ref()?;
    let kernel = memory.kernel().or(memory.kernel_tcp());
    kernel.map(|_| "Kernel memory settings are ignored and will be removed".to_string())
}

/// Reads a document of resources from a file, or with `-` from standard input.
///
/// # Errors
/// Those of reading, and those of [`read`].
pub fn load(path: &Path) -> Result<(LinuxResources, Vec<String>)> {
    let mut bytes = Vec::new();
    let mut source: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(std::io::stdin()),
        false => Box::new(File::open(path)?),
    };
    source.by_ref().take(MAX_SIZE).read_to_end(&mut bytes)?;
    read(&bytes)
}

/// Reads a document of resources. Names of members may be written in any case, as for runc, and
/// device rules are nothing that `update` changes (BXD-11).
///
/// # Errors
/// What is no such document, with the path that the member has in `config.json`.
pub fn read(bytes: &[u8]) -> Result<(LinuxResources, Vec<String>)> {
    // runc reads one document and does not look at what follows.
    let mut documents = serde_json::Deserializer::from_str(utf8(bytes)?).into_iter::<Value>();
    let mut tree = documents.next().context("empty")?.context("not JSON")?;
    ensure!(tree.is_object(), "the document is not an object");
    names::correct(&mut tree);
    if let Some(members) = tree.as_object_mut() {
        members.remove("devices");
    }
    let mut tree = json!({"linux": {"resources": tree}});
    presence::drop_null(&mut tree);
    presence::drop_unset_pids(&mut tree);
    presence::check_resources(&tree)?;
    let document: Document = typed(tree)?;
    let resources = document.linux.resources;
    check(&resources)?;
    let warnings = warnings(&resources).into_iter().collect();
    Ok((resources, warnings))
}

#[derive(serde::Deserialize)]
struct Document {
    linux: Section,
}

#[derive(serde::Deserialize)]
struct Section {
    resources: LinuxResources,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tests::{accepted, refused};

    #[test]
    fn values() {
        let resources = |change| json!({"linux": {"resources": change}});
        let block_io = |change| json!({"linux": {"resources": {"blockIO": change}}});
        let cpu = |change| json!({"linux": {"resources": {"cpu": change}}});
        refused([
            (resources(json!({"memory": {"swappiness": 101}})), "memory.swappiness: 101 is not"),
            (cpu(json!({"idle": 2})), "linux.resources.cpu.idle: 2 is neither"),
            (cpu(json!({"idle": -1})), "linux.resources.cpu.idle: -1 is neither"),
            (cpu(json!({"burst": 11, "quota": 10})), "cpu.burst: 11 is above the quota of 10"),
            (block_io(json!({"weight": 9})), "linux.resources.blockIO.weight: 9 is not"),
            (block_io(json!({"leafWeight": 1001})), "blockIO.leafWeight: 1001 is not"),
            (
                block_io(json!({"weightDevice": [{"major": 1, "minor": 1}]})),
                "blockIO.weightDevice[0]: needs weight, leafWeight, or both",
            ),
            (
                block_io(json!({"throttleReadIOPSDevice": [{"major": -1, "minor": 1, "rate": 1}]})),
                "blockIO.throttleReadIOPSDevice[0].major: -1 is no device number",
            ),
            (
                resources(json!({"network": {"priorities": [{"name": "a b", "priority": 1}]}})),
                "network.priorities[0].name: \"a b\" is not one word",
            ),
            (resources(json!({"rdma": {"mlx": {}}})), "rdma.mlx: needs hcaHandles, hcaObjects"),
            (resources(json!({"unified": {"a/b": "1"}})), "must be a file name (no slashes)"),
            (resources(json!({"unified": {"..": "1"}})), "in the form CONTROLLER.PARAMETER"),
            (resources(json!({"unified": {"memory": "1"}})), "in the form CONTROLLER.PARAMETER"),
            (resources(json!({"unified": {"memory.": "1"}})), "in the form CONTROLLER.PARAMETER"),
        ]);
        for size in ["64kB", "2mb", "2M", "B", "MB", "02MB", "2.5MB", "../2MB"] {
            let limits = json!({"hugepageLimits": [{"pageSize": size, "limit": 1}]});
            let change = json!({"linux": {"resources": limits}});
            refused([(change, "hugepageLimits[0].pageSize: ")]);
        }
        accepted([
            resources(json!({"memory": {"swappiness": u64::MAX, "kernel": 1}})),
            cpu(json!({"burst": 11, "quota": -1, "idle": 1})),
            block_io(json!({"weight": 0, "weightDevice": []})),
            resources(json!({"hugepageLimits": [{"pageSize": "16GB", "limit": 0}]})),
            resources(json!({"unified": {"memory.high": "1", "cgroup.max.depth": "3"}})),
        ]);
    }

    #[test]
    fn documents_of_update() {
        let read = |text: &str| read(text.as_bytes());
        let (resources, warnings) = read(
            r#"{"CPU": {"Cpus": "0", "SHARES": 5}, "Memory": {"kernelTcp": 1}, "pids": {},
                "devices": [{"nonsense": 1}], "unified": {"Memory.High": "1"}, "x": 1} {"#,
        )
        .unwrap();
        let cpu = resources.cpu().as_ref().unwrap();
        assert_eq!((cpu.cpus().as_deref(), cpu.shares()), (Some("0"), Some(5)));
        assert!(resources.pids().is_none() && resources.devices().is_none());
        assert!(resources.unified().as_ref().unwrap().contains_key("Memory.High"));
        assert_eq!(warnings.len(), 1);
        for (text, want) in [
            ("", "empty"),
            ("{", "not JSON"),
            ("[]", "not an object"),
            (r#"{"memory": 1}"#, "linux.resources.memory: "),
            (r#"{"memory": {"limit": "x"}}"#, "linux.resources.memory.limit: "),
            (r#"{"cpu": {"shares": -1}}"#, "linux.resources.cpu.shares: "),
            (r#"{"blockIO": {"weight": 5}}"#, "linux.resources.blockIO.weight: 5"),
            (r#"{"hugepageLimits": [{"limit": 5}]}"#, "hugepageLimits[0].pageSize: required"),
        ] {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
