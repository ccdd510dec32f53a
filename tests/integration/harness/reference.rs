//! runc, to compare with.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The oldest version that is worth a comparison.
const OLDEST: (u32, u32) = (1, 4);

/// The reference that `make reference` has built, or a new enough runc of this machine. Says once
/// which it is, or why there is none.
pub fn runc() -> Option<PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(find).clone()
}

fn find() -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/reference/runc");
    let mut reason = "there is no runc (make reference builds one)".to_string();
    for path in [built, PathBuf::from("runc")] {
        let Ok(output) = Command::new(&path).arg("--version").output() else { continue };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let first = text.lines().next().unwrap_or_default();
        if version(first).is_some_and(|version| version >= OLDEST) {
            println!("compared with {first} ({})", path.display());
            return Some(path);
        }
        reason = format!("{first} is older than {}.{}", OLDEST.0, OLDEST.1);
    }
    println!("not compared with runc: {reason}");
    None
}

/// The numbers of `runc version 1.5.2`.
fn version(line: &str) -> Option<(u32, u32)> {
    let mut numbers = line.strip_prefix("runc version ")?.split(['.', '-', '+']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
