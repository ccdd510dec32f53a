//! Classic BPF as the kernel runs it on a system call.

use libc::sock_filter;
use oci_spec::runtime::Arch;
use orlop::seccomp::arch::{audit, is_little_endian};

/// What a filter sees: `struct seccomp_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Data {
    pub(crate) number: u32,
    pub(crate) arch: u32,
    pub(crate) args: [u64; 6],
    pub(crate) little: bool,
}

impl Data {
    pub(crate) fn new(arch: Arch, number: u32, args: [u64; 6]) -> Self {
        Self { number, arch: audit(arch), args, little: is_little_endian(arch) }
    }

    fn word(&self, offset: u32) -> u32 {
        let half = |value: u64, second: bool| {
            let low = (value & 0xffff_ffff) as u32;
            if second == self.little { (value >> 32) as u32 } else { low }
        };
        match offset {
            0 => self.number,
            4 => self.arch,
            8 | 12 => 0,
            16..64 if offset.is_multiple_of(4) => {
                half(self.args[(offset as usize - 16) / 8], offset % 8 == 4)
            }
            other => panic!("load from offset {other}"),
        }
    }
}

/// The result of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The value that it returned.
    pub(crate) verdict: u32,
    /// How many instructions were executed.
    pub(crate) steps: usize,
}

#[derive(Default)]
struct Machine {
    a: u32,
    x: u32,
    memory: [u32; 16],
}

/// Runs a program.
pub(crate) fn run(program: &[sock_filter], data: &Data) -> Outcome {
    let mut machine = Machine::default();
    let mut at = 0;
    for steps in 1.. {
        let sock_filter { code, jt, jf, k } = program[at];
        at += 1;
        let source = if code & 0x08 == 0 { k } else { machine.x };
        match code & 0x07 {
            0x06 => {
                let verdict = if code & 0x18 == 0x10 { machine.a } else { k };
                return Outcome { verdict, steps };
            }
            0x05 if code & 0xf0 == 0 => at += k as usize,
            0x05 => {
                let holds = match code & 0xf0 {
                    0x10 => machine.a == source,
                    0x20 => machine.a > source,
                    0x30 => machine.a >= source,
                    0x40 => machine.a & source != 0,
                    other => panic!("jump {other:x}"),
                };
                at += usize::from(if holds { jt } else { jf });
            }
            0x04 => machine.a = calculate(code & 0xf0, machine.a, source),
            _ => match machine.transfer(code, k, data) {
                Some(()) => {}
                // A division by zero ends the program with 0, but the kernel refuses a constant
                // one, and the random programs have no other.
                None => panic!("opcode {code:x}"),
            },
        }
    }
    unreachable!("jumps go forward, so every program ends")
}

fn calculate(operation: u16, a: u32, source: u32) -> u32 {
    match operation {
        0x00 => a.wrapping_add(source),
        0x10 => a.wrapping_sub(source),
        0x20 => a.wrapping_mul(source),
        0x30 => a.checked_div(source).unwrap_or(0),
        0x40 => a | source,
        0x50 => a & source,
        0x60 => a.checked_shl(source).unwrap_or(0),
        0x70 => a.checked_shr(source).unwrap_or(0),
        0x80 => a.wrapping_neg(),
        0xa0 => a ^ source,
        other => panic!("calculation {other:x}"),
    }
}

impl Machine {
    /// Loads, stores and moves between registers.
    fn transfer(&mut self, code: u16, k: u32, data: &Data) -> Option<()> {
        let cell = k as usize;
        match code {
            0x20 => self.a = data.word(k),
            0x80 => self.a = 64,
            0x81 => self.x = 64,
            0x00 => self.a = k,
            0x01 => self.x = k,
            0x60 => self.a = self.memory[cell],
            0x61 => self.x = self.memory[cell],
            0x02 => self.memory[cell] = self.a,
            0x03 => self.memory[cell] = self.x,
            0x07 => self.x = self.a,
            0x87 => self.a = self.x,
            _ => return None,
        }
        Some(())
    }
}
