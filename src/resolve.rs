//! The only place where a path that a config or an image names becomes a descriptor.
//!
//! Such a path is a claim. The image may hold a link at any of its components, and another
//! container that shares a volume may exchange a component for a link while we look (the class
//! of CVE-2019-18837, CVE-2021-30465, CVE-2024-45310). So the kernel resolves it in one step
//! below an open root, openat2(2) with `RESOLVE_IN_ROOT`; what is missing is made in a directory
//! that is already open; and every later step works on the descriptor.
//!
//! Where a sandbox lacks openat2 (it answers ENOSYS), and wherever a component has to be made,
//! [`walk`] takes one component at a time instead. It keeps every directory on the way open, so
//! `..` never asks the file system, and it reads links itself, so none can leave the root.

mod walk;

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};

use crate::sys::stat::kind;
use walk::{PEEK, step_by_step, walk};

/// How often a lookup is repeated that openat2 could not finish because of concurrent renames
/// (EAGAIN). Somebody who renames faster than that gets an error, never a weaker lookup.
const RETRIES: usize = 64;

/// The inode of the root of every procfs: `PROC_ROOT_INO` of the kernel.
pub const PROC_ROOT_INODE: u64 = 1;

/// Mode of a directory made for a mount point; runc's.
const DIRECTORY_MODE: Mode = Mode::from_bits_truncate(0o755);

/// What to do about components that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// ENOENT.
    Fail,
    /// Make all of them, as directories.
    MakeDirectory,
    /// Make the last one as an empty file, those before it as directories.
    MakeFile,
}

/// The root below which paths are resolved.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

impl Root {
    /// Takes over `fd`, an open directory, as the root.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Opens `path` with `flags`; links count from the root and cannot leave it.
    ///
    /// # Errors
    /// Those of openat2(2); EAGAIN when the path was renamed under us again and again.
    pub fn open(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        match self.lookup(path, flags, ResolveFlag::empty()) {
            Err(Errno::ENOSYS) => walk(self.fd.as_fd(), path, Missing::Fail, flags),
            other => other,
        }
    }

    /// Opens `path` as `O_PATH` without following any link and without entering any mount.
    ///
    /// For `/proc` and `/sys`: a link or a mount there is an attack (CVE-2019-19921,
    /// CVE-2023-27561).
    ///
    /// # Errors
    /// ELOOP for a link, EXDEV for a mount, else those of openat2(2).
    pub fn open_plain(&self, path: &Path) -> nix::Result<OwnedFd> {
        open_beneath(self.fd.as_fd(), relative(path), OFlag::O_PATH)
    }

    /// Opens `path` as `O_PATH` if no component of it is a link: what is there is what it names.
    ///
    /// # Errors
    /// ELOOP for a link, ENOSYS where a sandbox lacks openat2, else those of openat2(2).
    pub fn open_without_links(&self, path: &Path) -> nix::Result<OwnedFd> {
        self.lookup(path, OFlag::O_PATH, ResolveFlag::RESOLVE_NO_SYMLINKS)
    }

    /// As [`Root::open_plain`] after making the last component, a directory, if it is missing;
    /// says whether it was.
    ///
    /// # Errors
    /// Those of [`Root::open_plain`] and mkdirat(2).
    pub fn open_plain_or_make(&self, path: &Path) -> nix::Result<(OwnedFd, bool)> {
        match self.open_plain(path) {
            Err(Errno::ENOENT) => {}
            other => return other.map(|fd| (fd, false)),
        }
        let name = path.file_name().ok_or(Errno::EINVAL)?;
        let parent = self.open_plain(path.parent().unwrap_or(Path::new("/")))?;
        match mkdirat(&parent, name, DIRECTORY_MODE) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
        open_beneath(parent.as_fd(), Path::new(name), OFlag::O_PATH).map(|fd| (fd, true))
    }

    /// Opens the directory `path` as `O_PATH` after making what is missing of it; says whether its
    /// last component was, which may be no link.
    ///
    /// # Errors
    /// ELOOP for a link, else those of [`Root::open_making`] and mkdirat(2).
    pub fn open_last_plain_or_make(&self, path: &Path) -> nix::Result<(OwnedFd, bool)> {
        let (parent, name) = self.open_parent(path, Missing::MakeDirectory)?;
        let found = openat(&parent, name, PEEK, Mode::empty());
        let made = matches!(found, Err(Errno::ENOENT));
        let found = if made {
            match mkdirat(&parent, name, DIRECTORY_MODE) {
                Ok(()) | Err(Errno::EEXIST) => openat(&parent, name, PEEK, Mode::empty())?,
                Err(errno) => return Err(errno),
            }
        } else {
            found?
        };
        match kind(&fstat(&found)?) {
            SFlag::S_IFLNK => Err(Errno::ELOOP),
            _ => Ok((found, made)),
        }
    }

    /// Opens `path` as `O_PATH` after making what is missing of it; says whether it was.
    ///
    /// # Errors
    /// Those of openat2(2), mkdirat(2) and openat(2).
    pub fn open_or_make(&self, path: &Path, missing: Missing) -> nix::Result<(OwnedFd, bool)> {
        match self.lookup(path, OFlag::O_PATH, ResolveFlag::empty()) {
            Err(Errno::ENOENT) => self.make(path, missing),
            Err(Errno::ENOSYS) => match walk(self.fd.as_fd(), path, Missing::Fail, OFlag::O_PATH) {
                Err(Errno::ENOENT) => self.make(path, missing),
                other => other.map(|fd| (fd, false)),
            },
            other => other.map(|fd| (fd, false)),
        }
    }

    fn make(&self, path: &Path, missing: Missing) -> nix::Result<(OwnedFd, bool)> {
        walk(self.fd.as_fd(), path, missing, OFlag::O_PATH).map(|fd| (fd, true))
    }

    /// As [`Root::open_or_make`] for a caller to whom it is all the same.
    ///
    /// # Errors
    /// Those of openat2(2), mkdirat(2) and openat(2).
    pub fn open_making(&self, path: &Path, missing: Missing) -> nix::Result<OwnedFd> {
        self.open_or_make(path, missing).map(|(fd, _)| fd)
    }

    /// Opens the directory above `path`, making it if asked to, and returns the last component.
    ///
    /// # Errors
    /// EINVAL when `path` has no last component, else those of [`Root::open_making`].
    pub fn open_parent<'a>(
        &self,
        path: &'a Path,
        missing: Missing,
    ) -> nix::Result<(OwnedFd, &'a OsStr)> {
        let name = path.file_name().ok_or(Errno::EINVAL)?;
        let parent = self.open_making(path.parent().ok_or(Errno::EINVAL)?, missing)?;
        Ok((parent, name))
    }

    fn lookup(&self, path: &Path, flags: OFlag, more: ResolveFlag) -> nix::Result<OwnedFd> {
        let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS | more;
        lookup(self.fd.as_fd(), path, flags, resolve)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Opens `name` below `dir` without following any link and without entering any mount.
///
/// # Errors
/// ELOOP for a link, EXDEV for a mount or a `..` that leaves `dir`, else those of openat2(2).
pub fn open_beneath<P>(dir: BorrowedFd<'_>, name: &P, flags: OFlag) -> nix::Result<OwnedFd>
where
    P: AsRef<Path> + ?Sized,
{
    let resolve = ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_MAGICLINKS
        | ResolveFlag::RESOLVE_NO_XDEV;
    match lookup(dir, name.as_ref(), flags, resolve) {
        Err(Errno::ENOSYS) => step_by_step(dir, name.as_ref(), flags),
        other => other,
    }
}

fn lookup(
    dir: BorrowedFd<'_>,
    path: &Path,
    flags: OFlag,
    resolve: ResolveFlag,
) -> nix::Result<OwnedFd> {
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve);
    // An empty path is the root itself: "/" with its leading slash taken off.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    for _ in 0..RETRIES {
        match openat2(dir, path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            other => return other,
        }
    }
    Err(Errno::EAGAIN)
}

/// The path, from wherever it is joined to, with `.` and `..` taken out by name alone: nothing in it
/// leads above where it begins (CGP-14).
#[must_use]
pub fn inside(path: &Path) -> PathBuf {
    let mut inside = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => inside.push(name),
            Component::ParentDir => {
                inside.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    inside
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A directory below the target directory that is removed with the value.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("orlop-{}-{name}", std::process::id()));
            fs::create_dir_all(dir.join("root/a/b")).unwrap();
            fs::create_dir_all(dir.join("outside")).unwrap();
            fs::write(dir.join("root/a/file"), "inside").unwrap();
            fs::write(dir.join("outside/file"), "outside").unwrap();
            for (link, target) in [
                ("rel", "a/b"),
                ("abs", "/a"),
                ("up", "../../../../outside"),
                ("far", "/outside"),
                ("loop", "loop"),
                ("dangling", "/made/here"),
                ("a/b/parent", "../file"),
            ] {
                symlink(target, dir.join("root").join(link)).unwrap();
            }
            Self(dir)
        }

        fn root(&self) -> OwnedFd {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
            nix::fcntl::open(&self.0.join("root"), flags, Mode::empty()).unwrap()
        }

        fn name(&self, fd: nix::Result<OwnedFd>) -> Result<String, Errno> {
            use std::os::fd::AsRawFd;
            let fd = fd?;
            let path = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
            Ok(path.strip_prefix(&self.0).unwrap().display().to_string())
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_kernel_and_the_walk_agree() {
        let tree = Tree::new("agree");
        let root = Root::new(tree.root());
        for (path, want) in [
            ("/", Ok("root")),
            ("", Ok("root")),
            ("a/file", Ok("root/a/file")),
            ("/a/./b/../file", Ok("root/a/file")),
            ("../../a", Ok("root/a")),
            ("/rel/parent", Ok("root/a/file")),
            ("/abs/b", Ok("root/a/b")),
            ("/up", Err(Errno::ENOENT)),
            ("/far/file", Err(Errno::ENOENT)),
            ("/loop", Err(Errno::ELOOP)),
            ("/dangling", Err(Errno::ENOENT)),
            ("/a/file/b", Err(Errno::ENOTDIR)),
            ("/none/b", Err(Errno::ENOENT)),
        ] {
            let want = want.map(str::to_string);
            let path = Path::new(path);
            let kernel = tree.name(root.open(path, OFlag::O_PATH));
            assert_eq!(kernel, want, "openat2 {}", path.display());
            let walked = tree.name(walk(root.as_fd(), path, Missing::Fail, OFlag::O_PATH));
            assert_eq!(walked, want, "walk {}", path.display());
        }
    }

    #[test]
    fn the_last_link_is_not_followed_if_so_asked() {
        let tree = Tree::new("last");
        let root = Root::new(tree.root());
        let read = OFlag::O_RDONLY | OFlag::O_NOFOLLOW;
        for (path, flags, want) in [
            ("/rel", OFlag::O_PATH | OFlag::O_NOFOLLOW, Ok("root/rel")),
            ("/rel", read, Err(Errno::ELOOP)),
            ("/rel/parent", read, Err(Errno::ELOOP)),
            ("/abs/file", read, Ok("root/a/file")),
            ("/a", read, Ok("root/a")),
        ] {
            let want = want.map(str::to_string);
            let path = Path::new(path);
            assert_eq!(tree.name(root.open(path, flags)), want, "openat2 {}", path.display());
            let walked = tree.name(walk(root.as_fd(), path, Missing::Fail, flags));
            assert_eq!(walked, want, "walk {}", path.display());
        }
    }

    #[test]
    fn what_is_missing_is_made_inside() {
        let tree = Tree::new("made");
        let root = Root::new(tree.root());
        for (path, missing, want) in [
            ("/x/y", Missing::MakeDirectory, Ok("root/x/y")),
            ("/dangling/z", Missing::MakeDirectory, Ok("root/made/here/z")),
            ("/up/z", Missing::MakeDirectory, Ok("root/outside/z")),
            ("/far/f", Missing::MakeFile, Ok("root/outside/f")),
            ("/a/file/f", Missing::MakeFile, Err(Errno::ENOTDIR)),
            ("/loop/f", Missing::MakeFile, Err(Errno::ELOOP)),
        ] {
            let got = tree.name(root.open_making(Path::new(path), missing));
            assert_eq!(got, want.map(str::to_string), "{path}");
        }
        assert!(tree.0.join("root/outside/f").is_file());
        assert!(!tree.0.join("outside/z").exists());
        assert_eq!(fs::read_to_string(tree.0.join("outside/file")).unwrap(), "outside");
    }

    #[test]
    fn magic_links_lead_nowhere() {
        let proc = nix::fcntl::open("/proc", OFlag::O_PATH, Mode::empty()).unwrap();
        let root = Root::new(proc);
        for (path, want) in [
            ("/self/exe", Err(Errno::ELOOP)),
            ("/self/root/etc", Err(Errno::ELOOP)),
            ("/self/stat", Ok(())),
            ("/mounts", Ok(())),
        ] {
            let path = Path::new(path);
            assert_eq!(root.open(path, OFlag::O_PATH).map(drop), want, "{}", path.display());
            let walked = walk(root.as_fd(), path, Missing::Fail, OFlag::O_PATH).map(drop);
            assert_eq!(walked, want, "walk {}", path.display());
        }
    }

    #[test]
    fn beneath_follows_nothing() {
        let tree = Tree::new("beneath");
        let root = tree.root();
        for (path, want) in [
            ("a/file", Ok(())),
            ("rel", Err(Errno::ELOOP)),
            ("rel/parent", Err(Errno::ELOOP)),
            ("a/../a", Ok(())),
            ("../outside", Err(Errno::EXDEV)),
        ] {
            let got = open_beneath(root.as_fd(), path, OFlag::O_PATH).map(drop);
            assert_eq!(got, want, "openat2 {path}");
        }
        for (path, want) in [
            ("a/file", Ok(())),
            ("rel", Err(Errno::ELOOP)),
            ("rel/parent", Err(Errno::ELOOP)),
            ("../outside", Err(Errno::EXDEV)),
        ] {
            let got = step_by_step(root.as_fd(), Path::new(path), OFlag::O_PATH).map(drop);
            assert_eq!(got, want, "step by step {path}");
        }
        let proc = nix::fcntl::open("/", OFlag::O_PATH, Mode::empty()).unwrap();
        assert_eq!(open_beneath(proc.as_fd(), "proc", OFlag::O_PATH).unwrap_err(), Errno::EXDEV);
        let stepped = step_by_step(proc.as_fd(), Path::new("proc"), OFlag::O_PATH);
        assert_eq!(stepped.unwrap_err(), Errno::EXDEV);
    }
}
