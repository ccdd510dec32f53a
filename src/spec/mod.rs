//! `config.json` as a document: found, read, checked. Nothing here asks the kernel to do anything.
//!
//! The document is parsed into a tree first and into the types of oci-spec from there, because
//! those types forget what the specification wants to know: whether a required member was
//! missing or zero. Rules about presence look at the tree ([`presence`]), rules about values at
//! the types ([`check`]), and what this version cannot do is refused by name ([`unsupported`]).

mod check;
pub mod defaults;
pub mod joining;
mod memory_policy;
mod names;
pub mod numbers;
mod presence;
mod process;
mod rdt;
pub mod resources;
pub mod seccomp;
pub mod state;
pub mod template;
mod unsupported;

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use oci_spec::runtime::{Mount, Spec};
use serde_json::Value;

/// The version of the runtime specification that the program follows.
pub const VERSION: &str = "1.3.0";

/// The name of the document in the bundle, fixed by the specification (BND-01).
pub const CONFIG: &str = "config.json";

/// No honest document comes near this; a larger one would only cost memory (CVE class I).
const MAX_SIZE: u64 = 16 * 1024 * 1024;

/// A document that keeps every rule that can be checked without the kernel.
#[derive(Debug)]
pub struct Checked {
    /// The document.
    pub spec: Spec,
    /// The absolute path of its bundle.
    pub bundle: PathBuf,
    /// The absolute path of the root file system, an existing directory.
    pub rootfs: PathBuf,
    /// The bytes of the document, to be kept with the container.
    pub bytes: Vec<u8>,
    /// What was passed over, with the reason.
    pub warnings: Vec<String>,
}

impl Checked {
    /// Adds a read-only bind mount, after those of the document.
    pub fn add_mount(&mut self, source: &Path, destination: &Path) {
        let options = ["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_string);
        let mut mount = Mount::default();
        mount
            .set_source(Some(source.to_path_buf()))
            .set_destination(destination.to_path_buf())
            .set_typ(None)
            .set_options(Some(options.into()));
        let mut mounts = self.spec.mounts().clone().unwrap_or_default();
        mounts.push(mount);
        self.spec.set_mounts(Some(mounts));
    }

    /// Adds a variable to the environment of the program, if there is one.
    pub fn add_variable(&mut self, variable: String) {
        let Some(mut process) = self.spec.process().clone() else { return };
        let mut env = process.env().clone().unwrap_or_default();
        env.push(variable);
        process.set_env(Some(env));
        self.spec.set_process(Some(process));
    }
}

/// Reads and checks the `config.json` of `bundle`.
///
/// # Errors
/// Anything that the specification does not allow, with the JSON path of the member.
pub fn load(bundle: &Path) -> Result<Checked> {
    let bundle = bundle.canonicalize().with_context(|| format!("bundle {}", bundle.display()))?;
    let bytes = read_config(&bundle)?;
    let (spec, warnings) = parse(&bytes).context(CONFIG)?;
    let rootfs = rootfs(&spec, &bundle).context(CONFIG)?;
    Ok(Checked { spec, bundle, rootfs, bytes, warnings })
}

/// Reads and checks the document of `bundle` alone: nothing that it names has to be there.
///
/// # Errors
/// Those of [`load`] that are about the document.
pub fn document(bundle: &Path) -> Result<Spec> {
    let (spec, _) = parse(&read_config(bundle)?).context(CONFIG)?;
    Ok(spec)
}

fn read_config(bundle: &Path) -> Result<Vec<u8>> {
    let path = bundle.join(CONFIG);
    let Some(file) = open(&path)? else {
        bail!("JSON specification file {} not found", path.display())
    };
    let meta = file.metadata().with_context(|| format!("stat {}", path.display()))?;
    ensure!(meta.is_file(), "{} is not a regular file", path.display());
    read(file, &path)
}

/// Opens a document for reading, if there is one.
fn open(path: &Path) -> Result<Option<File>> {
    // A fifo or device is not waited for.
    match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some).with_context(|| format!("open {}", path.display())),
    }
}

/// Reads a document whole.
fn read(file: File, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_SIZE + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("read {}", path.display()))?;
    ensure!(bytes.len() as u64 <= MAX_SIZE, "{} is larger than 16 MiB", path.display());
    Ok(bytes)
}

/// Reads again the bytes of a document that has been checked when its container was made.
///
/// # Errors
/// When they are damaged.
pub fn again(bytes: &[u8]) -> Result<(Spec, Value)> {
    let (tree, _) = self::tree(utf8(bytes)?)?;
    let process = tree.get("process").cloned().unwrap_or_default();
    Ok((typed(tree)?, process))
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|error| anyhow!("not UTF-8 at byte {}", error.valid_up_to()))
}

/// Turns the bytes of a document into a checked one and the warnings it caused.
fn parse(bytes: &[u8]) -> Result<(Spec, Vec<String>)> {
    let text = utf8(bytes)?;
    let (tree, mut warnings) = self::tree(text)?;
    presence::check(&tree)?;
    memory_policy::words(&tree)?;
    // The path of an error is looked for only when there is one: keeping track of it is slow.
    let spec = match serde_json::from_value(tree) {
        Ok(spec) => spec,
        Err(_) => typed(self::tree(text)?.0)?,
    };
    check::check(&spec)?;
    unsupported::refuse(&spec)?;
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    warnings.extend(resources.and_then(resources::warnings));
    Ok((spec, warnings))
}

/// Parses the text and takes out what has no meaning here, with a warning where that may surprise.
fn tree(text: &str) -> Result<(Value, Vec<String>)> {
    let mut tree: Value = serde_json::from_str(text).context("not JSON")?;
    names::correct(&mut tree);
    presence::drop_null(&mut tree);
    presence::drop_foreign(&mut tree);
    presence::tidy_processors(&mut tree);
    presence::rename_scheduler_flags(&mut tree);
    presence::drop_unset_pids(&mut tree);
    presence::fill_user(&mut tree);
    let warnings = presence::drop_unknown_capabilities(&mut tree);
    Ok((tree, warnings))
}

/// Converts a tree to its types; an error names the JSON path and what was found there.
fn typed<T: serde::de::DeserializeOwned>(tree: Value) -> Result<T> {
    serde_path_to_error::deserialize(tree).map_err(|error| {
        let path = error.path().to_string();
        anyhow!("{path}: {}", error.into_inner())
    })
}

/// The root file system counts from the bundle (ROO-02) and has to be a directory (ROO-04).
fn rootfs(spec: &Spec, bundle: &Path) -> Result<PathBuf> {
    let root = spec.root().as_ref().context("root: required")?;
    let path = bundle.join(root.path());
    let meta = path.metadata().with_context(|| format!("root.path: {}", path.display()))?;
    if !meta.is_dir() {
        bail!("root.path: {} is not a directory", path.display());
    }
    path.canonicalize().with_context(|| format!("root.path: {}", path.display()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    /// The smallest document that keeps all rules, with `change` merged into it (RFC 7396, but
    /// null stays null).
    pub(crate) fn document(change: Value) -> Value {
        let mut document = json!({
            "ociVersion": "1.3.0",
            "root": {"path": "rootfs"},
            "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["sh"]},
            "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "uts"}]},
        });
        merge(&mut document, change);
        document
    }

    fn merge(into: &mut Value, change: Value) {
        match (into, change) {
            (Value::Object(into), Value::Object(change)) => {
                for (key, value) in change {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
            (into, change) => *into = change,
        }
    }

    pub(crate) fn parse_change(change: Value) -> Result<(Spec, Vec<String>)> {
        parse(document(change).to_string().as_bytes())
    }

    /// Checks that each change of the smallest document is refused with the given text.
    pub(crate) fn refused(cases: impl IntoIterator<Item = (Value, &'static str)>) {
        for (change, want) in cases {
            let error = match parse_change(change.clone()) {
                Ok(_) => panic!("accepted: {change}"),
                Err(error) => format!("{error:#}"),
            };
            assert!(error.contains(want), "{change}\n  got: {error}\n want: {want}");
        }
    }

    /// Checks that each change of the smallest document is accepted.
    pub(crate) fn accepted(cases: impl IntoIterator<Item = Value>) {
        for change in cases {
            if let Err(error) = parse_change(change.clone()) {
                panic!("refused: {change}\n  {error:#}");
            }
        }
    }

    #[test]
    fn what_is_not_a_document() {
        for (bytes, want) in [
            (&b"{"[..], "not JSON"),
            (b"", "not JSON"),
            (b"[]", "not an object"),
            (b"{} x", "not JSON"),
            (b"{\"ociVersion\": \"\xff\"}", "not UTF-8 at byte 16"),
        ] {
            let error = format!("{:#}", parse(bytes).unwrap_err());
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn wrong_types_are_named_by_path() {
        refused([
            (json!({"process": {"user": {"uid": -1}}}), "process.user.uid: invalid value"),
            (json!({"process": {"user": {"uid": 4_294_967_296_u64}}}), "process.user.uid: "),
            (json!({"process": {"user": {"umask": 1.5}}}), "process.user.umask: "),
            (json!({"process": {"args": "sh"}}), "process.args: "),
            (json!({"mounts": [{"destination": "/a", "options": "ro"}]}), "mounts[0].options: "),
            (json!({"annotations": {"a": 1}}), "annotations.a: "),
            (json!({"linux": {"sysctl": {"a": 1}}}), "linux.sysctl.a: "),
            (
                json!({"linux": {"namespaces": [{"type": "mount"}, {"type": "net"}]}}),
                "linux.namespaces[1].type: unknown variant `net`",
            ),
        ]);
    }

    /// VER-10: as Go's reader does, on which engines rely.
    #[test]
    fn the_last_of_equal_members_counts() {
        let text = br#"{"ociVersion": "1.0.0", "root": {"path": "a", "path": "b"}, "hostname": "x",
            "annotations": {"k": "1", "k": "2"}, "root": {"path": "c"}, "hostname": "y",
            "linux": {"namespaces": [{"type": "uts"}]}}"#;
        let spec = parse(text).expect("a document").0;
        assert_eq!(spec.root().as_ref().map(|root| root.path().as_path()), Some(Path::new("c")));
        assert_eq!(spec.hostname().as_deref(), Some("y"));
        assert_eq!(spec.annotations().as_ref().map(|map| map["k"].as_str()), Some("2"));
    }

    #[test]
    fn null_is_absence() {
        accepted([
            json!({"hooks": null, "mounts": null}),
            json!({"linux": {"resources": null}}),
            json!({"process": {"rlimits": null, "user": {"additionalGids": null}}}),
        ]);
    }

    #[test]
    fn unknown_members_and_other_platforms_are_ignored() {
        let unknown = json!({"a": [1]});
        accepted([
            json!({"xFuture": unknown, "process": {"x": unknown}, "linux": {"x": unknown}}),
            json!({"mounts": [{"destination": "/a", "type": "tmpfs", "x": unknown}]}),
            json!({"windows": {}, "solaris": {"milestone": 7}, "vm": 1, "zos": {}, "freebsd": []}),
        ]);
    }
}
