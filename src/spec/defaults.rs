//! What every container gets without asking for it: shared tables.

/// A character device that the specification promises (DDV-01 to DDV-06), mode 0666.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    /// The path inside the container.
    pub path: &'static str,
    /// The device number, first half.
    pub major: u64,
    /// The device number, second half.
    pub minor: u64,
}

/// The devices that are made in `/dev` unless `/dev` is a bind mount.
pub const DEVICES: [Device; 6] = [
    Device { path: "/dev/null", major: 1, minor: 3 },
    Device { path: "/dev/random", major: 1, minor: 8 },
    Device { path: "/dev/full", major: 1, minor: 7 },
    Device { path: "/dev/tty", major: 5, minor: 0 },
    Device { path: "/dev/zero", major: 1, minor: 5 },
    Device { path: "/dev/urandom", major: 1, minor: 9 },
];

/// Links in `/dev` and their targets (FDS-04 to FDS-07). Each is made only if its target exists.
///
/// `core` is runc's addition: only where the kernel offers `/proc/kcore`.
pub const LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
];

/// Paths that hide the host's hardware and kernel from the default container.
pub const MASKED_PATHS: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
];

/// Paths of the default container that may be read and not written.
pub const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
