//! The names of units: which one a container gets, and where in the tree it is.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// What the prefix of a scope is when nobody says.
const PREFIX: &str = crate::cgroups::PREFIX;
/// The kernel's limit for a name in a directory is systemd's for the name of a unit.
const MAX_LENGTH: usize = 255;

/// The slice, if one was asked for, and the name of the unit: from `slice:prefix:name` (BXG-04,
/// BXG-05), or the container's `id` when there is nothing (BXG-06).
///
/// # Errors
/// For another form, and for names that systemd does not take.
pub(super) fn unit(path: Option<&Path>, id: &str) -> Result<(Option<String>, String)> {
    let path = path.map(Path::to_string_lossy).filter(|path| !path.is_empty());
    let Some(path) = path else {
        return Ok((None, scope(&format!("{PREFIX}-{id}.scope"))?));
    };
    let fields: Vec<&str> = path.split(':').collect();
    let [slice, prefix, name] = fields.as_slice() else {
        bail!(
            "linux.cgroupsPath: expected cgroupsPath to be of format \"slice:prefix:name\" for \
            systemd cgroups, got {path:?} instead"
        )
    };
    ensure!(
        !name.ends_with(".slice"),
        "linux.cgroupsPath: {name:?} is a slice, and systemd puts no process into one"
    );
    let slice = (!slice.is_empty()).then(|| slice.to_string());
    if let Some(slice) = &slice {
        expand(slice)?;
    }
    Ok((slice, scope(&format!("{prefix}-{name}.scope"))?))
}

fn scope(name: &str) -> Result<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    ensure!(
        name.bytes().all(allowed) && name.len() <= MAX_LENGTH,
        "linux.cgroupsPath: {name:?} can be no name of a unit of systemd"
    );
    Ok(name.to_string())
}

/// The path of a slice below the root: `a-b.slice` is in `a.slice` (systemd.slice(5)).
///
/// # Errors
/// For what is no name of a slice.
pub(super) fn expand(slice: &str) -> Result<PathBuf> {
    let wrong = || format!("linux.cgroupsPath: invalid slice name: {slice:?}");
    let name = slice.strip_suffix(".slice").filter(|name| !name.is_empty()).with_context(wrong)?;
    scope(slice)?;
    if name == "-" {
        return Ok(PathBuf::new());
    }
    let mut path = PathBuf::new();
    let mut above = String::new();
    for part in name.split('-') {
        ensure!(!part.is_empty(), wrong());
        above += part;
        path.push(format!("{above}.slice"));
        above += "-";
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        for (path, want) in [
            (None, Ok((None, "orlop-box.scope"))),
            (Some(""), Ok((None, "orlop-box.scope"))),
            (Some("system.slice:docker:12"), Ok((Some("system.slice"), "docker-12.scope"))),
            (Some(":libpod:12"), Ok((None, "libpod-12.scope"))),
            (Some("a-b.slice::12"), Ok((Some("a-b.slice"), "-12.scope"))),
            (Some("/a/b"), Err("expected cgroupsPath to be of format \"slice:prefix:name\" for")),
            (Some("a.slice:b"), Err("got \"a.slice:b\" instead")),
            (Some("a.slice:b:c:d"), Err("got \"a.slice:b:c:d\" instead")),
            (Some("a.slice:b:c.slice"), Err("\"c.slice\" is a slice, and systemd puts no")),
            (Some("a.slice:b:c d"), Err("\"b-c d.scope\" can be no name of a unit")),
            (Some("a.slice:../b:c"), Err("can be no name of a unit")),
            (Some("a:b:c"), Err("invalid slice name: \"a\"")),
            (Some(".slice:b:c"), Err("invalid slice name")),
        ] {
            match (unit(path.map(Path::new), "box"), want) {
                (Ok((slice, name)), Ok(want)) => {
                    assert_eq!((slice.as_deref(), name.as_str()), want, "{path:?}");
                }
                (Err(error), Err(want)) => {
                    assert!(error.to_string().contains(want), "{path:?}: {error}");
                }
                (got, want) => panic!("{path:?}: got {got:?}, want {want:?}"),
            }
        }
    }

    #[test]
    fn slices() {
        for (slice, want) in [
            ("system.slice", Some("system.slice")),
            ("a-b-c.slice", Some("a.slice/a-b.slice/a-b-c.slice")),
            ("-.slice", Some("")),
            ("a--b.slice", None),
            ("-a.slice", None),
            ("a-.slice", None),
            ("a/b.slice", None),
            ("..slice", Some("..slice")),
            ("a", None),
            (".slice", None),
            ("", None),
        ] {
            assert_eq!(expand(slice).ok(), want.map(PathBuf::from), "{slice}");
        }
    }
}
