//! Makes the root file systems of the ready bundles, from this repository alone: the program
//! `inside`, and busybox where this machine has a static one.
#![expect(clippy::print_stdout, reason = "it says what it makes")]

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Where distributions put it.
const BUSYBOX: [&str; 4] =
    ["/bin/busybox", "/usr/bin/busybox", "/bin/busybox.static", "/usr/lib/busybox/busybox"];

/// Commands for which busybox gets a name.
const APPLETS: [&str; 24] = [
    "cat", "date", "df", "echo", "env", "free", "grep", "head", "hostname", "id", "ip", "kill",
    "ls", "mount", "ps", "pwd", "sh", "sleep", "stat", "touch", "true", "uname", "vi", "wc",
];

fn main() -> io::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles");
    for bundle in ["hello", "shell", "limits"] {
        let root = here.join(bundle).join("rootfs");
        make(&root)?;
        println!("{}", root.display());
    }
    Ok(())
}

fn make(root: &Path) -> io::Result<()> {
    for directory in ["bin", "dev", "etc", "proc", "root", "run", "sys", "tmp"] {
        fs::create_dir_all(root.join(directory))?;
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\n")?;
    replace(&program("inside")?, &root.join("bin/inside"))?;
    match BUSYBOX.iter().map(Path::new).find(|path| is_static(path)) {
        Some(busybox) => {
            replace(busybox, &root.join("bin/busybox"))?;
            APPLETS.iter().try_for_each(|name| link("busybox", &root.join("bin").join(name)))
        }
        None => link("inside", &root.join("bin/sh")),
    }
}

/// Another example, built beside this one.
fn program(name: &str) -> io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(name))
}

/// Does not write into a file that a container may be executing.
fn replace(from: &Path, to: &Path) -> io::Result<()> {
    let _ = fs::remove_file(to);
    fs::copy(from, to).map(drop)
}

fn link(target: &str, path: &Path) -> io::Result<()> {
    let _ = fs::remove_file(path);
    symlink(target, path)
}

/// A program that names no loader needs none: there is no `PT_INTERP` among the program headers
/// (elf(5), 64 bit, little-endian).
fn is_static(path: &Path) -> bool {
    let Ok(bytes) = fs::read(path) else { return false };
    let number = |at: usize, size: usize| {
        let field = bytes.get(at..at + size).unwrap_or_default();
        field.iter().rev().fold(0_usize, |number, byte| number << 8 | usize::from(*byte))
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    bytes.starts_with(b"\x7fELF\x02\x01")
        && (0..count).all(|index| number(table + index * size, 4) != 3)
}
