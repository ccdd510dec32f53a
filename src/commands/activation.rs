//! What systemd hands over to a service: sd_listen_fds(3).

use std::env;

/// How many descriptors from 3 on were opened for this process, to be passed on to the program
/// (BXC-22).
pub(super) fn listening() -> u32 {
    let variable = |name| env::var(name).unwrap_or_default();
    count(&variable("LISTEN_PID"), &variable("LISTEN_FDS"), std::process::id())
}

/// A service may have started this program without a thought of it: then they are not meant.
fn count(pid: &str, descriptors: &str, own: u32) -> u32 {
    match pid.parse::<u32>() {
        Ok(pid) if pid == own => descriptors.parse().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn only_what_is_meant_for_this_process_counts() {
        for (pid, descriptors, want) in [
            ("7", "2", 2),
            ("8", "2", 0),
            ("", "2", 0),
            ("7", "", 0),
            ("7", "-1", 0),
            ("7", "x", 0),
            ("x", "2", 0),
        ] {
            assert_eq!(count(pid, descriptors, 7), want, "{pid} {descriptors}");
        }
    }
}
