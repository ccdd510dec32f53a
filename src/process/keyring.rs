//! The session keyring: keyrings(7).

use std::ffi::CString;

use anyhow::{Context, Result};
use nix::errno::Errno;

use crate::{log, sys};

/// The bits by which a member of the session may find the keys in it: `KEY_USR_SEARCH`, which
/// the kernel leaves out for a keyring made by root in another user namespace.
const SEARCH: u32 = 0x0008_0000;

/// Joins a keyring named after the container, so that the caller's keys stay outside (BXP-07).
///
/// # Errors
/// Those of keyctl(2), except that a kernel or sandbox without keyrings is only a warning: file
/// permissions, not keyrings, are what protects the host's secrets.
pub fn join(id: &str) -> Result<()> {
    let name = CString::new(format!("_ses.{id}")).context("the name of the session keyring")?;
    let key = match sys::keyring::join_session(&name) {
        Err(Errno::ENOSYS) => {
            log::warn("no session keyring: the kernel has none");
            return Ok(());
        }
        other => other.context("unable to join session keyring")?,
    };
    let mask = sys::keyring::permissions(key).context("read the session keyring's permissions")?;
    sys::keyring::set_permissions(key, mask | SEARCH).context("make the session keyring searchable")
}
