//! Device rules on v2: a BPF program that decides about each access (RDV-07).
//!
//! The kernel runs it with a `struct bpf_cgroup_dev_ctx` and takes its result for allowed (1) or
//! not (0). The program compares the exceptions one after another and jumps to the end of each
//! that does not match.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::cgroups::devices::{Devices, Exception, Kind};
use crate::sys::bpf;

// Registers: the context comes in 1, the result leaves in 0.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

// Opcodes of eBPF (bpf(2), the kernel's instruction-set document).
const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const AND: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const SHIFT_RIGHT: u8 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
const MOVE: u8 = 0xbf; // BPF_ALU64 | BPF_MOV | BPF_X
const MOVE_VALUE: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
const JUMP_NOT_EQUAL: u8 = 0x55; // BPF_JMP | BPF_JNE | BPF_K
const JUMP_EQUAL: u8 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

/// Loads the rules as a program and attaches it to the cgroup at `directory`.
///
/// # Errors
/// When the kernel refuses either.
pub(in crate::cgroups) fn attach(devices: &Devices, directory: &Path) -> Result<()> {
    let program = bpf::load_device_program(&compile(devices), c"Apache-2.0")
        .context("load the device program")?;
    bpf::attach_device_program(open_cgroup(directory)?.as_fd(), program.as_fd())
        .with_context(|| format!("attach the device program to {}", directory.display()))
}

/// Takes off what an earlier container has left: each program of a cgroup can deny an access
/// (BXD-06).
///
/// # Errors
/// When the kernel refuses it.
pub(in crate::cgroups) fn detach_all(directory: &Path) -> Result<()> {
    bpf::detach_device_programs(open_cgroup(directory)?.as_fd())
        .with_context(|| format!("detach old device programs from {}", directory.display()))
}

fn open_cgroup(directory: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(directory, flags, Mode::empty()).with_context(|| format!("open {}", directory.display()))
}

/// One instruction: opcode, registers, jump distance, constant.
const fn instruction(code: u8, to: u8, from: u8, jump: i16, value: u32) -> u64 {
    code as u64
        | (to as u64) << 8
        | (from as u64) << 12
        | (jump.cast_unsigned() as u64) << 16
        | (value as u64) << 32
}

fn compile(devices: &Devices) -> Vec<u64> {
    // The low half of the first word is the kind, the high half the access.
    let mut program = vec![
        instruction(LOAD_WORD, KIND, CONTEXT, 0, 0),
        instruction(MOVE, ACCESS, KIND, 0, 0),
        instruction(AND, KIND, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for exception in &devices.exceptions {
        program.extend(block(exception, devices.allow_by_default));
    }
    program.extend(result(devices.allow_by_default));
    program
}

fn result(allow: bool) -> [u64; 2] {
    [instruction(MOVE_VALUE, RESULT, 0, 0, allow.into()), instruction(EXIT, 0, 0, 0, 0)]
}

/// Gives the opposite of the default where the exception matches, else runs on.
///
/// As in v1, an exception that allows has to cover all of the access, and one that denies any
/// part of it.
fn block(exception: &Exception, allow_by_default: bool) -> Vec<u64> {
    let kind = match exception.kind {
        Kind::Block => 1,
        Kind::Character => 2,
    };
    let bits = u32::from(exception.access.0);
    let mut tests = vec![(KIND, kind)];
    tests.extend(exception.major.map(|major| (MAJOR, major)));
    tests.extend(exception.minor.map(|minor| (MINOR, minor)));
    let copy = instruction(MOVE, SCRATCH, ACCESS, 0, 0);
    // The jumps go over what follows them in this block: filled in when its length is known.
    let mut block: Vec<(u64, bool)> = tests
        .into_iter()
        .map(|(register, value)| (instruction(JUMP_NOT_EQUAL, register, 0, 0, value), true))
        .collect();
    block.push((copy, false));
    if allow_by_default {
        block.push((instruction(AND, SCRATCH, 0, 0, bits), false));
        block.push((instruction(JUMP_EQUAL, SCRATCH, 0, 0, 0), true));
    } else {
        block.push((instruction(AND, SCRATCH, 0, 0, !bits), false));
        block.push((instruction(JUMP_NOT_EQUAL, SCRATCH, 0, 0, 0), true));
    }
    block.extend(result(!allow_by_default).map(|instruction| (instruction, false)));
    let length = block.len();
    let finish = |(index, (code, jumps)): (usize, (u64, bool))| {
        let distance = (length - 1 - index) as u64;
        if jumps { code | distance << 16 } else { code }
    };
    block.into_iter().enumerate().map(finish).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Runs a program as the kernel would.
    fn run(program: &[u64], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let context = [kind | access << 16, major, minor];
        let mut registers = [0_u64; 11];
        let mut at = 0_usize;
        loop {
            let code = program[at];
            let (to, from) = ((code >> 8 & 15) as usize, (code >> 12 & 15) as usize);
            let (jump, value) = ((code >> 16 & 0xffff) as usize, code >> 32);
            at += 1;
            match (code & 0xff) as u8 {
                LOAD_WORD => registers[to] = context[jump / 4].into(),
                MOVE => registers[to] = registers[from],
                MOVE_VALUE => registers[to] = value,
                AND => registers[to] &= value,
                SHIFT_RIGHT => registers[to] = (registers[to] & 0xffff_ffff) >> value,
                JUMP_NOT_EQUAL if registers[to] != value => at += jump,
                JUMP_EQUAL if registers[to] == value => at += jump,
                JUMP_NOT_EQUAL | JUMP_EQUAL => {}
                EXIT => return registers[0] == 1,
                other => panic!("opcode {other:x}"),
            }
        }
    }

    fn program(rules: Value) -> Vec<u64> {
        let rules: Vec<_> = serde_json::from_value(rules).unwrap();
        compile(&Devices::from_rules(&rules, &[]).unwrap())
    }

    #[test]
    fn the_program_decides_as_v1_does() {
        let (block, character) = (1, 2);
        let (mknod, read, write) = (1, 2, 4);
        let deny = program(json!([
            {"allow": false},
            {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "r"},
            {"allow": true, "type": "b", "major": 8, "access": "rw"}]));
        let allow = program(json!([
            {"allow": true},
            {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "w"}]));
        for (program, kind, access, major, minor, want) in [
            (&deny, character, read, 10, 229, true),
            (&deny, character, write, 10, 229, false),
            (&deny, character, read | write, 10, 229, false),
            (&deny, character, mknod, 10, 229, true),
            (&deny, character, read | write, 1, 3, true),
            (&deny, character, read, 1, 1, false),
            (&deny, block, read | write, 8, 7, true),
            (&deny, block, read, 9, 7, false),
            (&deny, character, read, 8, 7, false),
            (&deny, character, read | write, 136, 99, true),
            (&allow, character, read, 10, 229, true),
            (&allow, character, read | write, 10, 229, false),
            (&allow, block, read | write | mknod, 8, 0, true),
        ] {
            let got = run(program, kind, access, major, minor);
            assert_eq!(got, want, "{kind} {major}:{minor} {access}");
        }
    }
}
