//! libseccomp, if this machine has it, used as runc uses it.
//!
//! A small program in C does that, in a process of its own: some profiles crash the library, and
//! these tests may be linked statically.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use libc::sock_filter;
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompArg};
use orlop::seccomp::arch::is_little_endian;
use orlop::seccomp::syscalls::Syscall;

use crate::table::ARCHITECTURES;

/// `BPF_RET | BPF_K`
const RETURN: u16 = 6;

/// The library.
pub(crate) struct Library {
    program: PathBuf,
    known: HashSet<&'static str>,
    numbers: HashMap<(u32, &'static str), i32>,
    names: BTreeMap<(u32, u32), String>,
}

/// Builds the program that uses the library. Says once why there is none.
pub(crate) fn library() -> Option<&'static Library> {
    static LIBRARY: OnceLock<Option<Library>> = OnceLock::new();
    LIBRARY.get_or_init(build).as_ref()
}

fn build() -> Option<Library> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seccomp/libseccomp.c");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libseccomp");
    let mut compiler = Command::new("cc");
    compiler.arg("-O2").arg("-o").arg(&program).arg(source).arg("-lseccomp");
    match compiler.output() {
        Ok(output) if output.status.success() => {}
        Ok(_) => {
            println!("skipped: libseccomp and its header are not installed");
            return None;
        }
        Err(error) => {
            println!("skipped: cc: {error}");
            return None;
        }
    }
    let mut library =
        Library { program, known: HashSet::new(), numbers: HashMap::new(), names: BTreeMap::new() };
    library.read_tables();
    Some(library)
}

impl Library {
    fn read_tables(&mut self) {
        let calls: Vec<_> = Syscall::all().map(Syscall::name).collect();
        let numbers = || (0..7000).chain(0x4000_0000..0x4000_0400).chain(0xf_0000..0xf_0010);
        let mut commands = String::new();
        let mut ask = |text: std::fmt::Arguments<'_>| writeln!(commands, "{text}").expect("text");
        for call in &calls {
            ask(format_args!("known {call}"));
        }
        for arch in ARCHITECTURES.map(|arch| arch as u32) {
            calls.iter().for_each(|call| ask(format_args!("number {arch} {call}")));
            numbers().for_each(|number| ask(format_args!("name {arch} {number}")));
        }
        let output = self.ask(commands).expect("tables");
        let text = String::from_utf8(output).expect("text");
        let mut lines = text.lines();
        let number = |line: Option<&str>| line.expect("a line").parse::<i32>().expect("a number");
        let known = calls.iter().map(|call| (*call, number(lines.next())));
        let known: Vec<_> = known.filter(|(_, number)| *number != -1).collect();
        for arch in ARCHITECTURES.map(|arch| arch as u32) {
            for call in &calls {
                self.numbers.insert((arch, call), number(lines.next()));
            }
            for number in numbers() {
                let name = lines.next().expect("a line");
                if name != "-" {
                    self.names.insert((arch, number), name.to_string());
                }
            }
        }
        self.keep_unambiguous(&known);
    }

    /// It gives numbers below zero to calls that the native architecture lacks, and some of those
    /// to two calls: rules for one of them go to the other.
    fn keep_unambiguous(&mut self, known: &[(&'static str, i32)]) {
        let commands =
            known.iter().map(|(_, number)| format!("name 0 {}\n", number.cast_unsigned()));
        let output = self.ask(commands.collect()).expect("names");
        let names = String::from_utf8(output).expect("text");
        let same = known.iter().zip(names.lines()).filter(|((call, _), name)| call == name);
        self.known = same.map(|((call, _), _)| *call).collect();
        println!("{} names of libseccomp have a number of their own", self.known.len());
    }

    /// Runs the program with these commands.
    fn ask(&self, commands: String) -> Result<Vec<u8>, String> {
        let mut child = Command::new(&self.program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the program");
        let mut input = child.stdin.take().expect("a pipe");
        // It may end before it has read all.
        let writer = thread::spawn(move || input.write_all(commands.as_bytes()).is_ok());
        let mut output = Vec::new();
        child.stdout.take().expect("a pipe").read_to_end(&mut output).expect("read");
        let status = child.wait().expect("wait for the program");
        writer.join().expect("a thread");
        match status.code() {
            Some(0) => Ok(output),
            Some(number) => Err(std::io::Error::from_raw_os_error(number).to_string()),
            None => Err(format!("crashed: {status}")),
        }
    }

    /// The number of a call, negative if the architecture does not have it and others do.
    pub(crate) fn number(&self, arch: Arch, name: &str) -> Option<i32> {
        let call = Syscall::named(name)?.name();
        self.numbers.get(&(arch as u32, call)).copied().filter(|number| *number != -1)
    }

    /// All numbers that have names.
    pub(crate) fn names(&self) -> impl Iterator<Item = (u32, u32, &String)> {
        self.names.iter().map(|((arch, number), name)| (*arch, *number, name))
    }

    /// Whether it knows the name at all.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.known.contains(name)
    }

    /// Whether it knows the architecture.
    pub(crate) fn knows_arch(&self, arch: Arch) -> bool {
        self.number(arch, "read").is_some()
    }

    /// Compiles a profile for these architectures, the native one first.
    ///
    /// # Errors
    /// Why there is no program.
    pub(crate) fn compile(
        &self,
        profile: &LinuxSeccomp,
        architectures: &[Arch],
    ) -> Result<Vec<sock_filter>, String> {
        let bytes = self.ask(commands(profile, architectures) + "export\n")?;
        Ok(read_program(&bytes, is_little_endian(architectures[0])))
    }

    /// How many nanoseconds compiling takes.
    pub(crate) fn time(&self, profile: &LinuxSeccomp, architectures: &[Arch]) -> u64 {
        let output = self.ask(commands(profile, architectures) + "time\n").expect("a time");
        String::from_utf8_lossy(&output).trim().parse().expect("a number")
    }
}

fn commands(profile: &LinuxSeccomp, architectures: &[Arch]) -> String {
    let default = profile.default_action().as_u32(profile.default_errno_ret());
    let mut text = format!("default {default}\n");
    for arch in architectures {
        writeln!(text, "arch {}", *arch as u32).expect("text");
    }
    for rule in profile.syscalls().iter().flatten() {
        let action = rule.action().as_u32(rule.errno_ret());
        let args = rule.args().as_deref().unwrap_or_default();
        for name in rule.names().iter().filter(|_| action != default) {
            for set in sets(args) {
                writeln!(text, "rule {action} {name} {}", set.len()).expect("text");
                for arg in set {
                    let (operator, two) = (arg.op() as u32, arg.value_two().unwrap_or(0));
                    writeln!(text, "{} {operator} {} {two}", arg.index(), arg.value())
                        .expect("text");
                }
            }
        }
    }
    text
}

/// Conditions on one argument become rules of their own.
fn sets(args: &[LinuxSeccompArg]) -> Vec<&[LinuxSeccompArg]> {
    let repeated = |arg: &LinuxSeccompArg| {
        args.iter().filter(|other| other.index() == arg.index()).count() > 1
    };
    if args.iter().any(repeated) { args.chunks(1).collect() } else { vec![args] }
}

/// Reads a program, which the library writes in the byte order of its architectures.
fn read_program(bytes: &[u8], little: bool) -> Vec<sock_filter> {
    let swap = little != cfg!(target_endian = "little");
    let instruction = |bytes: &[u8]| {
        let code = u16::from_ne_bytes([bytes[0], bytes[1]]);
        let k = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        let code = if swap { code.swap_bytes() } else { code };
        // It swaps some of the values that are returned and others not.
        let k = if swap && code != RETURN { k.swap_bytes() } else { k };
        sock_filter { code, jt: bytes[2], jf: bytes[3], k }
    };
    bytes.chunks_exact(8).map(instruction).collect()
}
