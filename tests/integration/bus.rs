//! What orlop tells systemd over D-Bus, and what it does when nobody answers: with a bus that the
//! test plays, so that no systemd is needed.

use std::process::Stdio;

use serde_json::json;

use crate::harness::bus::{Bus, Manners};
use crate::harness::{Case, Output, host};
use crate::tests;

tests! {
    a_bus_that_never_speaks_is_left needs [Root] unlike runc "waits for ever",
    a_bus_that_never_answers_is_left needs [Root] unlike runc "waits for ever",
    nobody_listens needs [Root] unlike runc "tries for longer",
    systemd_is_told_the_limits needs [Root, CgroupV1] unlike runc "asks for the same in two calls",
    a_unit_of_a_dead_runtime_is_reset needs [Root, CgroupV1] unlike runc "is told apart by texts",
    a_unit_of_somebody_else_is_an_error needs [Root] unlike runc "is told apart by texts",
    a_job_that_fails_is_an_error needs [Root] unlike runc "is told apart by texts",
    a_bus_that_went_away_keeps_nobody_from_deleting needs [Root, CgroupV1]
        unlike runc "says nothing",
    a_manager_goes_by_its_name needs [Root, CgroupV1] unlike runc "has no such option",
    a_manager_that_is_none_is_refused,
}

const PLAYS: Manners = Manners::Plays { refuses: 0, result: "done" };

/// A container in a scope of whoever is behind the bus.
fn case() -> Case {
    let mut case = Case::new(&["wait"]);
    case.set("/linux/cgroupsPath", json!(format!("-.slice:orlop-test:{}", case.id)));
    case.write_config();
    case
}

fn runtime(case: &Case, bus: &Bus, words: &[&str]) -> Output {
    let words: Vec<_> = ["--systemd-cgroup"].iter().chain(words).copied().collect();
    Output::of(case.command(&words).env("DBUS_SYSTEM_BUS_ADDRESS", bus.address()))
}

fn a_bus_that_never_speaks_is_left() {
    let case = case();
    let bus = Bus::new(&case.dir, Manners::Silent);
    let error = format!("D-Bus: the greeting on {}/bus (", case.dir.display());
    let said = runtime(&case, &bus, &["create", &case.id]).fails(1, &error);
    assert!(said.contains(" s): no answer"), "{said}");
    assert_eq!(case.leftovers(), Vec::<String>::new());
}

fn a_bus_that_never_answers_is_left() {
    let case = case();
    let bus = Bus::new(&case.dir, Manners::Greets);
    let error = format!("D-Bus: Hello on {}/bus (", case.dir.display());
    let said = runtime(&case, &bus, &["create", &case.id]).fails(1, &error);
    assert!(said.contains(" s): no answer"), "{said}");
    assert_eq!(case.leftovers(), Vec::<String>::new());
}

fn nobody_listens() {
    let case = case();
    let bus = Bus::new(&case.dir, PLAYS);
    bus.vanish();
    let error = format!("connect to D-Bus: {}/bus: no such file or directory", case.dir.display());
    runtime(&case, &bus, &["create", &case.id]).fails(1, &error);
    assert_eq!(case.leftovers(), Vec::<String>::new());
}

fn systemd_is_told_the_limits() {
    let mut case = case();
    case.set(
        "/linux/resources",
        json!({
            "devices": [{"allow": false, "access": "rwm"}],
            "pids": {"limit": 50},
            "memory": {"limit": 1 << 28},
            "cpu": {"quota": 50_001, "period": 100_000}
        }),
    );
    case.set("/annotations", json!({"org.systemd.property.TimeoutStopSec": "5"}));
    case.write_config();
    let bus = Bus::new(&case.dir, PLAYS);
    runtime(&case, &bus, &["create", &case.id]).ok();
    let start = bus.call("StartTransientUnit");
    for text in [
        &format!("orlop-test-{}.scope", case.id),
        "PIDs",
        "Delegate",
        "Slice",
        "DefaultDependencies",
        "BlockIOAccounting",
        "MemoryLimit",
        "CPUQuotaPerSecUSec",
        "CPUQuotaPeriodUSec",
        "TasksMax",
        "DevicePolicy",
        "strict",
        "/dev/char/1:3",
        "TimeoutStopUSec",
    ] {
        assert!(start.says(text), "{text}");
    }
    // This systemd has made nothing; whatever it has no use for is made anyway.
    let name = format!("/orlop-test-{}.scope", case.id);
    for (controller, file, want) in [
        ("pids", "pids.max", "50"),
        ("memory", "memory.limit_in_bytes", "268435456"),
        ("cpu", "cpu.cfs_quota_us", "51000"),
    ] {
        let path = host::cgroup(controller, &name).join(file);
        assert_eq!(std::fs::read_to_string(path).expect("read a limit").trim(), want, "{file}");
    }
    assert_eq!(host::processes_in_cgroup(&name), [case.pid()]);
    assert_eq!(case.state()["cgroup"]["driver"], "systemd");
    // `delete` needs no option to know.
    let mut delete = case.command(&["delete", "--force", &case.id]);
    Output::of(delete.env("DBUS_SYSTEM_BUS_ADDRESS", bus.address())).ok();
    assert_eq!(bus.methods(), ["StartTransientUnit", "StopUnit", "ResetFailedUnit"]);
    assert!(!host::cgroup("pids", &name).exists());
}

fn a_unit_of_a_dead_runtime_is_reset() {
    let case = case();
    let bus = Bus::new(&case.dir, Manners::Plays { refuses: 1, result: "done" });
    runtime(&case, &bus, &["create", &case.id]).ok();
    let start = "StartTransientUnit";
    assert_eq!(bus.methods(), [start, "ResetFailedUnit", start]);
    runtime(&case, &bus, &["delete", "--force", &case.id]).ok();
}

fn a_unit_of_somebody_else_is_an_error() {
    let case = case();
    let bus = Bus::new(&case.dir, Manners::Plays { refuses: 2, result: "done" });
    let error = format!("start the unit \"orlop-test-{}.scope\" of systemd: D-Bus: Start", case.id);
    let said = runtime(&case, &bus, &["create", &case.id]).fails(1, &error);
    assert!(said.contains("Unit was already loaded."), "{said}");
    // It is not ours to stop.
    assert!(!bus.methods().contains(&"StopUnit".to_string()), "{:?}", bus.methods());
    assert_eq!(case.leftovers(), Vec::<String>::new());
}

fn a_job_that_fails_is_an_error() {
    let case = case();
    let bus = Bus::new(&case.dir, Manners::Plays { refuses: 0, result: "failed" });
    let error = format!("error creating systemd unit `orlop-test-{}.scope`: got `failed`", case.id);
    runtime(&case, &bus, &["create", &case.id]).fails(1, &error);
    assert_eq!(case.leftovers(), Vec::<String>::new());
}

fn a_bus_that_went_away_keeps_nobody_from_deleting() {
    let case = case();
    let bus = Bus::new(&case.dir, PLAYS);
    runtime(&case, &bus, &["create", &case.id]).ok();
    bus.vanish();
    let name = format!("/orlop-test-{}.scope", case.id);
    assert!(host::cgroup("pids", &name).exists());
    let output = runtime(&case, &bus, &["delete", "--force", &case.id]);
    assert!(output.stderr.contains("stop the unit"), "{output:?}");
    output.ok();
    assert!(!host::cgroup("pids", &name).exists());
    assert_eq!(case.leftovers(), Vec::<String>::new());
}

/// As with crun, whose option Podman uses.
fn a_manager_goes_by_its_name() {
    let case = case();
    let bus = Bus::new(&case.dir, PLAYS);
    let words = ["--cgroup-manager", "systemd", "create", &case.id];
    Output::of(case.command(&words).env("DBUS_SYSTEM_BUS_ADDRESS", bus.address())).ok();
    bus.call("StartTransientUnit");
    let inside = host::processes_in_cgroup(&format!("/orlop-test-{}.scope", case.id));
    assert_eq!(inside, [case.pid()]);
    let case = Case::new(&["wait"]);
    case.write_config();
    case.runtime(&["--cgroup-manager=cgroupfs", "create", &case.id]).ok();
    assert_eq!(host::processes_in_cgroup(&case.cgroup()), [case.pid()]);
    let case = Case::new(&["wait"]);
    case.write_config();
    case.runtime(&["--cgroup-manager=disabled", "create", &case.id]).ok();
    assert_eq!(host::processes_in_cgroup(&case.cgroup()), [0; 0]);
}

fn a_manager_that_is_none_is_refused() {
    let case = case();
    for (option, error) in [
        ("--cgroup-manager=openrc", "--cgroup-manager: unknown cgroup manager \"openrc\""),
        ("--rootless=maybe", "--rootless: \"maybe\" is none of true, false, auto"),
    ] {
        let mut command = case.command(&[option, "create", &case.id]);
        Output::of(command.stdin(Stdio::null())).fails(1, error);
    }
}
