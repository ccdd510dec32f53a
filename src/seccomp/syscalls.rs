//! System calls: their names, and their numbers on each architecture.
//!
//! The table is written by `build/syscalls.rs`, which names its source.

use oci_spec::runtime::Arch;

use super::arch::column;

include!(concat!(env!("OUT_DIR"), "/syscalls.rs"));

/// One name. `u32::MAX` stands for «not on this architecture».
struct Row {
    start: u16,
    length: u8,
    /// The first eight bytes of the name, the first one highest, so that most comparisons are one.
    begin: u64,
    within: Option<Within>,
    numbers: [u32; 18],
}

/// A call that some architectures also have as a part of another one, with the first argument
/// which selects it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// socketcall(2)
    Socketcall(u32),
    /// ipc(2)
    Ipc(u32),
}

impl Within {
    /// The call that contains it, and the argument.
    #[must_use]
    pub fn parts(self) -> (&'static str, u32) {
        match self {
            Self::Socketcall(code) => ("socketcall", code),
            Self::Ipc(code) => ("ipc", code),
        }
    }
}

/// A system call that at least one architecture has.
#[derive(Clone, Copy)]
pub struct Syscall(&'static Row);

impl std::fmt::Debug for Syscall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Syscall {
    /// Looks a name up.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let wanted = begin(name);
        let compare = |row: &Row| {
            row.begin.cmp(&wanted).then_with(|| row.name().as_bytes().cmp(name.as_bytes()))
        };
        ROWS.binary_search_by(compare).ok().and_then(|index| ROWS.get(index)).map(Self)
    }

    /// All of them, sorted by name.
    pub fn all() -> impl Iterator<Item = Self> {
        ROWS.iter().map(Self)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// Its number, with the bit that marks calls of x32 and the base of those of MIPS.
    #[must_use]
    pub fn number(self, arch: Arch) -> Option<u32> {
        column(arch).and_then(|column| self.number_in(column))
    }

    /// Its number in a column of the table.
    #[must_use]
    pub(super) fn number_in(self, column: usize) -> Option<u32> {
        self.0.numbers.get(column).copied().filter(|number| *number != u32::MAX)
    }

    /// Where else it is found.
    #[must_use]
    pub fn within(self) -> Option<Within> {
        self.0.within
    }
}

impl Row {
    fn name(&self) -> &'static str {
        let start = usize::from(self.start);
        NAMES.get(start..start + usize::from(self.length)).unwrap_or_default()
    }
}

/// The first eight bytes of a name; shorter ones end in zeroes.
fn begin(name: &str) -> u64 {
    let bytes = name.bytes().chain(std::iter::repeat(0)).take(8);
    bytes.fold(0, |begin, byte| begin << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_c_library() {
        let native = super::super::arch::NATIVE;
        for (name, number) in [
            ("read", libc::SYS_read),
            ("execve", libc::SYS_execve),
            ("clone3", libc::SYS_clone3),
            ("openat2", libc::SYS_openat2),
            ("mount_setattr", libc::SYS_mount_setattr),
            ("futex_waitv", libc::SYS_futex_waitv),
            ("mseal", libc::SYS_mseal),
        ] {
            let found = Syscall::named(name).and_then(|call| call.number(native));
            assert_eq!(found.map(i64::from), Some(number), "{name}");
        }
    }

    #[test]
    fn every_name_is_found() {
        for row in &ROWS {
            assert_eq!(row.begin, begin(row.name()), "{}", row.name());
            assert_eq!(Syscall::named(row.name()).map(Syscall::name), Some(row.name()));
            assert!(Syscall::named(&format!("{}-", row.name())).is_none());
        }
    }

    #[test]
    fn architectures_differ() {
        let number = |name, arch| Syscall::named(name).and_then(|call| call.number(arch));
        for (name, arch, want) in [
            ("socketcall", Arch::ScmpArchX86, Some(102)),
            ("socketcall", Arch::ScmpArchX86_64, None),
            ("rt_sigaction", Arch::ScmpArchX32, Some(0x4000_0200)),
            ("read", Arch::ScmpArchX32, Some(0x4000_0000)),
            ("open", Arch::ScmpArchAarch64, None),
            ("openat", Arch::ScmpArchAarch64, Some(56)),
            ("set_tls", Arch::ScmpArchArm, Some(0x000f_0005)),
            ("read", Arch::ScmpArchMipsel64n32, Some(6000)),
            ("read", Arch::ScmpArchPpc64le, Some(3)),
            ("file_setattr", Arch::ScmpArchX86_64, Some(469)),
            ("file_setattr", Arch::ScmpArchRiscv64, Some(469)),
        ] {
            assert_eq!(number(name, arch), want, "{name} on {arch}");
        }
        assert!(Syscall::named("nosuchcall").is_none());
    }
}
