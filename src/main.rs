//! Parse, run the command, print the error, exit.
#![no_main]

use std::ffi::{OsString, c_int};
use std::os::unix::ffi::OsStringExt;

use orlop::usage::{Stop, parse};
use orlop::{commands, error, log, sys};

/// Where the C library starts the program. std's own start is passed over: see
/// `sys::process::prepare_runtime`.
#[expect(unsafe_code, reason = "the C library calls `main` by its name")]
#[unsafe(no_mangle)]
extern "C" fn main() -> c_int {
    sys::process::prepare_runtime();
    // What the caller left open is nobody's but the caller's: it reaches neither hooks nor the
    // program (containerd's shim leaks two sockets).
    sys::process::close_inherited_on_exec();
    let (options, command) = match parse(arguments()) {
        Ok(parsed) => parsed,
        Err(stop) => return stopped(stop),
    };
    match commands::run(options, command) {
        Ok(status) => {
            log::succeeded();
            status
        }
        Err(commands::Failure { error, status }) => {
            log::error(&error::line(&error));
            status
        }
    }
}

/// std learns them from the C library before `main`, if that is glibc; else the kernel is asked.
fn arguments() -> Vec<OsString> {
    let args: Vec<_> = std::env::args_os().collect();
    if !args.is_empty() {
        return args;
    }
    let line = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    let words = line.strip_suffix(b"\0").unwrap_or(&line).split(|byte| *byte == 0);
    words.map(|word| OsString::from_vec(word.to_vec())).collect()
}

fn stopped(stop: Stop) -> c_int {
    match stop {
        Stop::Help(text) => {
            // A reader who went away wants no help any more.
            let _ = commands::output(&text);
            0
        }
        Stop::Mistake { text, help, code } => {
            if let Some(help) = help {
                let _ = commands::output(&format!("Incorrect Usage.\n\n{help}"));
            }
            log::error(&text);
            code
        }
    }
}
