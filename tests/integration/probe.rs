//! The program inside of test containers. Each verb looks at one thing or tries one thing, and
//! prints what it found; several verbs are separated by `--`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "that is what it is for")]

#[path = "probe/calls.rs"]
mod calls;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, exit};
use std::{env, thread};

use nix::errno::Errno;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::stat::{Mode, SFlag, major, makedev, minor, mknod, umask};
use serde_json::{Map, Value, json};

use calls::{syscall, syscall32, traced};

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    for words in args.split(|word| word == "--") {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if let Some((verb, args)) = words.split_first() {
            run(verb, args);
        }
    }
}

fn run(verb: &str, args: &[&str]) {
    match (verb, args) {
        ("echo", words) => println!("{}", words.join(" ")),
        ("error", words) => eprintln!("{}", words.join(" ")),
        ("exit", [code]) => exit(code.parse().expect("a number")),
        ("raise", [number]) => signal_self(number.parse().expect("a number")),
        ("wait", []) => thread::park(),
        ("wait-for", signals) => wait_for(signals),
        ("cat", paths) => paths.iter().for_each(|path| cat(path)),
        ("copy-input", []) => copy_input(),
        ("write", [path, text]) => tell(fs::write(path, text)),
        ("append", [path, text]) => append(path, text),
        ("make-dir", [path]) => tell(fs::create_dir(path)),
        ("notify", [message]) => notify(message),
        ("open", [path, how]) => tell(open(path, how).map(drop)),
        ("read-link", [path]) => tell_value(fs::read_link(path).map(|p| p.display().to_string())),
        ("list", [path]) => list(path),
        ("stat", paths) => paths.iter().for_each(|path| stat(path)),
        ("mknod", [path, kind, major, minor]) => make_node(path, kind, major, minor),
        ("bind", [source, target]) => {
            let flags = nix::mount::MsFlags::MS_BIND;
            let none = None::<&str>;
            let done = nix::mount::mount(Some(*source), *target, none, flags, none);
            tell(done.map_err(std::io::Error::from));
        }
        ("mount-sysfs", [target]) => tell(mount_sysfs(target).map_err(std::io::Error::from)),
        ("umask", []) => println!("{:04o}", umask(Mode::empty()).bits()),
        ("exec", [path, args @ ..]) => println!("{}", text(&Command::new(path).args(args).exec())),
        ("fork", [count]) => fork(count.parse().expect("a number")),
        ("fork-for-ever", []) => fork_for_ever(),
        ("hold", [mib]) => hold(mib.parse().expect("a number")),
        ("spawn", words) => spawn(words),
        ("spin", [millis]) => spin(millis.parse().expect("a number")),
        ("change-root", [path]) => {
            tell(nix::unistd::chroot(*path).map_err(std::io::Error::from));
        }
        ("shares", []) => shares(),
        ("terminal", []) => terminal(),
        ("size", []) => size(),
        ("wait-for-size", []) => wait_for_size(),
        ("read-line", []) => read_line(),
        ("lines", [count]) => lines(count.parse().expect("a number")),
        ("peep", [first]) => peep(first.parse().expect("a number")),
        ("allocate", [mib]) => allocate(mib.parse().expect("a number")),
        ("syscall", [name, args @ ..]) => tell(syscall(name, args)),
        ("syscall32", [number]) => println!("{}", syscall32(number.parse().expect("a number"))),
        ("traced", [name]) => traced(name),
        ("report", []) => println!("{:#}", report()),
        _ => {
            eprintln!("probe: unknown verb {verb} with {} arguments", args.len());
            exit(99);
        }
    }
}

/// `ok`, or the name of the error.
fn tell(result: std::io::Result<()>) {
    tell_value(result.map(|()| "ok".to_string()));
}

fn tell_value(result: std::io::Result<String>) {
    match result {
        Ok(value) => println!("{value}"),
        Err(error) => println!("{}", text(&error)),
    }
}

fn text(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |n| format!("{:?}", Errno::from_raw(n)))
}

fn cat(path: &str) {
    match fs::read(path) {
        Ok(bytes) => std::io::stdout().write_all(&bytes).expect("write to standard output"),
        Err(error) => println!("{}", text(&error)),
    }
}

fn copy_input() {
    std::io::copy(&mut std::io::stdin(), &mut std::io::stdout()).expect("copy the input");
}

fn append(path: &str, line: &str) {
    let file = OpenOptions::new().append(true).create(true).open(path);
    tell(file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())));
}

/// Tells the service manager something, silently if that works.
fn notify(message: &str) {
    let socket = std::os::unix::net::UnixDatagram::unbound().expect("make a socket");
    let manager = env::var("NOTIFY_SOCKET").expect("the address of the manager");
    socket.send_to(message.as_bytes(), manager).expect("tell the manager");
}

fn open(path: &str, how: &str) -> std::io::Result<File> {
    OpenOptions::new().read(how.contains('r')).write(how.contains('w')).open(path)
}

fn list(path: &str) {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => return println!("{}", text(&error)),
    };
    let mut names: Vec<_> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    println!("{}", names.join(" "));
}

fn stat(path: &str) {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) => return println!("{path} {}", text(&error)),
    };
    let kind = meta.file_type();
    let what = if kind.is_symlink() {
        format!(
            "link {}",
            fs::read_link(path).map(|to| to.display().to_string()).unwrap_or_default()
        )
    } else if kind.is_dir() {
        "dir".to_string()
    } else if kind.is_char_device() {
        format!("c {}:{}", major(meta.rdev()), minor(meta.rdev()))
    } else if kind.is_block_device() {
        format!("b {}:{}", major(meta.rdev()), minor(meta.rdev()))
    } else if kind.is_fifo() {
        "fifo".to_string()
    } else if kind.is_socket() {
        "socket".to_string()
    } else {
        format!("file {}", meta.len())
    };
    println!("{path} {what} {:04o} {}:{}", meta.mode() & 0o7777, meta.uid(), meta.gid());
}

/// In a new user namespace, as everybody may.
fn mount_sysfs(target: &str) -> nix::Result<()> {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    let flags = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET;
    unshare(flags)?;
    mount(Some("sysfs"), target, Some("sysfs"), MsFlags::empty(), None::<&str>)
}

fn make_node(path: &str, kind: &str, major: &str, minor: &str) {
    let kind = if kind == "b" { SFlag::S_IFBLK } else { SFlag::S_IFCHR };
    let number = makedev(major.parse().expect("a number"), minor.parse().expect("a number"));
    let made = mknod(path, kind, Mode::from_bits_truncate(0o600), number);
    tell(made.map_err(std::io::Error::from));
}

fn signal_self(number: i32) {
    raise(Signal::try_from(number).expect("a signal")).expect("raise a signal");
}

/// Says `ready`, waits for one of the signals, and prints its number.
fn wait_for(signals: &[&str]) {
    let mut set = SigSet::empty();
    for number in signals {
        set.add(Signal::try_from(number.parse::<i32>().expect("a number")).expect("a signal"));
    }
    set.thread_block().expect("block signals");
    println!("ready");
    println!("{}", set.wait().expect("wait for a signal") as i32);
}

/// Starts processes that wait until there are `count`, or no more can be had; prints how many.
fn fork(count: usize) {
    let mut children = Vec::new();
    while children.len() < count {
        match Command::new("/proc/self/exe").arg("wait").spawn() {
            Ok(child) => children.push(child),
            Err(error) => {
                println!("{}", text(&error));
                break;
            }
        }
    }
    println!("{}", children.len());
    for child in &mut children {
        child.kill().and_then(|()| child.wait()).expect("end a child");
    }
}

/// Starts a probe that outlives this one.
#[expect(clippy::zombie_processes, reason = "it is left to whoever reaps orphans")]
fn spawn(words: &[&str]) {
    let child = Command::new("/proc/self/exe").args(words).process_group(0).spawn();
    child.expect("start a process");
}

/// Makes one process after another.
fn fork_for_ever() {
    loop {
        let child = Command::new("/proc/self/exe").args(["exit", "0"]).status();
        child.expect("start a process");
    }
}

/// Uses that much memory until it is killed.
fn hold(mib: usize) {
    let memory = touched(mib);
    println!("holds {}", memory.len());
    loop {
        thread::park();
    }
}

/// Uses that much processor time.
fn spin(millis: i64) {
    let used = || {
        let time = getrusage(UsageWho::RUSAGE_SELF).expect("the time used").user_time();
        time.tv_sec() * 1000 + time.tv_usec() / 1000
    };
    while used() < millis {}
}

fn touched(mib: usize) -> Vec<u8> {
    let mut memory = vec![0_u8; mib << 20];
    for page in memory.chunks_mut(4096) {
        page[0] = 1;
    }
    memory
}

fn allocate(mib: usize) {
    let memory = touched(mib);
    println!("allocated {}", memory.iter().map(|byte| usize::from(*byte)).sum::<usize>() / 256);
}

/// How the processor and the disk are shared: fields of proc_pid_stat(5), and ioprio_get(2).
#[expect(unsafe_code, reason = "no crate has ioprio_get")]
fn shares() {
    let stat = fs::read_to_string("/proc/self/stat").expect("read");
    let fields: Vec<_> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    // SAFETY: only numbers are passed; 1 is IOPRIO_WHO_PROCESS and 0 the caller.
    let io = unsafe { libc::syscall(libc::SYS_ioprio_get, 1, 0) };
    let (nice, priority, policy) = (fields[16], fields[37], fields[38]);
    println!("policy {policy} priority {priority} nice {nice} io {} {}", io >> 13, io & 0x1fff);
}

/// What the standard streams and the session are.
fn terminal() {
    for (name, stream) in [("stdin", 0), ("stdout", 1), ("stderr", 2)] {
        let target = fs::read_link(format!("/proc/self/fd/{stream}")).unwrap_or_default();
        println!("{name} {}", generic(&target.display().to_string()));
    }
    let own = std::process::id();
    let session = nix::unistd::getsid(None).map_or(0, nix::unistd::Pid::as_raw);
    println!("leader {}", session.unsigned_abs() == own);
    println!("controlling {}", File::open("/dev/tty").map_or_else(|e| text(&e), |_| "ok".into()));
    stat("/dev/console");
    stat("/dev/pts/0");
}

fn size() {
    use std::os::fd::AsFd;
    match orlop::sys::tty::size(std::io::stdin().as_fd()) {
        Ok(size) => println!("size {} {}", size.rows, size.columns),
        Err(errno) => println!("{errno:?}"),
    }
}

/// Waits until the size of the terminal changes.
fn wait_for_size() {
    let mut set = SigSet::empty();
    set.add(Signal::SIGWINCH);
    set.thread_block().expect("block signals");
    println!("ready");
    set.wait().expect("wait for a signal");
    size();
}

fn read_line() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("read a line");
    println!("read {:?}", line);
}

/// Writes numbered lines as fast as they go.
fn lines(count: usize) {
    let mut out = std::io::stdout().lock();
    for number in 0..count {
        writeln!(out, "line {number}").expect("write a line");
    }
}

/// Tries without end to look into processes that appear, and says what of them it could see that
/// is none of the container's. Ends when there is a file `/stop`.
fn peep(first: i32) {
    let (mut pid, mut tries) = (first, 0_u64);
    println!("ready");
    while !Path::new("/stop").exists() {
        // Processes come in order; one that is not there yet will be.
        let there = (pid..pid + 8).filter(|candidate| look_into(*candidate)).max();
        pid = there.unwrap_or(pid);
        tries += 8;
    }
    println!("tries {tries}, last {pid}");
}

/// Looks into the process; says whether it is there.
fn look_into(pid: i32) -> bool {
    let dir = format!("/proc/{pid}");
    // The C library of a program that starts looks at the third. The last is the container's
    // `/dev/null` when its mounts end between finding the descriptor and naming it.
    let mine = ["/", "/bin/probe", &format!("{dir}/maps"), "/null"].map(str::to_string);
    let own = |path: &Path| {
        let path = path.to_string_lossy();
        mine.iter().any(|own| *own == path) || path.starts_with("/dev/") || path.contains(":[")
    };
    let mut links = vec![format!("{dir}/exe"), format!("{dir}/cwd")];
    if let Ok(entries) = fs::read_dir(format!("{dir}/fd")) {
        links.extend(entries.flatten().map(|entry| entry.path().display().to_string()));
    }
    for link in links {
        match fs::read_link(&link) {
            Ok(target) if !own(&target) => println!("seen: {link} is {}", target.display()),
            _ => {}
        }
    }
    if let Ok(environment) = fs::read_to_string(format!("{dir}/environ"))
        && environment.contains("SECRET")
    {
        println!("seen: {dir}/environ is {environment}");
    }
    Path::new(&dir).exists()
}

/// Everything about this process that a runtime decides.
fn report() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let status: Map<String, Value> = read("/proc/self/status")
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| STATUS.contains(name))
        .map(|(name, value)| {
            (name.to_string(), json!(value.split_whitespace().collect::<Vec<_>>().join(" ")))
        })
        .collect();
    let cgroups: Vec<_> = read("/proc/self/cgroup").lines().map(str::to_string).collect();
    let dev = fs::read_dir("/dev").into_iter().flatten().flatten();
    let mut dev: Vec<_> = dev.map(|entry| describe(&entry.path())).collect();
    dev.sort_unstable();
    let maps = ["/proc/self/uid_map", "/proc/self/gid_map"]
        .map(|path| read(path).split_whitespace().collect::<Vec<_>>().join(" "));
    json!({
        "args": env::args().collect::<Vec<_>>(),
        "cwd": env::current_dir().unwrap_or_default(),
        "env": env::vars().collect::<BTreeMap<_, _>>(),
        "status": status,
        "limits": read("/proc/self/limits").lines().collect::<Vec<_>>(),
        "oom_score_adj": read("/proc/self/oom_score_adj").trim(),
        "umask": format!("{:04o}", umask(Mode::empty()).bits()),
        "hostname": read("/proc/sys/kernel/hostname").trim(),
        "domainname": read("/proc/sys/kernel/domainname").trim(),
        "mounts": mounts(&read("/proc/self/mountinfo")),
        "cgroups": cgroups,
        "dev": dev,
        "fds": descriptors(),
        "maps": maps,
        "pid": std::process::id(),
    })
}

const STATUS: [&str; 15] = [
    "Uid",
    "Gid",
    "Groups",
    "NoNewPrivs",
    "Seccomp",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "SigBlk",
    "SigIgn",
    "Umask",
    "NStgid",
    "Cpus_allowed_list",
];

/// The mounts without the numbers that differ each time, sorted by where they are.
fn mounts(table: &str) -> Vec<String> {
    let mut mounts: Vec<_> =
        table.lines().map(|line| line.split(' ').skip(3).collect::<Vec<_>>().join(" ")).collect();
    mounts.sort_by_key(|line| line.split(' ').nth(1).unwrap_or_default().to_string());
    mounts
}

fn describe(path: &Path) -> String {
    let name = path.display();
    let Ok(meta) = fs::symlink_metadata(path) else { return name.to_string() };
    match fs::read_link(path) {
        Ok(to) => format!("{name} -> {}", to.display()),
        Err(_) => format!(
            "{name} {:o} {}:{} {}:{}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            major(meta.rdev()),
            minor(meta.rdev())
        ),
    }
}

/// The open descriptors and what they are, without the one that lists them.
fn descriptors() -> Vec<String> {
    let links = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let mut found: Vec<_> = links
        .filter_map(|entry| {
            let number = entry.file_name().to_string_lossy().into_owned();
            let target = fs::read_link(entry.path()).ok()?.display().to_string();
            // The directory that is being read.
            (!target.ends_with("/fd")).then(|| format!("{number} {}", generic(&target)))
        })
        .collect();
    found.sort_unstable();
    found
}

/// `pipe:[123]` and `pipe:[456]` are the same for a comparison.
fn generic(target: &str) -> &str {
    target.split_once(":[").map_or(target, |(kind, _)| kind)
}
