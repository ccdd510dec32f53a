//! The listener of a profile: who answers the calls that it asks about.

use std::fs;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::{self, JoinHandle};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::{Value, json};

use crate::harness::Case;
use crate::seccomp::{allowing, errno, lines};
use crate::tests;

tests! {
    a_listener_gets_the_state_and_answers needs [Root],
    a_listener_answers_for_a_user_namespace needs [Root],
    the_annotation_of_crun_names_the_listener needs [Root]
        unlike runc "does not know it",
    a_listener_of_exec_gets_the_state_of_the_container needs [Root],
    a_listener_that_is_not_there_is_an_error needs [Root],
    a_profile_without_notifications_needs_no_listener needs [Root],
}

/// Somebody who listens for one listener: what was sent to it, and the answers that it gives.
pub fn agent(path: &Path, errno: i32) -> JoinHandle<(Value, usize)> {
    let socket = UnixListener::bind(path).expect("bind a socket");
    thread::spawn(move || {
        let (mut stream, _) = socket.accept().expect("a connection");
        let (text, descriptor) = receive(&mut stream);
        (serde_json::from_str(&text).expect("a state"), answer(&descriptor, errno))
    })
}

fn receive(stream: &mut UnixStream) -> (String, OwnedFd) {
    use std::os::fd::AsRawFd;
    let mut bytes = vec![0; 1 << 16];
    let mut space = nix::cmsg_space!(RawFd);
    let mut parts = [std::io::IoSliceMut::new(&mut bytes)];
    let message =
        recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty());
    let message = message.expect("a message");
    let rights = message.cmsgs().expect("control messages").next();
    let Some(ControlMessageOwned::ScmRights(numbers)) = rights else { panic!("no descriptor") };
    let count = message.bytes;
    let mut text = bytes[..count].to_vec();
    stream.read_to_end(&mut text).expect("the rest, and the end");
    // SAFETY: the kernel has just made this descriptor for us.
    #[expect(unsafe_code, reason = "a descriptor arrives as a number")]
    let descriptor = unsafe { OwnedFd::from_raw_fd(numbers[0]) };
    (String::from_utf8(text).expect("text"), descriptor)
}

/// Answers one call with an error, and says which call it was.
#[expect(unsafe_code, reason = "there is no other way to talk to a listener")]
fn answer(descriptor: &OwnedFd, errno: i32) -> usize {
    use std::os::fd::AsRawFd;
    const RECEIVE: u64 = 0xc050_2100;
    const SEND: u64 = 0xc018_2101;
    let mut call = [0_u64; 10];
    // SAFETY: the kernel writes a `struct seccomp_notif` of 80 bytes.
    let rc = unsafe { libc::ioctl(descriptor.as_raw_fd(), RECEIVE, call.as_mut_ptr()) };
    assert_eq!(rc, 0, "{}", std::io::Error::last_os_error());
    let error = u64::from((-errno).cast_unsigned());
    let response = [call[0], 0, error];
    // SAFETY: the kernel reads a `struct seccomp_notif_resp` of 24 bytes.
    let rc = unsafe { libc::ioctl(descriptor.as_raw_fd(), SEND, response.as_ptr()) };
    assert_eq!(rc, 0, "{}", std::io::Error::last_os_error());
    usize::try_from(call[2] & 0xffff_ffff).expect("a number")
}

/// Somebody else decides whether directories can be made.
pub fn notifying(case: &mut Case) {
    let rule = json!({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"});
    case.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}));
}

fn a_listener_gets_the_state_and_answers() {
    for no_new_privileges in [false, true] {
        let mut case = Case::new(&["make-dir", "/tmp/x"]);
        notifying(&mut case);
        let path = case.dir.join("agent");
        case.set("/linux/seccomp/listenerPath", json!(path));
        case.set("/linux/seccomp/listenerMetadata", json!("who: me"));
        case.set("/process/noNewPrivileges", json!(no_new_privileges));
        let agent = agent(&path, 111);
        assert_eq!(lines(case.run()), ["ECONNREFUSED"]);
        let (state, call) = agent.join().expect("the agent");
        assert!([83, 258, 34].contains(&call), "{call}");
        assert_eq!(state["fds"], json!(["seccompFd"]));
        assert_eq!(state["metadata"], "who: me");
        assert!(state["ociVersion"].is_string());
        assert_eq!(state["state"]["status"], "creating");
        assert_eq!(state["state"]["id"], json!(case.id));
        assert_eq!(state["state"]["pid"], state["pid"]);
    }
}

/// The calls of an init that is nobody on the host are answered as well.
fn a_listener_answers_for_a_user_namespace() {
    let mut case = Case::new(&["make-dir", "/tmp/x"]);
    case.namespace("user", Some(json!({"type": "user"})));
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    case.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    crate::namespaces::give_to(&case, 100_000, 100_000);
    notifying(&mut case);
    let path = case.dir.join("agent");
    case.set("/linux/seccomp/listenerPath", json!(path));
    let agent = agent(&path, 111);
    assert_eq!(lines(case.run()), ["ECONNREFUSED"]);
    assert_eq!(agent.join().expect("the agent").0["fds"], json!(["seccompFd"]));
}

fn a_listener_of_exec_gets_the_state_of_the_container() {
    let mut case = Case::new(&["wait"]);
    notifying(&mut case);
    let path = case.dir.join("agent");
    case.set("/linux/seccomp/listenerPath", json!(path));
    let socket = UnixListener::bind(&path).expect("bind");
    let first = thread::spawn(move || receive(&mut socket.accept().expect("accept").0));
    case.run_detached();
    let (_, _listener) = first.join().expect("the agent");
    fs::remove_file(&path).expect("remove the socket");
    let agent = agent(&path, 111);
    assert_eq!(lines(case.exec(&["make-dir", "/tmp/x"])), ["ECONNREFUSED"]);
    let (state, _) = agent.join().expect("the agent");
    assert_eq!(state["state"]["status"], "running");
    assert_eq!(state["state"]["pid"], json!(case.pid()));
    assert_ne!(state["state"]["pid"], state["pid"]);
}

fn the_annotation_of_crun_names_the_listener() {
    let mut case = Case::new(&["make-dir", "/tmp/x"]);
    notifying(&mut case);
    let path = case.dir.join("agent");
    case.set("/annotations", json!({"run.oci.seccomp.receiver": path}));
    let agent = agent(&path, 5);
    assert_eq!(lines(case.run()), ["EIO"]);
    assert!(agent.join().expect("the agent").0.get("metadata").is_none());
}

fn a_listener_that_is_not_there_is_an_error() {
    let mut case = Case::new(&["echo", "x"]);
    notifying(&mut case);
    let path = case.dir.join("agent");
    case.set("/linux/seccomp/listenerPath", json!(path));
    case.create().fails(1, "no such file or directory");
    drop(UnixListener::bind(&path).expect("bind a socket"));
    case.create().fails(1, "connection refused");
    case.end();
}

fn a_profile_without_notifications_needs_no_listener() {
    let mut case = allowing(&["echo", "x"], json!([errno(&["mkdir"], 1)]));
    case.set("/linux/seccomp/listenerPath", json!("/nonexistent"));
    case.run().ok();
}
