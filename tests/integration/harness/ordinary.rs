//! The runtime in the hands of an ordinary user, whom root becomes for it.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use serde_json::json;

use super::Case;
use super::process::copy_program;

/// `daemon`, whom every Debian has.
pub const ID: u32 = 1;

/// Who executes the runtime: somebody with these subordinate ids.
pub struct Ordinary {
    /// What stands in for `/etc/subuid` and `/etc/subgid`.
    subordinate: PathBuf,
}

impl Ordinary {
    /// Has the command executed by that user, in a mount namespace of its own where the
    /// subordinate ids are those of the test.
    #[expect(unsafe_code, reason = "pre_exec is how a child changes its user")]
    pub fn execute(&self, command: &mut Command) {
        let path = |path: &Path| CString::new(path.as_os_str().as_bytes()).expect("a path");
        let subordinate = path(&self.subordinate);
        let become_user = move || {
            unshare(CloneFlags::CLONE_NEWNS)?;
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
            for place in [c"/etc/subuid", c"/etc/subgid"] {
                let bind = MsFlags::MS_BIND;
                match mount(Some(subordinate.as_c_str()), place, None::<&str>, bind, None::<&str>) {
                    // Without the file there are no such ids.
                    Ok(()) | Err(nix::errno::Errno::ENOENT) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            setgroups(&[])?;
            setgid(Gid::from_raw(ID))?;
            setuid(Uid::from_raw(ID)).map_err(io::Error::from)
        };
        // SAFETY: only system calls are made, and nothing is allocated.
        unsafe { command.pre_exec(become_user) };
        command.env("USER", "daemon").env_remove("XDG_RUNTIME_DIR");
    }
}

/// A container as `spec --rootless` describes it, of an ordinary user who has all of its files.
pub fn case(words: &[&str]) -> Case {
    // A place that he can get to, wherever the checkout is.
    let mut case = Case::below(Path::new("/var/tmp"), words);
    let program = case.dir.join("orlop");
    copy_program(&case.runtime, &program);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("chmod");
    case.runtime = program;
    let subordinate = case.dir.join("subordinate");
    fs::write(&subordinate, "").expect("write the subordinate ids");
    case.user = Some(Ordinary { subordinate });
    case.namespace("network", None).namespace("user", Some(json!({"type": "user"})));
    let map = json!([{"containerID": 0, "hostID": ID, "size": 1}]);
    case.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    case.remove("/linux/cgroupsPath").remove("/linux/resources");
    case.set("/mounts/2/options", json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666"]));
    case.set(
        "/mounts/5",
        json!({"destination": "/sys", "type": "none", "source": "/sys",
               "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]}),
    );
    give(&case.dir, &case.rootfs());
    case
}

/// Gives the user these subordinate ids, as `first:count`.
pub fn subordinate(case: &Case, ranges: &[&str]) {
    let lines: String = ranges.iter().map(|range| format!("daemon:{range}\n")).collect();
    fs::write(case.dir.join("subordinate"), lines).expect("write the subordinate ids");
}

fn give(dir: &Path, rootfs: &Path) {
    chown(dir, Some(ID), Some(ID)).expect("chown");
    give_all(rootfs);
}

fn give_all(path: &Path) {
    std::os::unix::fs::lchown(path, Some(ID), Some(ID)).expect("lchown");
    if path.is_dir() && !path.is_symlink() {
        fs::read_dir(path)
            .expect("read a directory")
            .flatten()
            .for_each(|entry| give_all(&entry.path()));
    }
}
