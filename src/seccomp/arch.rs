//! Architectures, as a filter sees them: the number that the kernel reports with each call.
//!
//! The numbers of the types are those of libseccomp, which are the kernel's `AUDIT_ARCH_*` for
//! all but x32.

use oci_spec::runtime::Arch;

/// The architecture that this program was built for.
pub const NATIVE: Arch = native();

/// The bit of `AUDIT_ARCH_*` for registers of 64 bits.
const WIDE: u32 = 0x8000_0000;
/// The bit for little endian.
const LITTLE: u32 = 0x4000_0000;
/// The bit for MIPS with registers of 64 bits and pointers of 32.
const N32: u32 = 0x2000_0000;

const fn native() -> Arch {
    let little = cfg!(target_endian = "little");
    if cfg!(target_arch = "x86_64") {
        Arch::ScmpArchX86_64
    } else if cfg!(target_arch = "x86") {
        Arch::ScmpArchX86
    } else if cfg!(target_arch = "aarch64") {
        Arch::ScmpArchAarch64
    } else if cfg!(target_arch = "arm") {
        Arch::ScmpArchArm
    } else if cfg!(target_arch = "riscv64") {
        Arch::ScmpArchRiscv64
    } else if cfg!(target_arch = "loongarch64") {
        Arch::ScmpArchLoongarch64
    } else if cfg!(target_arch = "s390x") {
        Arch::ScmpArchS390x
    } else if cfg!(target_arch = "powerpc64") {
        if little { Arch::ScmpArchPpc64le } else { Arch::ScmpArchPpc64 }
    } else if cfg!(target_arch = "mips64") {
        if little { Arch::ScmpArchMipsel64 } else { Arch::ScmpArchMips64 }
    } else {
        panic!("seccomp is not known for this architecture")
    }
}

/// The architectures that a kernel for `native` can report, itself first.
#[must_use]
pub fn family(native: Arch) -> &'static [Arch] {
    match native {
        Arch::ScmpArchX86_64 => &[Arch::ScmpArchX86_64, Arch::ScmpArchX32, Arch::ScmpArchX86],
        Arch::ScmpArchX32 => &[Arch::ScmpArchX32],
        Arch::ScmpArchX86 => &[Arch::ScmpArchX86],
        Arch::ScmpArchAarch64 => &[Arch::ScmpArchAarch64, Arch::ScmpArchArm],
        Arch::ScmpArchArm => &[Arch::ScmpArchArm],
        Arch::ScmpArchMips64 => {
            &[Arch::ScmpArchMips64, Arch::ScmpArchMips64n32, Arch::ScmpArchMips]
        }
        Arch::ScmpArchMipsel64 => {
            &[Arch::ScmpArchMipsel64, Arch::ScmpArchMipsel64n32, Arch::ScmpArchMipsel]
        }
        Arch::ScmpArchMips => &[Arch::ScmpArchMips],
        Arch::ScmpArchMipsel => &[Arch::ScmpArchMipsel],
        Arch::ScmpArchMips64n32 => &[Arch::ScmpArchMips64n32],
        Arch::ScmpArchMipsel64n32 => &[Arch::ScmpArchMipsel64n32],
        Arch::ScmpArchPpc64 => &[Arch::ScmpArchPpc64, Arch::ScmpArchPpc],
        Arch::ScmpArchPpc64le => &[Arch::ScmpArchPpc64le],
        Arch::ScmpArchPpc => &[Arch::ScmpArchPpc],
        Arch::ScmpArchS390x => &[Arch::ScmpArchS390x, Arch::ScmpArchS390],
        Arch::ScmpArchS390 => &[Arch::ScmpArchS390],
        Arch::ScmpArchParisc64 => &[Arch::ScmpArchParisc64, Arch::ScmpArchParisc],
        Arch::ScmpArchParisc => &[Arch::ScmpArchParisc],
        Arch::ScmpArchRiscv64 => &[Arch::ScmpArchRiscv64],
        Arch::ScmpArchLoongarch64 => &[Arch::ScmpArchLoongarch64],
        Arch::ScmpArchM68k => &[Arch::ScmpArchM68k],
        Arch::ScmpArchSh => &[Arch::ScmpArchSh],
        Arch::ScmpArchSheb => &[Arch::ScmpArchSheb],
        // A word for another one.
        Arch::ScmpArchNative => &[],
    }
}

/// The number that the kernel reports. Calls of x32 come with that of x86-64 and a bit in their
/// own number.
#[must_use]
pub fn audit(arch: Arch) -> u32 {
    match arch {
        Arch::ScmpArchX32 => Arch::ScmpArchX86_64 as u32,
        other => other as u32,
    }
}

/// Whether arguments are compared in all of their 64 bits. Those of x32 and of MIPS n32 are taken
/// for 32 bits wide, as by libseccomp.
#[must_use]
pub fn is_wide(arch: Arch) -> bool {
    arch as u32 & (WIDE | N32) == WIDE
}

/// Whether the low half of an argument comes first in memory.
#[must_use]
pub fn is_little_endian(arch: Arch) -> bool {
    arch as u32 & LITTLE != 0
}

/// Its column in the table of system calls: the order of `build/syscalls.rs`.
#[must_use]
pub(super) fn column(arch: Arch) -> Option<usize> {
    Some(match arch {
        Arch::ScmpArchX86_64 => 0,
        Arch::ScmpArchX86 => 1,
        Arch::ScmpArchX32 => 2,
        Arch::ScmpArchAarch64 => 3,
        Arch::ScmpArchArm => 4,
        Arch::ScmpArchLoongarch64 => 5,
        Arch::ScmpArchM68k => 6,
        Arch::ScmpArchMips | Arch::ScmpArchMipsel => 7,
        Arch::ScmpArchMips64 | Arch::ScmpArchMipsel64 => 8,
        Arch::ScmpArchMips64n32 | Arch::ScmpArchMipsel64n32 => 9,
        Arch::ScmpArchPpc => 10,
        Arch::ScmpArchPpc64 | Arch::ScmpArchPpc64le => 11,
        Arch::ScmpArchRiscv64 => 12,
        Arch::ScmpArchS390x => 13,
        Arch::ScmpArchSh | Arch::ScmpArchSheb => 14,
        Arch::ScmpArchS390 => 15,
        Arch::ScmpArchParisc => 16,
        Arch::ScmpArchParisc64 => 17,
        Arch::ScmpArchNative => return None,
    })
}
