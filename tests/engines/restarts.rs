//! A daemon that is killed and comes back beside its containers.

use serde_json::json;

use crate::harness::wait_until_gone;
use crate::own_daemon::OwnDaemon;
use crate::tests;

tests! {
    containers_outlive_the_daemon needs [Docker],
    what_ended_meanwhile_is_known_later needs [Docker],
    restart_policies_outlive_the_daemon needs [Docker],
}

/// Says that it runs, and says so again on a signal.
const POLITE: &str =
    "trap 'echo bye; exit 3' TERM; trap 'echo usr1' USR1; echo up; while :; do sleep 0.1; done";

fn live_restore() -> OwnDaemon {
    OwnDaemon::start(json!({"live-restore": true}))
}

fn pid(daemon: &OwnDaemon, name: &str) -> i32 {
    daemon.inspect(name, ".State.Pid").parse().expect("a pid")
}

fn containers_outlive_the_daemon() {
    let mut daemon = live_restore();
    for name in ["runs", "rests"] {
        daemon.run(name, &[], POLITE);
        let mut logs = daemon.follow(name);
        assert_eq!(logs.line(), "up");
        logs.kill();
    }
    daemon.docker(&["pause", "rests"]).ok();
    let pids = ["runs", "rests"].map(|name| pid(&daemon, name));
    daemon.kill();
    daemon.start_again();
    assert_eq!(["runs", "rests"].map(|name| pid(&daemon, name)), pids);
    assert_eq!(daemon.inspect("runs", ".State.Status"), "running");
    assert_eq!(daemon.inspect("rests", ".State.Status"), "paused");
    daemon.docker(&["unpause", "rests"]).ok();
    for name in ["runs", "rests"] {
        assert_eq!(daemon.docker(&["exec", name, "echo", "in"]).ok(), "in\n");
        let mut logs = daemon.follow(name);
        assert_eq!(logs.line(), "up");
        daemon.docker(&["kill", "--signal", "USR1", name]).ok();
        assert_eq!(logs.line(), "usr1");
        daemon.docker(&["stop", name]).ok();
        assert_eq!(logs.end().ok(), "bye\n");
        assert_eq!(daemon.inspect(name, ".State.ExitCode"), "3");
    }
}

fn what_ended_meanwhile_is_known_later() {
    let mut daemon = live_restore();
    daemon.run("ends", &[], "exec sleep 1000");
    let process = pid(&daemon, "ends");
    daemon.kill();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(process), nix::sys::signal::SIGKILL)
        .expect("kill a process");
    wait_until_gone(process);
    daemon.start_again();
    assert_eq!(daemon.docker(&["wait", "ends"]).ok(), "137\n");
    assert_eq!(daemon.inspect("ends", ".State.Status"), "exited");
    daemon.docker(&["start", "ends"]).ok();
    assert_eq!(daemon.docker(&["exec", "ends", "echo", "again"]).ok(), "again\n");
}

/// Without live-restore the daemon ends what runs when it comes back, and starts what has to run.
fn restart_policies_outlive_the_daemon() {
    let mut daemon = OwnDaemon::start(json!({}));
    for (name, policy) in [("always", "always"), ("unless", "unless-stopped"), ("never", "no")] {
        daemon.run(name, &["--restart", policy], "exec sleep 1000");
    }
    daemon.docker(&["stop", "--time", "0", "unless"]).ok();
    let before = pid(&daemon, "always");
    daemon.kill();
    daemon.start_again();
    wait_until_gone(before);
    let states = ["always", "unless", "never"].map(|name| daemon.inspect(name, ".State.Running"));
    assert_eq!(states, ["true", "false", "false"]);
    assert_ne!(pid(&daemon, "always"), before);
}
