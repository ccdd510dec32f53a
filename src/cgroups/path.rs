//! Where a container's cgroup is.

use std::path::{Path, PathBuf};

use crate::host::Hierarchy;
use crate::resolve::inside;

/// Returns the directory for the container in one hierarchy.
///
/// An absolute `cgroupsPath` counts from the root of the hierarchy (CGP-04). A relative one, and
/// the id where there is none, count from a place that the runtime chooses (CGP-05, CGP-07): as
/// in runc, below the runtime's own cgroup on v1 and beside it on v2, where a cgroup with
/// processes of its own cannot have limited children.
pub(super) fn directory(path: Option<&Path>, id: &str, hierarchy: &Hierarchy, v2: bool) -> PathBuf {
    let path = path.filter(|path| !path.as_os_str().is_empty());
    let base = match path {
        Some(path) if path.is_absolute() => Path::new(""),
        _ if v2 => hierarchy.own.parent().unwrap_or(&hierarchy.own),
        _ => &hierarchy.own,
    };
    hierarchy.mount.join(inside(base)).join(inside(path.unwrap_or(Path::new(id))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let hierarchy = |own: &str| Hierarchy {
            controllers: vec![],
            mount: "/sys/fs/cgroup/x".into(),
            own: own.into(),
        };
        for (path, own, v2, want) in [
            (Some("/a/b"), "/s/u", false, "a/b"),
            (Some("/a/b"), "/s/u", true, "a/b"),
            (Some("a/b"), "/s/u", false, "s/u/a/b"),
            (Some("a/b"), "/s/u", true, "s/a/b"),
            (None, "/s/u", false, "s/u/box"),
            (None, "/s/u", true, "s/box"),
            (None, "/", true, "box"),
            (Some(""), "/", false, "box"),
            (Some("/../../x"), "/s", false, "x"),
            (Some("a/../../x"), "/s", false, "s/x"),
        ] {
            let got = directory(path.map(Path::new), "box", &hierarchy(own), v2);
            assert_eq!(got, Path::new("/sys/fs/cgroup/x").join(want), "{path:?} from {own}");
        }
    }
}
