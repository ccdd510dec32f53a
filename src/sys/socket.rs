//! Descriptors over UNIX sockets: unix(7), `SCM_RIGHTS`.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// Sends a descriptor with the text that its receiver expects, and returns how much of the text
/// went. A receiver that is gone is an error and no signal.
///
/// # Errors
/// Those of sendmsg(2).
pub fn send(socket: BorrowedFd<'_>, text: &[u8], descriptor: BorrowedFd<'_>) -> nix::Result<usize> {
    let descriptors = [descriptor.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let text = [IoSlice::new(text)];
    sendmsg::<()>(socket.as_raw_fd(), &text, &rights, MsgFlags::MSG_NOSIGNAL, None)
}

/// Receives one message with the descriptors in it, which are closed on exec.
///
/// # Errors
/// Those of recvmsg(2).
pub fn receive(socket: BorrowedFd<'_>) -> nix::Result<Vec<OwnedFd>> {
    let mut text = [0; 4096];
    let mut space = cmsg_space!([RawFd; 4]);
    let mut text = [IoSliceMut::new(&mut text)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut text, Some(&mut space), flags)?;
    let mut received = Vec::new();
    for control in message.cmsgs().map_err(|_| Errno::ENOBUFS)? {
        let ControlMessageOwned::ScmRights(numbers) = control else { continue };
        // SAFETY: the kernel has just made these descriptors for the caller; nobody else owns
        // them.
        received.extend(numbers.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
    }
    Ok(received)
}
