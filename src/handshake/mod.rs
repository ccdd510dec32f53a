//! What the runtime and the container's init tell each other, and a process that joins later.
//!
//! ```text
//!   runtime                                init
//!      |  Placed  ------------------------>  |   only if systemd makes the cgroup, around init
//!      |  <--------------------  NeedIdMaps  |   only with a new user namespace
//!      |  IdMapsWritten  ----------------->  |
//!      |  <------------------  Forked(pid)   |   only with a joined user namespace: by the
//!      |                                     |   intermediate process, before it ends
//!      |  Adopted  ----------------------->  |   init, which speaks from here on
//!      |  <---------------  CgroupNamespace  |   only if a cgroup is delegated to the container
//!      |  Placed  ------------------------>  |
//!      |  <--------------------  NetDevices  |   only if interfaces are to be moved: there
//!      |  NetDevicesMoved  --------------->  |   is a network namespace for them
//!      |  <-------------  MapIds(mount, fd)  |   for each mount with mapped ids that shows what
//!      |  IdsMapped  --------------------->  |   was mounted in the container before
//!      |  <-------------------------  Hooks  |   mounts are made, the root changes next;
//!      |  HooksDone  --------------------->  |   only if there are hooks to run here
//!      |  <-----------------  Listener(fd)  |   the seccomp filter is on; only if there is
//!      |  ListenerSent  ------------------>  |   somebody who decides about calls
//!      |  <-------------------------  Ready  |   init is the program's user, and found it
//!      |  Committed  --------------------->  |   limits are set and the state is saved
//!      |                                     |   init waits at the gate
//! ```
//!
//! A process that joins sends `Forked`, `Ready`, and an error of execve(2) as `Failed` even after
//! `Committed`; then its end of the channel is closed with the execve.
//!
//! Init may send `Failed` instead of any of its messages; it is always the last one. Whoever
//! reads and finds the other side gone gets an error at once: init ends then, and the runtime
//! undoes what it made.

pub mod channel;
pub mod gate;

use serde::{Deserialize, Serialize};

/// What init tells the runtime.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromInit {
    /// Init stands in a new user namespace that has no ids yet.
    NeedIdMaps,
    /// The pid of init, as the runtime counts, and the end of the intermediate process.
    Forked(i32),
    /// Init has its cgroup namespace, if any, and can go on to a cgroup below.
    CgroupNamespace,
    /// Init stands in the network namespace that gets interfaces of the host.
    NetDevices,
    /// The ids of a mount are to be mapped, which is attached nowhere yet.
    MapIds {
        /// Its place in the document.
        mount: usize,
        /// The number of its descriptor, in init.
        tree: i32,
    },
    /// Prestart and createRuntime hooks can run now.
    Hooks,
    /// The number, in init, of the descriptor of the filter's listener. Init does not send the
    /// descriptor itself: that takes a call that the filter is more likely to forbid.
    Listener(i32),
    /// Everything is done that can fail, except executing the program.
    Ready {
        /// What init passed over.
        warnings: Vec<String>,
        /// The places of resource limits that only the runtime may set.
        limits: Vec<usize>,
    },
    /// The error and its causes, outermost first.
    Failed(Vec<String>),
}

/// What the runtime tells init.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromRuntime {
    /// Who was made is in the container's cgroups now; also the answer to `CgroupNamespace`.
    Placed,
    /// The answer to `NeedIdMaps`.
    IdMapsWritten,
    /// The answer to `Forked`: the runtime knows init, and init may begin.
    Adopted,
    /// The answer to `NetDevices`.
    NetDevicesMoved,
    /// The answer to `MapIds`.
    IdsMapped,
    /// The answer to `Hooks`.
    HooksDone,
    /// The answer to `Listener`: the runtime has it and has handed it over.
    ListenerSent,
    /// The answer to `Ready`: the container exists.
    Committed,
}
