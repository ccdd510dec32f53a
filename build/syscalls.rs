//! Writes the table of system calls as Rust source: one row for each name, one number for each
//! architecture.
//!
//! The numbers come from the crate `syscall-numbers` (Linux 6.18), which takes them from the headers
//! of musl. Where those have other names than the kernel, or compute a number, the kernel's tables
//! (`arch/*/tools/syscall.tbl` and the like) are followed: see [`RENAMED`] and [`ADDED`], and
//! `further.rs` for the architectures that musl does not have.
//! `tests/seccomp/table.rs` compares the result with libseccomp's table.

use std::collections::BTreeMap;
use std::ffi::c_long;
use std::fmt::Write;

use syscall_numbers as numbers;

#[path = "further.rs"]
mod further;

use further::{COMMON, NOT_PARISC, NOT_S390, PARISC, S390, TIMES};

type Name = fn(c_long) -> Option<&'static str>;

/// The architectures in the order of the columns, which `src/seccomp/arch.rs` repeats, and where
/// the numbers of each begin. Those of `further.rs` follow.
const CRATE: [(Name, c_long); 15] = [
    (numbers::x86_64::sys_call_name, 0),
    (numbers::x86::sys_call_name, 0),
    (numbers::x32::sys_call_name, 0x4000_0000),
    (numbers::aarch64::sys_call_name, 0),
    (numbers::arm::sys_call_name, 0),
    (numbers::loongarch64::sys_call_name, 0),
    (numbers::m68k::sys_call_name, 0),
    (numbers::mips::sys_call_name, 4000),
    (numbers::mips64::sys_call_name, 5000),
    (numbers::mipsn32::sys_call_name, 6000),
    (numbers::powerpc::sys_call_name, 0),
    (numbers::powerpc64::sys_call_name, 0),
    (numbers::riscv64::sys_call_name, 0),
    (numbers::s390x::sys_call_name, 0),
    (numbers::sh::sys_call_name, 0),
];

const X86: usize = 1;
const X32: usize = 2;
const ARM: usize = 4;
const RISCV64: usize = 12;
const S390X: usize = 13;
const S390_31: usize = 15;
const PARISC_32: usize = 16;
const PARISC_64: usize = 17;
const COLUMNS: usize = 18;

/// What musl calls calls with times of 32 bits, so that the plain names are free for the others.
const RENAMED: [(&str, &str); 10] = [
    ("clock_getres_time32", "clock_getres"),
    ("clock_gettime32", "clock_gettime"),
    ("clock_nanosleep_time32", "clock_nanosleep"),
    ("clock_settime32", "clock_settime"),
    ("gettimeofday_time32", "gettimeofday"),
    ("settimeofday_time32", "settimeofday"),
    ("timer_gettime32", "timer_gettime"),
    ("timer_settime32", "timer_settime"),
    ("timerfd_gettime32", "timerfd_gettime"),
    ("timerfd_settime32", "timerfd_settime"),
];

/// What musl's headers compute or leave out, and the private calls of ARM.
const ADDED: [(usize, &str, u32); 23] = [
    (X86, "getrlimit", 76),
    (X86, "timer_settime", 260),
    (X86, "timer_gettime", 261),
    (X86, "timer_getoverrun", 262),
    (X86, "timer_delete", 263),
    (X86, "clock_settime", 264),
    (X86, "clock_gettime", 265),
    (X86, "clock_getres", 266),
    (X86, "clock_nanosleep", 267),
    (X86, "mq_unlink", 278),
    (X86, "mq_timedsend", 279),
    (X86, "mq_timedreceive", 280),
    (X86, "mq_notify", 281),
    (X86, "mq_getsetattr", 282),
    (ARM, "arm_fadvise64_64", 270),
    (ARM, "arm_sync_file_range", 341),
    (ARM, "breakpoint", 0x000f_0001),
    (ARM, "cacheflush", 0x000f_0002),
    (ARM, "usr26", 0x000f_0003),
    (ARM, "usr32", 0x000f_0004),
    (ARM, "set_tls", 0x000f_0005),
    (ARM, "get_tls", 0x000f_0006),
    (RISCV64, "riscv_flush_icache", 259),
];

/// Names that other architectures have for these, or that the kernel does not have there.
const REMOVED: [(usize, &str); 3] =
    [(ARM, "fadvise64_64"), (ARM, "sync_file_range2"), (X32, "map_shadow_stack")];

/// What x86 and others pass through socketcall(2), in the order of its first argument from 1 on.
const SOCKETCALL: [&str; 20] = [
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "getsockname",
    "getpeername",
    "socketpair",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendmsg",
    "recvmsg",
    "accept4",
    "recvmmsg",
    "sendmmsg",
];

/// What they pass through ipc(2), with its first argument.
const IPC: [(&str, u32); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

/// What stands for «this architecture does not have it».
const NONE: u32 = u32::MAX;

/// The source of the table: the names, one after another in one string so that the program has no
/// pointers to relocate, and the rows, sorted by name.
pub(super) fn table() -> String {
    let rows = rows();
    let names: String = rows.keys().copied().collect();
    let mut source = format!("const NAMES: &str = {names:?};\n");
    let count = rows.len();
    writeln!(source, "static ROWS: [Row; {count}] = [").expect("a string");
    let mut start = 0;
    for (name, numbers) in &rows {
        let length = name.len();
        let within = within(name);
        let begin = begin(name);
        writeln!(
            source,
            "Row {{ start: {start}, length: {length}, begin: {begin}, within: {within}, numbers: {numbers:?} }},"
        )
        .expect("a string");
        start += length;
    }
    source.push_str("];\n");
    source
}

/// The first eight bytes of a name as one number, the first byte highest.
fn begin(name: &str) -> u64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    u64::from_be_bytes(bytes)
}

/// The source of an `Option<Within>`.
fn within(name: &str) -> String {
    let socket = SOCKETCALL.iter().zip(1..).find(|(call, _)| **call == name);
    let socket = socket.map(|(_, code)| format!("Some(Within::Socketcall({code}))"));
    let ipc = IPC.iter().find(|(call, _)| *call == name);
    let ipc = ipc.map(|(_, code)| format!("Some(Within::Ipc({code}))"));
    socket.or(ipc).unwrap_or_else(|| "None".to_string())
}

type Rows = BTreeMap<&'static str, [u32; COLUMNS]>;

fn rows() -> Rows {
    let mut rows = Rows::new();
    for (column, (name, base)) in CRATE.iter().enumerate() {
        for number in *base..*base + 1024 {
            let Some(name) = name(number).filter(|name| !is_placeholder(name)) else { continue };
            let renamed = RENAMED.iter().find(|(musl, _)| *musl == name);
            let name = renamed.map_or(name, |(_, kernel)| *kernel);
            set(&mut rows, column, name, u32::try_from(number).expect("a small number"));
        }
    }
    ADDED.iter().for_each(|(column, name, number)| set(&mut rows, *column, name, *number));
    REMOVED.iter().for_each(|(column, name)| set(&mut rows, *column, name, NONE));
    add_s390(&mut rows);
    add_parisc(&mut rows);
    rows
}

fn set(rows: &mut Rows, column: usize, name: &'static str, number: u32) {
    rows.entry(name).or_insert([NONE; COLUMNS])[column] = number;
}

/// Copies the numbers from `first` up to `end` of one column to another one.
fn copy(rows: &mut Rows, from: usize, to: usize, first: u32, end: u32) {
    for row in rows.values_mut().filter(|row| (first..end).contains(&row[from])) {
        row[to] = row[from];
    }
}

fn add_s390(rows: &mut Rows) {
    copy(rows, S390X, S390_31, 0, NONE);
    copy(rows, X86, S390_31, TIMES, COMMON);
    S390.iter().for_each(|(name, number)| set(rows, S390_31, name, *number));
    NOT_S390.iter().for_each(|name| set(rows, S390_31, name, NONE));
}

fn add_parisc(rows: &mut Rows) {
    copy(rows, X86, PARISC_32, TIMES, COMMON);
    for column in [PARISC_32, PARISC_64] {
        copy(rows, S390X, column, COMMON, NONE);
        for (first, names) in PARISC {
            let names = names.split_whitespace().zip(first..);
            names.for_each(|(name, number)| set(rows, column, name, number));
        }
        NOT_PARISC.iter().for_each(|name| set(rows, column, name, NONE));
    }
}

/// Numbers that are kept free have names as well.
fn is_placeholder(name: &str) -> bool {
    name.starts_with("reserved") || name.starts_with("unused") || name == "arch_specific_syscall"
}
