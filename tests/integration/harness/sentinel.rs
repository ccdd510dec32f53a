//! Files of the host that no container may touch.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use orlop::sys::stat::mount_id;

/// A directory with a file and a directory in it, and what they look like.
pub struct Sentinel {
    /// Where it is.
    pub path: PathBuf,
    before: BTreeMap<PathBuf, String>,
}

impl Sentinel {
    /// Makes the directory.
    pub fn new(path: PathBuf) -> Self {
        fs::create_dir_all(path.join("dir")).expect("make a directory");
        fs::write(path.join("file"), "of the host").expect("write a file");
        for (name, mode) in [("dir", 0o711), ("file", 0o640)] {
            let permissions = fs::Permissions::from_mode(mode);
            fs::set_permissions(path.join(name), permissions).expect("chmod");
            chown(path.join(name), Some(12_345), Some(54_321)).expect("chown");
        }
        let before = look(&path);
        Self { path, before }
    }

    /// What has become different, if anything.
    pub fn changes(&self) -> Vec<String> {
        let now = look(&self.path);
        let all =
            self.before.keys().chain(now.keys().filter(|key| !self.before.contains_key(*key)));
        let different = all.filter(|key| self.before.get(*key) != now.get(*key));
        different
            .map(|key| {
                format!("{}: {:?} -> {:?}", key.display(), self.before.get(key), now.get(key))
            })
            .collect()
    }
}

/// Inode, mount, owner, mode, times of change, content. Whoever only looks changes none of them.
fn look(path: &Path) -> BTreeMap<PathBuf, String> {
    let mut seen = BTreeMap::new();
    let mut todo = vec![path.to_path_buf()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).expect("stat");
        let file = fs::File::open(&path).expect("open");
        let mount = mount_id(std::os::fd::AsFd::as_fd(&file)).expect("a mount");
        let content = match meta.is_dir() {
            true => String::new(),
            false => fs::read_to_string(&path).expect("read"),
        };
        if meta.is_dir() {
            let entries = fs::read_dir(&path).expect("read a directory").flatten();
            todo.extend(entries.map(|entry| entry.path()));
        }
        let (owner, times) = ((meta.uid(), meta.gid()), (meta.ctime(), meta.ctime_nsec()));
        let what =
            format!("{} {mount} {owner:?} {:o} {times:?} {content}", meta.ino(), meta.mode());
        seen.insert(path, what);
    }
    seen
}
