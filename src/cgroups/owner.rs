//! Whose a container's cgroup is: one that may make cgroups of its own, in a cgroup namespace with
//! a writable mount, gets the files that this takes, and no limits (CGO-01 to CGO-08).

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use nix::unistd::{Uid, chown};

/// The kernel's list of the files that may be given away: cgroups(7), Linux 4.15.
const LIST: &str = "/sys/kernel/cgroup/delegate";
/// What was in that list when it was new.
const OLD_LIST: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

/// Gives the cgroup at `directory` to a user.
///
/// # Errors
/// Those of chown(2).
pub(super) fn give(directory: &Path, owner: Uid) -> Result<()> {
    give_listed(directory, owner, Path::new(LIST))
}

fn give_listed(directory: &Path, owner: Uid, list: &Path) -> Result<()> {
    let list = match fs::read_to_string(list) {
        Err(error) if error.kind() == ErrorKind::NotFound => OLD_LIST.to_string(),
        other => other.with_context(|| format!("read {}", list.display()))?,
    };
    let context = |path: &Path| format!("give {} to uid {owner}", path.display());
    chown(directory, Some(owner), None).with_context(|| context(directory))?;
    // What is in it is part of the name of a file, not a way out.
    for name in list.lines().filter(|name| !name.is_empty() && !name.contains('/')) {
        let path = directory.join(name);
        match chown(&path, Some(owner), None) {
            // Its controller is not enabled here.
            Err(nix::errno::Errno::ENOENT) => {}
            other => other.with_context(|| context(&path))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn only_what_is_listed_is_given() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let directory = std::env::temp_dir().join(format!("orlop-owner-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let list = directory.join("list");
        let files = ["cgroup.procs", "cgroup.threads", "memory.max", "pids.max"];
        files.iter().for_each(|name| fs::write(directory.join(name), "").unwrap());
        let owned = || {
            let owned = |name: &&str| fs::metadata(directory.join(name)).unwrap().uid() == 4242;
            files.iter().copied().filter(|name| owned(name)).collect::<Vec<_>>()
        };
        // Without a list; one file of the old list is missing.
        give_listed(&directory, Uid::from_raw(4242), &list).unwrap();
        assert_eq!(owned(), ["cgroup.procs", "cgroup.threads"]);
        assert_eq!(fs::metadata(&directory).unwrap().uid(), 4242);
        fs::write(&list, "pids.max\nmissing\n../memory.max\n").unwrap();
        give_listed(&directory, Uid::from_raw(4242), &list).unwrap();
        assert_eq!(owned(), ["cgroup.procs", "cgroup.threads", "pids.max"]);
        fs::remove_dir_all(&directory).unwrap();
    }
}
