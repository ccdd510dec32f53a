//! What a container must never reach: the host's files, the runtime's own program, and what the
//! runtime has open.

use std::fs::{self, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use orlop::sys::mount::DESCRIPTOR_CALLS;
use serde_json::{Value, json};

use crate::harness::terminal::{Receiver, Screen};
use crate::harness::{Case, Output, wait_until_gone};
use crate::tests;

tests! {
    the_runtimes_program_cannot_be_written_through_its_process needs [Root],
    the_runtimes_program_cannot_be_written_by_a_program_that_is_itself needs [Root],
    a_waiting_init_has_nothing_of_the_host_open needs [Root]
        unlike runc "keeps a socket",
    a_working_directory_cannot_be_an_open_descriptor needs [Root],
    a_program_cannot_be_an_open_descriptor needs [Root],
    no_mount_of_the_host_is_left_inside needs [Root],
    dot_dot_does_not_lead_out needs [Root],
    the_waiting_init_is_hidden_from_others needs [Root]
        unlike runc "is dumpable again before it waits",
    the_inheritable_set_is_empty_unless_asked_for needs [Root],
    no_path_of_the_image_is_resolved_by_the_ordinary_rules needs [Root, Strace]
        unlike runc "resolves some",
    renames_without_end_are_an_error needs [Root, Strace] unlike runc "has other words",
    no_path_is_in_a_user_namespace needs [Root, Strace] unlike runc "resolves some",
    no_path_is_for_a_terminal needs [Root, Strace] unlike runc "resolves some",
    no_path_is_without_the_newer_mount_calls needs [Root, Strace]
        unlike runc "resolves some",
    nothing_of_the_runtime_can_be_seen_by_who_shares_its_processes needs [Root],
}

/// CVE-2019-5736: whoever once held the executable can try to write to it when nobody executes
/// it any more, as the kernel then has no objection of its own (ETXTBSY).
fn the_runtimes_program_cannot_be_written_through_its_process() {
    let case = Case::new(&[]);
    case.create().ok();
    let pid = case.pid();
    let path = format!("/proc/{pid}/exe");
    let held = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path).expect("open");
    let before = fs::read(crate::harness::runtime()).expect("read the runtime");
    case.kill("KILL").ok();
    wait_until_gone(pid);
    case.delete().ok();
    let held_path = format!("/proc/self/fd/{}", held.as_raw_fd());
    // Looked at and not tried, as somebody else may execute the file at this moment.
    let read_only = access(held_path.as_str(), AccessFlags::W_OK) == Err(Errno::EROFS);
    let file = |path: &Path| {
        let meta = fs::metadata(path).expect("stat");
        (meta.dev(), meta.ino())
    };
    let copy = file(held_path.as_ref()) != file(&crate::harness::runtime());
    assert!(read_only || copy);
    assert!(before == fs::read(crate::harness::runtime()).expect("read the runtime"));
}

/// The other form of it: the image's program is a link to whatever executes it.
fn the_runtimes_program_cannot_be_written_by_a_program_that_is_itself() {
    let mut case = Case::new(&[]);
    symlink("/proc/self/exe", case.rootfs().join("bin/itself")).expect("make a link");
    let script = case.rootfs().join("bin/script");
    fs::write(&script, "#!/proc/self/exe\n").expect("write");
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("chmod");
    for program in ["/bin/itself", "/proc/self/exe", "/bin/script"] {
        case.set("/process/args", json!([program, "--version"]));
        let output = case.run();
        // It may run, as any program of the image: it is of no use.
        assert!([0, 1, 3, 255].contains(&output.code), "{output:?}");
    }
    // From inside, the process that executes it is the only one that has it.
    let mut case = Case::new(&["open", "/proc/1/exe", "rw"]);
    case.set("/process/capabilities", json!({}));
    assert_eq!(case.run().ok(), "ETXTBSY\n");
}

/// CVE-2024-21626 and CVE-2016-9962: no directory, no descriptor of the host.
/// Not even what the caller forgot to close: containerd's shim leaks two sockets.
fn a_waiting_init_has_nothing_of_the_host_open() {
    let case = Case::new(&["wait"]);
    case.write_config();
    let mut shell = std::process::Command::new("bash");
    shell.args(["-c", "exec 3</ 9</etc/passwd 200</etc; exec \"$@\"", "bash"]).arg(&case.runtime);
    shell.arg("--root").arg(case.state_root()).args(["create", &case.id]).current_dir(&case.dir);
    crate::harness::Output::of(&mut shell).ok();
    let pid = case.pid();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).expect("read") {
        let path = entry.expect("read").path();
        let number: i32 =
            path.file_name().and_then(|n| n.to_str()).expect("a name").parse().expect("a number");
        let target = fs::read_link(&path).expect("read a link");
        let meta = fs::metadata(&path);
        let directory = meta.as_ref().is_ok_and(fs::Metadata::is_dir);
        assert!(!directory, "{number} is {}", target.display());
        let fifo = meta.is_ok_and(|meta| meta.file_type().is_fifo());
        assert!(number <= 2 || fifo, "{number} is {}", target.display());
    }
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).expect("read a link"), Path::new("/"));
    let file = |path: &Path| {
        let meta = fs::metadata(path).expect("stat");
        (meta.dev(), meta.ino())
    };
    for link in ["root", "cwd"] {
        assert_eq!(file(format!("/proc/{pid}/{link}/.").as_ref()), file(&case.rootfs()));
    }
}

fn a_working_directory_cannot_be_an_open_descriptor() {
    for number in 0..=64 {
        for path in [format!("/proc/self/fd/{number}"), format!("/proc/self/fd/{number}/../../..")]
        {
            let mut case = Case::new(&["stat", "."]);
            case.set("/process/cwd", json!(path));
            let output = case.run();
            assert_ne!(output.code, 0, "{path}: {output:?}");
        }
    }
    // Through a link of the image as well.
    for number in 3..12 {
        let mut case = Case::new(&["list", "."]);
        symlink(format!("/proc/self/fd/{number}"), case.rootfs().join("way")).expect("make a link");
        case.set("/process/cwd", json!("/way"));
        let output = case.run();
        assert_ne!(output.code, 0, "{number}: {output:?}");
    }
}

fn a_program_cannot_be_an_open_descriptor() {
    for number in 3..16 {
        for end in ["", "/bin/true", "/../../bin/true", "/usr/bin/true"] {
            let mut case = Case::new(&[]);
            case.set("/process/args", json!([format!("/proc/self/fd/{number}{end}")]));
            let output = case.run();
            assert_ne!(output.code, 0, "{number}{end}: {output:?}");
        }
    }
}

fn no_mount_of_the_host_is_left_inside() {
    let case = Case::new(&["report"]);
    let report: Value = serde_json::from_str(&case.run().ok()).expect("a report");
    let mut places: Vec<_> = report["mounts"]
        .as_array()
        .expect("mounts")
        .iter()
        .filter_map(|line| line.as_str()?.split(' ').nth(1))
        .collect();
    places.dedup();
    let mut wanted = vec![
        "/",
        "/dev",
        "/dev/mqueue",
        "/dev/pts",
        "/dev/shm",
        "/proc",
        "/proc/acpi",
        "/proc/bus",
        "/proc/kcore",
        "/proc/keys",
        "/proc/sys",
        "/sys",
        "/sys/firmware",
    ];
    // Not every kernel has all that is masked.
    wanted.retain(|path| *path == "/dev/mqueue" || Path::new(path).exists());
    assert_eq!(places, wanted);
}

fn dot_dot_does_not_lead_out() {
    let case = Case::new(&["list", "/..", "--", "list", "../../../..", "--", "list", "/"]);
    let text = case.run().ok();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], lines[2]);
    assert_eq!(lines[1], lines[2]);
}

/// Another process of the container's user must not look into init while it is not yet the
/// program: its `/proc` files belong to root of the host then.
/// Two containers with the same rights share a PID namespace; the one looks at the other's init
/// (CVE-2016-9962), in which a change of ids has not hidden it already.
fn the_waiting_init_is_hidden_from_others() {
    let first = Case::new(&["wait"]);
    first.run_with(&["--detach"]).ok();
    let shared = json!({"type": "pid", "path": format!("/proc/{}/ns/pid", first.pid())});
    let mut waiting = Case::new(&["wait"]);
    waiting.namespace("pid", Some(shared.clone()));
    waiting.create().ok();
    let status = fs::read_to_string(format!("/proc/{}/status", waiting.pid())).expect("read");
    let inside = status.lines().find_map(|line| line.strip_prefix("NSpid:")).expect("pids");
    let inside = inside.split_whitespace().last().expect("a pid");
    let path = |name: &str| format!("/proc/{inside}/{name}");
    let mut looking = Case::new(&[
        "read-link",
        &path("fd/0"),
        "--",
        "cat",
        &path("environ"),
        "--",
        "read-link",
        &path("exe"),
        "--",
        "list",
        "/proc/1/fd",
    ]);
    looking.namespace("pid", Some(shared));
    assert_eq!(looking.run().ok(), "EACCES\nEACCES\nEACCES\n0 1 2\n");
}

/// CVE-2022-24769 and CVE-2022-29162.
fn the_inheritable_set_is_empty_unless_asked_for() {
    let case = Case::new(&["report"]);
    let report: Value = serde_json::from_str(&case.run().ok()).expect("a report");
    assert_eq!(report["status"]["CapInh"], json!("0000000000000000"));
}

/// Calls that make, open, mount or change something by a path.
const BY_PATH: &str = "open,openat,mount,umount2,mkdir,mkdirat,mknod,mknodat,unlink,unlinkat,\
    symlink,symlinkat,chown,fchownat,chmod,fchmodat,rename,renameat,move_mount,open_tree";

/// Of a container with a little of everything, the calls that resolve a path of the image by the
/// kernel's ordinary rules: with a path below the root that counts from the working directory, a
/// link in the image would lead out. After the change of root even `/` is the image.
fn calls_by_the_ordinary_rules(
    case: &mut Case,
    lacking: &[libc::c_long],
    words: &[&str],
) -> String {
    let source = case.dir.join("source");
    fs::create_dir(&source).expect("make a directory");
    for mount in [
        json!({"destination": "/a/b", "source": source, "options": ["rbind", "ro"]}),
        json!({"destination": "/tmp", "type": "tmpfs", "source": "t", "options": ["tmpcopyup"]}),
    ] {
        case.set("/mounts/-", mount);
    }
    case.write_config();
    let trace = case.dir.join("trace");
    let mut command = std::process::Command::new("strace");
    command.args(["-f", "-qq", "-e", &format!("trace={BY_PATH},pivot_root,setns,execve"), "-o"]);
    let runtime = case.command_without(lacking, words);
    command.arg(&trace).arg(runtime.get_program()).args(runtime.get_args());
    crate::harness::Output::of(command.current_dir(&case.dir)).ok();
    let text = fs::read_to_string(&trace).expect("read the trace");
    let below = format!("{}/", case.rootfs().display());
    let (mut wrong, mut inside, mut changed) = (String::new(), false, false);
    for line in text.lines() {
        let change = line.contains(" pivot_root(") || line.contains(", CLONE_NEWNS)");
        inside = inside && !line.contains(" execve(\"/bin/probe\"") || change;
        changed = changed || change;
        let from_here = !line.contains("at(") || line.contains("AT_FDCWD");
        let of_the_image =
            |path: &str| path.starts_with(&below) || (inside && !is_known(path, line));
        if from_here && paths(line).into_iter().any(of_the_image) {
            wrong += line;
            wrong += "\n";
        }
    }
    assert!(changed, "{text}");
    wrong
}

/// What the call of this line resolves.
fn paths(line: &str) -> Vec<&str> {
    let words: Vec<_> = line.split('"').skip(1).step_by(2).collect();
    let count = if line.contains(" mount(\"") { 2 } else { 1 };
    // What a new file system is made of is no path.
    let new = count == 2 && !line.contains("MS_BIND") && !line.contains("MS_MOVE");
    words.into_iter().take(count).skip(usize::from(new)).collect()
}

/// "." and "/" are the root itself, and numbers are links in `/proc/self/fd`, where mount(2) is
/// called.
fn is_known(path: &str, line: &str) -> bool {
    let number = path.bytes().all(|byte| byte.is_ascii_digit());
    ["", ".", "/"].contains(&path) || (number && line.contains(" mount("))
}

fn no_path_of_the_image_is_resolved_by_the_ordinary_rules() {
    let mut case = Case::new(&[]);
    case.set("/linux/devices", json!([{"path": "/x/y", "type": "c", "major": 1, "minor": 5}]));
    let words = ["run", &case.id.clone()];
    assert_eq!(calls_by_the_ordinary_rules(&mut case, &[], &words), "");
}

/// openat2(2) says EAGAIN when somebody renames meanwhile. Asked too often it is an error, and never
/// a lookup by other rules.
fn renames_without_end_are_an_error() {
    let case = Case::new(&["echo", "started"]);
    case.write_config();
    let trace = case.dir.join("trace");
    for (always, count) in [(false, 3), (true, 0)] {
        let when = if always { String::new() } else { format!(":when=1..{count}") };
        let mut command = std::process::Command::new("strace");
        command.args(["-f", "-qq", "-e", "trace=openat2,openat", "-e"]);
        command.arg(format!("inject=openat2:error=EAGAIN{when}")).arg("-o").arg(&trace);
        command.arg(&case.runtime).args(case.arguments(&["run", &case.id]));
        let output = crate::harness::Output::of(command.current_dir(&case.dir));
        let text = fs::read_to_string(&trace).expect("read the trace");
        let asked = text.lines().filter(|line| line.contains("openat2(")).count();
        if always {
            output.fails(1, "resource temporarily unavailable");
            assert!((2..=128).contains(&asked), "{asked}: {text}");
        } else {
            assert_eq!(output.ok(), "started\n");
        }
        assert_eq!(case.leftovers(), [""; 0]);
    }
}

/// Devices are bound there.
fn no_path_is_in_a_user_namespace() {
    let mut case = Case::new(&[]);
    case.namespace("user", Some(json!({"type": "user"})));
    let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    case.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    case.set("/linux/devices", json!([{"path": "/dev/full", "type": "c", "major": 1, "minor": 7}]));
    let words = ["run", &case.id.clone()];
    assert_eq!(calls_by_the_ordinary_rules(&mut case, &[], &words), "");
}

fn no_path_is_for_a_terminal() {
    for lacking in [&[][..], &DESCRIPTOR_CALLS] {
        let mut case = Case::new(&["echo"]);
        case.set("/process/terminal", json!(true));
        let receiver = Receiver::new(&case.id);
        let socket = receiver.argument().to_string();
        let words = ["run", "--detach", "--console-socket", &socket, &case.id.clone()];
        assert_eq!(calls_by_the_ordinary_rules(&mut case, lacking, &words), "");
        Screen::new(receiver.receive().0).rest();
    }
}

fn no_path_is_without_the_newer_mount_calls() {
    let mut case = Case::new(&[]);
    let words = ["run", &case.id.clone()];
    assert_eq!(calls_by_the_ordinary_rules(&mut case, &DESCRIPTOR_CALLS, &words), "");
}

/// CVE-2016-9962, for a container that joins the PID namespace of another: somebody there tries
/// without end to look into its init.
fn nothing_of_the_runtime_can_be_seen_by_who_shares_its_processes() {
    let rounds = if std::env::var_os("TORTURE").is_some() { 1000 } else { 50 };
    let donor = Case::new(&["peep", "2"]);
    let mut run = donor.run_in_background();
    assert_eq!(run.line(), "ready");
    let mut case = Case::new(&[]);
    let path = format!("/proc/{}/ns/pid", donor.pid());
    case.namespace("pid", Some(json!({"type": "pid", "path": path})));
    case.write_config();
    for _ in 0..rounds {
        let mut command = case.command(&["run", &case.id]);
        assert_eq!(Output::of(command.env("SECRET", "x")).ok(), "");
    }
    fs::write(donor.rootfs().join("stop"), "").expect("write");
    let text = run.end().ok();
    let seen: Vec<_> = text.lines().filter(|line| line.starts_with("seen")).collect();
    assert_eq!(seen, [""; 0]);
}
