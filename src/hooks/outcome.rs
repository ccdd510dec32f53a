//! Go's words for how a process ended; runc's callers know them.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// The signals that end a process, by number since some differ between processors.
const SIGNALS: [(i32, &str); 22] = [
    (libc::SIGHUP, "hangup"),
    (libc::SIGINT, "interrupt"),
    (libc::SIGQUIT, "quit"),
    (libc::SIGILL, "illegal instruction"),
    (libc::SIGTRAP, "trace/breakpoint trap"),
    (libc::SIGABRT, "aborted"),
    (libc::SIGBUS, "bus error"),
    (libc::SIGFPE, "floating point exception"),
    (libc::SIGKILL, "killed"),
    (libc::SIGUSR1, "user defined signal 1"),
    (libc::SIGSEGV, "segmentation fault"),
    (libc::SIGUSR2, "user defined signal 2"),
    (libc::SIGPIPE, "broken pipe"),
    (libc::SIGALRM, "alarm clock"),
    (libc::SIGTERM, "terminated"),
    (libc::SIGXCPU, "CPU time limit exceeded"),
    (libc::SIGXFSZ, "file size limit exceeded"),
    (libc::SIGVTALRM, "virtual timer expired"),
    (libc::SIGPROF, "profiling timer expired"),
    (libc::SIGIO, "I/O possible"),
    (libc::SIGPWR, "power failure"),
    (libc::SIGSYS, "bad system call"),
];

/// How the process ended.
pub(super) fn outcome(status: ExitStatus) -> String {
    let core = if status.core_dumped() { " (core dumped)" } else { "" };
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(number)) => match SIGNALS.iter().find(|(known, _)| *known == number) {
            Some((_, text)) => format!("signal: {text}{core}"),
            None => format!("signal: signal {number}{core}"),
        },
        (None, None) => "ended".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_go() {
        for (status, want) in [
            (3 << 8, "exit status 3"),
            (libc::SIGKILL, "signal: killed"),
            (libc::SIGSYS, "signal: bad system call"),
            (libc::SIGSEGV | 0x80, "signal: segmentation fault (core dumped)"),
            (34, "signal: signal 34"),
        ] {
            assert_eq!(outcome(ExitStatus::from_raw(status)), want);
        }
    }
}
