//! The program of the ready bundles: `where` tells where it is, `shell` reads commands from
//! standard input where the machine that made the bundle had no busybox.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "that is what it is for")]

use std::fs;
use std::io::{BufRead, stdin};
use std::process::{Command, exit};

fn main() {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("where") => tell_where(),
        Some("shell") | None => shell(),
        Some(other) => {
            eprintln!("inside: {other}: neither where nor shell");
            exit(2);
        }
    }
}

fn tell_where() {
    println!("Hello from inside of a container.\n");
    println!("  process id   {}", std::process::id());
    println!("  host name    {}", read("/proc/sys/kernel/hostname"));
    println!("  user         {}", field("/proc/self/status", "Uid:"));
    println!("  capabilities {}", field("/proc/self/status", "CapEff:"));
    println!("  root         {}", names("/"));
    println!("  processes    {}", processes());
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] {
        let link = fs::read_link(format!("/proc/self/ns/{kind}"));
        println!("  namespace    {}", link.map(|l| l.display().to_string()).unwrap_or_default());
    }
    for line in read("/proc/self/cgroup").lines() {
        println!("  cgroup       {line}");
    }
    for (name, files) in LIMITS {
        let value = files.iter().map(|file| read(&format!("/sys/fs/cgroup/{file}")));
        if let Some(value) = value.into_iter().find(|value| !value.is_empty()) {
            println!("  {name:<12} {value}");
        }
    }
}

/// What is limited, by the files of cgroup v2 and v1.
const LIMITS: [(&str, [&str; 3]); 3] = [
    ("most memory", ["memory.max", "memory/memory.limit_in_bytes", ""]),
    ("most tasks", ["pids.max", "pids/pids.max", ""]),
    ("cpu time", ["cpu.max", "cpu/cpu.cfs_quota_us", "cpu,cpuacct/cpu.cfs_quota_us"]),
];

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_string()
}

fn field(path: &str, name: &str) -> String {
    let text = read(path);
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().unwrap_or_default().to_string()
}

fn names(path: &str) -> String {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names.join(" ")
}

fn processes() -> String {
    let numbers = names("/proc");
    let numbers = numbers.split(' ').filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    numbers.collect::<Vec<_>>().join(" ")
}

fn shell() {
    for line in stdin().lock().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            ["exit"] => return,
            ["echo", words @ ..] => println!("{}", words.join(" ")),
            ["ls"] => println!("{}", names(".")),
            ["ls", path] => println!("{}", names(path)),
            ["cat", path] => println!("{}", read(path)),
            ["where"] => tell_where(),
            [program, args @ ..] => {
                if let Err(error) = Command::new(program).args(args).status() {
                    println!("{program}: {error}");
                }
            }
        }
    }
}
