//! Profiles that engines wrote, from the documents that are kept for the tests.

use std::fs;
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxSeccomp;
use serde_json::Value;

/// A profile and where it comes from.
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) profile: LinuxSeccomp,
}

/// All of them, each once.
pub(crate) fn of_engines() -> Vec<Named> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut paths = [files(&data.join("configs")), files(&data.join("seccomp"))].concat();
    paths.sort_unstable();
    let mut profiles: Vec<Named> = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).expect("read a document");
        let tree: Value = serde_json::from_str(&text).expect("a document");
        let seccomp = if tree.get("defaultAction").is_some() {
            Some(&tree)
        } else {
            tree.pointer("/linux/seccomp").filter(|value| !value.is_null())
        };
        let Some(seccomp) = seccomp else { continue };
        let profile: LinuxSeccomp = serde_json::from_value(seccomp.clone()).expect("a profile");
        if profiles.iter().all(|known| known.profile != profile) {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            profiles.push(Named { name, profile });
        }
    }
    assert!(profiles.len() >= 10, "only {} profiles", profiles.len());
    profiles
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("read a directory");
    entries.map(|entry| entry.expect("read a directory").path()).collect()
}
