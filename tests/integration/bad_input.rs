//! Whatever is wrong with what the runtime is given: one clear line, the same as one record of
//! the log, runc's exit code, and nothing left behind.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use serde_json::{Value, json};

use crate::harness::{Case, Output, copy_program};
use crate::tests;

tests! {
    a_bundle_that_is_not_there needs [Root],
    a_bundle_that_may_not_be_read needs [Root],
    a_config_that_is_no_file needs [Root] unlike runc "waits for a fifo",
    a_config_that_is_too_large needs [Root] unlike runc "reads it all",
    a_config_that_is_not_json needs [Root],
    a_config_of_the_wrong_types needs [Root],
    a_config_that_contradicts_itself needs [Root] unlike runc "takes some of it",
    a_version_that_is_not_supported needs [Root] unlike runc "does not look at it",
    fields_that_nobody_knows_are_passed_over needs [Root],
    what_is_not_built_yet_is_refused needs [Root] unlike runc "has it",
    ids_that_are_no_ids needs [Root],
    ids_that_are_too_long needs [Root],
    an_id_in_use needs [Root],
    a_root_file_system_that_is_not_there needs [Root],
    a_program_that_is_not_there needs [Root],
    a_program_that_may_not_be_executed needs [Root],
    a_full_disk needs [Root] unlike runc "needs less",
    a_read_only_state_directory needs [Root],
    a_state_directory_that_is_a_file needs [Root],
    a_pid_file_that_cannot_be_written needs [Root],
    a_log_that_cannot_be_written needs [Root],
    a_full_disk_under_the_root_file_system needs [Root] unlike runc "leaves its own texts",
}

/// `create` fails with this text, says so in one line and in one record, and leaves nothing.
#[track_caller]
fn refused(case: &Case, text: &str) {
    refused_with(case, &["create", &case.id], text);
}

#[track_caller]
fn refused_with(case: &Case, words: &[&str], text: &str) {
    let log = case.dir.join("log");
    let path = log.to_str().expect("a path");
    let words = [&["--log", path, "--log-format", "json"], words].concat();
    check(case, case.runtime(&words), &log, text);
}

#[track_caller]
fn check(case: &Case, output: Output, log: &Path, text: &str) {
    let error = output.fails(1, text);
    let records = fs::read_to_string(log).expect("read the log");
    fs::remove_file(log).expect("remove the log");
    let errors: Vec<Value> = records
        .lines()
        .map(|line| serde_json::from_str(line).expect("a record"))
        .filter(|record: &Value| record["level"] == "error")
        .collect();
    assert_eq!(errors.len(), 1, "{records}");
    if std::env::var_os("RUNTIME").is_none() {
        assert_eq!(records.lines().count(), 1, "{records}");
        let message = errors[0]["msg"].as_str().expect("a text");
        assert_eq!(error, format!("error: {message}\n"));
        assert!(!message.contains('\n'), "{message}");
    }
    assert_eq!(case.leftovers(), Vec::<String>::new());
}

fn a_bundle_that_is_not_there() {
    let case = Case::new(&[]);
    refused_with(&case, &["create", "--bundle", "/no/such", &case.id], "no such file or directory");
    refused_with(&case, &["run", "--bundle", "/no/such", &case.id], "no such file or directory");
    refused_with(&case, &["create", "--bundle", "/etc/passwd", &case.id], "not a directory");
    // There is no config.json yet.
    refused(&case, "config.json");
}

fn a_bundle_that_may_not_be_read() {
    const NOBODY: u32 = 65534;
    let case = Case::new(&[]);
    case.write_config();
    // All but the bundle is open to the user.
    let bundle = case.dir.join("bundle");
    fs::create_dir(&bundle).expect("make a directory");
    fs::copy(case.dir.join("config.json"), bundle.join("config.json")).expect("copy");
    fs::set_permissions(&bundle, fs::Permissions::from_mode(0o700)).expect("chmod");
    let runtime = case.dir.join("runtime");
    copy_program(&crate::harness::runtime(), &runtime);
    let directory = tempfile_of(NOBODY);
    let log = directory.join("log");
    let mut command = std::process::Command::new(&runtime);
    command.args(["--root".as_ref(), directory.join("state").as_os_str()]);
    command.args(["--log".as_ref(), log.as_os_str()]).args(["--log-format", "json", "create"]);
    command.args(["--bundle".as_ref(), bundle.as_os_str()]).arg(&case.id);
    let output = Output::of(command.uid(NOBODY).gid(NOBODY).current_dir("/"));
    check(&case, output, &log, "permission denied");
    fs::remove_dir_all(&directory).expect("remove");
}

/// A directory of a user.
fn tempfile_of(user: u32) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("orlop-test-{}", std::process::id()));
    fs::create_dir(&path).expect("make a directory");
    std::os::unix::fs::chown(&path, Some(user), Some(user)).expect("chown");
    path
}

fn a_config_that_is_no_file() {
    let case = Case::new(&[]);
    let config = case.dir.join("config.json");
    fs::create_dir(&config).expect("make a directory");
    refused(&case, "config.json");
    fs::remove_dir(&config).expect("remove");
    nix::unistd::mkfifo(&config, Mode::from_bits_truncate(0o600)).expect("make a fifo");
    refused(&case, "config.json");
    fs::remove_file(&config).expect("remove");
    symlink("/dev/zero", &config).expect("make a link");
    refused(&case, "config.json");
    fs::remove_file(&config).expect("remove");
    symlink("config.json", &config).expect("make a link");
    refused(&case, "config.json");
}

fn a_config_that_is_too_large() {
    let case = Case::new(&[]);
    case.write_config();
    let config = case.dir.join("config.json");
    let mut text = fs::read_to_string(&config).expect("read");
    text.extend(std::iter::repeat_n(' ', 16 << 20));
    fs::write(&config, text).expect("write");
    refused(&case, "16 MiB");
    let file = fs::File::create(&config).expect("make a file");
    file.set_len(1 << 40).expect("a sparse file");
    refused(&case, "16 MiB");
}

fn a_config_that_is_not_json() {
    let case = Case::new(&[]);
    let nested = "[".repeat(100_000);
    for bytes in [
        &b""[..],
        b"{",
        b"hello",
        b"null",
        b"[]",
        b"\"text\"",
        b"{\"ociVersion\": \"1.0.0\", \"root\": {\"path\": \"\xff\xfe\"}}",
        b"\xff\xfe{}",
        b"\0",
        nested.as_bytes(),
    ] {
        fs::write(case.dir.join("config.json"), bytes).expect("write");
        refused(&case, "");
    }
    fs::write(case.dir.join("config.json"), "{\n  \"ociVersion\": 1,\n}").expect("write");
    refused(&case, "");
}

fn a_config_of_the_wrong_types() {
    for (pointer, value) in [
        ("/ociVersion", json!(1)),
        ("/process", json!("x")),
        ("/process/args", json!("x")),
        ("/process/args/0", json!(1)),
        ("/process/user/uid", json!("0")),
        ("/process/user/uid", json!(-1)),
        ("/process/user/uid", json!(4_294_967_296_u64)),
        ("/process/user/uid", json!(1.5)),
        ("/process/env/0", json!({})),
        ("/process/noNewPrivileges", json!("yes")),
        ("/root/path", json!(7)),
        ("/mounts", json!({})),
        ("/mounts/0/options", json!("ro")),
        ("/linux/namespaces/0/type", json!(3)),
        ("/linux/resources/devices", json!([{"allow": "yes", "access": "rwm"}])),
        ("/linux/maskedPaths", json!("/proc")),
        ("/hostname", json!(["a"])),
    ] {
        let mut case = Case::new(&[]);
        case.set(pointer, value.clone());
        case.write_config();
        // The path of the field, without an index of an array.
        let field = pointer.trim_start_matches('/').replace('/', ".");
        let field = field.trim_end_matches(".0").replace(".0.", "[0].");
        let ours = std::env::var_os("RUNTIME").is_none();
        refused(&case, if ours { &field } else { "" });
    }
}

fn a_config_that_contradicts_itself() {
    for (pointer, value, text) in [
        ("/process/args", json!([]), "process.args: "),
        ("/process/cwd", json!("relative"), "process.cwd: "),
        ("/process/cwd", json!(""), "process.cwd: "),
        ("/process/env", json!(["NOVALUE\0"]), "process.env"),
        ("/process/args/-", json!("a\0b"), "process.args"),
        ("/root/path", json!(""), "root.path: "),
        ("/hostname", json!("x".repeat(65)), "hostname: "),
        ("/mounts/-", json!({"destination": "/a"}), "mounts[6]"),
        ("/linux/namespaces/-", json!({"type": "pid"}), "linux.namespaces[5]"),
        ("/linux/namespaces/-", json!({"type": "nosuch"}), "linux.namespaces[5]"),
        ("/linux/namespaces/0", json!({"type": "pid", "path": "relative"}), "linux.namespaces[0]"),
        ("/linux/rootfsPropagation", json!("nosuch"), "linux.rootfsPropagation: "),
        (
            "/linux/uidMappings",
            json!([{"containerID": 0, "hostID": 0, "size": 1}]),
            "linux.uidMappings",
        ),
        ("/linux/sysctl", json!({"kernel.panic": "1"}), "linux.sysctl"),
        ("/linux/maskedPaths", json!(["relative"]), "linux.maskedPaths[0]"),
        ("/linux/timeOffsets", json!({"monotonic": {"secs": 1}}), "linux.timeOffsets"),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_NOSUCH", "soft": 1, "hard": 1}]),
            "process.rlimits[0]",
        ),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]),
            "process.rlimits[0]",
        ),
        ("/process/oomScoreAdj", json!(1001), "process.oomScoreAdj: "),
        (
            "/linux/devices",
            json!([{"path": "/dev/x", "type": "x", "major": 1, "minor": 1}]),
            "linux.devices[0]",
        ),
        (
            "/linux/devices",
            json!([{"path": "dev/x", "type": "c", "major": 1, "minor": 1}]),
            "linux.devices[0]",
        ),
        ("/hooks", json!({"poststop": [{"path": "relative"}]}), "hooks.poststop[0]"),
        ("/hooks", json!({"poststop": [{"path": "/x", "timeout": 0}]}), "hooks.poststop[0]"),
    ] {
        let mut case = Case::new(&[]);
        case.set(pointer, value.clone());
        case.write_config();
        refused(&case, text);
    }
}

fn a_version_that_is_not_supported() {
    for version in ["2.0.0", "0.9.0", "nonsense", "", "1"] {
        let mut case = Case::new(&[]);
        case.set("/ociVersion", json!(version));
        case.write_config();
        refused(&case, "ociVersion: ");
    }
    let mut case = Case::new(&[]);
    case.remove("/ociVersion");
    case.write_config();
    refused(&case, "ociVersion");
}

fn fields_that_nobody_knows_are_passed_over() {
    let mut case = Case::new(&[]);
    case.set("/unknown", json!({"a": [1, 2]}));
    case.set("/process/unknown", json!("x"));
    case.set("/linux/unknown", json!(null));
    case.set("/linux/resources/unknown", json!(5));
    case.set("/windows", json!({"layerFolders": ["c"]}));
    case.set("/annotations", json!({"org.example": "nobody reads it"}));
    case.run().ok();
}

fn what_is_not_built_yet_is_refused() {
    let mut case = Case::new(&[]);
    case.set("/linux/personality", json!({"domain": "LINUX", "flags": ["X"]}));
    case.write_config();
    refused(&case, "linux.personality.flags: not supported by this version");
}

fn ids_that_are_no_ids() {
    let case = Case::new(&[]);
    case.write_config();
    for id in ["a/b", "../x", "a b", ".", "..", "a:b", "ä", "a\n", "-a%", "", "*"] {
        refused_with(&case, &["create", "--", id], "");
        let output = case.runtime(&["state", "--", id]);
        assert_eq!(output.code, 1, "{id:?}: {output:?}");
    }
}

fn ids_that_are_too_long() {
    let case = Case::new(&[]);
    case.write_config();
    for length in [256, 1025, 5000] {
        refused_with(&case, &["create", &"x".repeat(length)], "");
    }
    let mut case = Case::new(&[]);
    // The longest name that a directory may have is fine.
    case.id = format!("{}{}", case.id, "x".repeat(255 - case.id.len()));
    case.run().ok();
}

fn an_id_in_use() {
    let case = Case::new(&["wait"]);
    case.run_with(&["--detach"]).ok();
    let error = case.create().fails(1, "container with given ID already exists");
    assert_eq!(error.lines().count(), 1);
    assert_eq!(case.status(), "running");
    case.runtime(&["run", &case.id]).fails(1, "container with given ID already exists");
    assert_eq!(case.status(), "running");
}

fn a_root_file_system_that_is_not_there() {
    let mut case = Case::new(&[]);
    case.set("/root/path", json!("nosuch"));
    case.write_config();
    refused(&case, "no such file or directory");
    case.set("/root/path", json!("config.json"));
    case.write_config();
    refused(&case, "not a directory");
    case.set("/root/path", json!("/no/such"));
    case.write_config();
    refused(&case, "no such file or directory");
    case.remove("/root");
    case.write_config();
    refused(&case, "");
}

fn a_program_that_is_not_there() {
    let mut case = Case::new(&[]);
    case.set("/process/args", json!(["nosuch"]));
    case.write_config();
    refused(&case, "exec: \"nosuch\": executable file not found in $PATH");
    refused_with(&case, &["run", &case.id], "exec: \"nosuch\": executable file not found in $PATH");
}

fn a_program_that_may_not_be_executed() {
    let mut case = Case::new(&[]);
    fs::write(case.rootfs().join("bin/data"), "data").expect("write");
    case.set("/process/args", json!(["/bin/data"]));
    case.write_config();
    refused(&case, "exec: \"/bin/data\": permission denied");
    refused_with(&case, &["run", &case.id], "exec: \"/bin/data\": permission denied");
}

/// A file system of its own at a path, until dropped.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn tmpfs(path: &Path, flags: MsFlags, data: &str) -> Self {
        fs::create_dir_all(path).expect("make a directory");
        mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some(data)).expect("mount");
        Self(path.to_path_buf())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).expect("unmount");
    }
}

/// The mount at the state directory is the test's own.
fn without_states(case: &Case, mounted: Mounted) {
    assert_eq!(fs::read_dir(case.state_root()).expect("read").count(), 0);
    drop(mounted);
    assert_eq!(case.leftovers(), Vec::<String>::new());
}

fn a_full_disk() {
    let case = Case::new(&[]);
    case.write_config();
    for data in ["size=4k", "size=8k", "size=16k,nr_inodes=3", "nr_inodes=2", "nr_inodes=5"] {
        let mounted = Mounted::tmpfs(&case.state_root(), MsFlags::empty(), data);
        let output = case.create();
        assert_eq!(output.code, 1, "{data}: {output:?}");
        assert!(output.stderr.contains("no space left on device"), "{data}: {output:?}");
        without_states(&case, mounted);
    }
}

fn a_read_only_state_directory() {
    let case = Case::new(&[]);
    case.write_config();
    let mounted = Mounted::tmpfs(&case.state_root(), MsFlags::MS_RDONLY, "");
    case.create().fails(1, "read-only file system");
    case.runtime(&["run", &case.id]).fails(1, "read-only file system");
    case.runtime(&["state", &case.id]).fails(1, "container does not exist");
    without_states(&case, mounted);
}

fn a_state_directory_that_is_a_file() {
    let case = Case::new(&[]);
    case.write_config();
    fs::write(case.state_root(), "").expect("write");
    case.create().fails(1, "state: ");
    fs::remove_file(case.state_root()).expect("remove");
}

fn a_pid_file_that_cannot_be_written() {
    let case = Case::new(&["wait"]);
    case.write_config();
    for path in ["/no/such/file", "/proc/nosuch"] {
        for command in ["create", "run"] {
            let words = [command, "--pid-file", path, &case.id];
            refused_with(&case, &words, "no such file or directory");
        }
    }
}

fn a_log_that_cannot_be_written() {
    let case = Case::new(&[]);
    case.write_config();
    case.runtime(&["--log", "/no/such/log", "create", &case.id]).fails(1, "/no/such/log");
    assert_eq!(case.leftovers(), Vec::<String>::new());
}

fn a_full_disk_under_the_root_file_system() {
    let mut case = Case::new(&[]);
    let root = case.dir.join("small");
    let mounted = Mounted::tmpfs(&root, MsFlags::empty(), "nr_inodes=2");
    case.set("/root/path", json!("small"));
    let error = case.create().fails(1, "no space left on device");
    // What was being done to what.
    assert!(error.contains("mounts["), "{error}");
    drop(mounted);
    assert_eq!(case.leftovers(), Vec::<String>::new());
}
