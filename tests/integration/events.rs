//! `events`: what a container uses, and that it ran out of memory.

use serde_json::{Value, json};

use crate::harness::{Background, Case, host};
use crate::tests;

tests! {
    statistics_have_the_form_of_runcs needs [Root],
    statistics_tell_limits_and_use needs [Root],
    statistics_come_again_and_again_until_the_end needs [Root]
        unlike runc "goes on until the cgroup is gone",
    throttling_is_counted needs [Root],
    running_out_of_memory_is_told needs [Root],
    the_end_of_the_container_ends_it needs [Root]
        unlike runc "goes on until the cgroup is gone",
    a_container_that_does_not_run_has_no_events needs [Root],
    intervals_that_make_no_sense_are_refused needs [Root] unlike runc "has other words",
}

const MIB: u64 = 1 << 20;

fn stats(case: &Case) -> Value {
    let text = case.runtime(&["events", "--stats", &case.id]).ok();
    assert_eq!(text.lines().count(), 1, "{text}");
    let event: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(case.id)));
    event["data"].clone()
}

/// `events` in the background.
fn watch(case: &Case, interval: &str) -> Background {
    Background::start(&mut case.command(&["events", "--interval", interval, &case.id]))
}

fn statistics_have_the_form_of_runcs() {
    let case = Case::running();
    let stats = stats(&case);
    let names: Vec<_> = stats.as_object().expect("an object").keys().map(String::as_str).collect();
    for name in
        ["blkio", "cpu", "cpuset", "hugetlb", "intel_rdt", "memory", "network_interfaces", "pids"]
    {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    assert_eq!(stats["network_interfaces"], Value::Null);
    assert!(stats["hugetlb"].is_object(), "{stats:#}");
    assert!(stats["cpu"]["usage"]["total"].is_u64(), "{stats:#}");
    assert!(stats["memory"]["raw"].as_object().is_some_and(|raw| raw.len() > 10), "{stats:#}");
    for (member, number) in [("memory", "limit"), ("memory", "failcnt")] {
        assert!(stats[member]["usage"][number].is_u64(), "{stats:#}");
    }
    if host::is_v2() && std::path::Path::new("/proc/pressure/cpu").exists() {
        for member in ["cpu", "memory", "blkio"] {
            // What is zero is left out.
            assert!(stats[member]["psi"].is_object(), "{stats:#}");
        }
    }
    if !host::is_v2() {
        assert_eq!(stats["cpuset"]["mems"], json!([0]), "{stats:#}");
        assert!(stats["cpu"]["usage"]["percpu"].is_array(), "{stats:#}");
    }
}

fn statistics_tell_limits_and_use() {
    let mut case = Case::new(&["hold", "16"]);
    let limits = json!({"memory": {"limit": 64 * MIB}, "pids": {"limit": 20}});
    case.set("/linux/resources", limits);
    let mut running = case.run_in_background();
    running.line();
    let stats = stats(&case);
    assert_eq!(stats["pids"], json!({"current": 1, "limit": 20}));
    assert_eq!(stats["memory"]["usage"]["limit"], json!(64 * MIB));
    let usage = stats["memory"]["usage"]["usage"].as_u64().expect("a number");
    assert!((16 * MIB..64 * MIB).contains(&usage), "{usage}");
    case.kill("KILL").ok();
    running.wait();
}

fn statistics_come_again_and_again_until_the_end() {
    let case = Case::running();
    let mut events = watch(&case, "20ms");
    for _ in 0..3 {
        let event: Value = serde_json::from_str(&events.line()).expect("JSON");
        assert_eq!(event["type"], json!("stats"));
    }
    case.kill("KILL").ok();
    assert_eq!(events.end().code, 0);
}

fn throttling_is_counted() {
    let mut case = Case::new(&["spin", "100", "--", "wait"]);
    case.set("/linux/resources", json!({"cpu": {"quota": 20_000, "period": 100_000}}));
    case.run_detached();
    // It has to run for five periods.
    let mut events = watch(&case, "50ms");
    loop {
        let event: Value = serde_json::from_str(&events.line()).expect("JSON");
        let throttled = &event["data"]["cpu"]["throttling"]["throttledPeriods"];
        if throttled.as_u64().unwrap_or(0) > 0 {
            break;
        }
    }
    events.kill();
}

/// The program starts another one that is killed, and runs on.
fn running_out_of_memory_is_told() {
    let mut case = Case::new(&["wait"]);
    let limit = 32 * MIB;
    case.set("/linux/resources", json!({"memory": {"limit": limit, "swap": limit}}));
    case.run_detached();
    let mut events = watch(&case, "10ms");
    // From the first statistics on it watches.
    events.line();
    case.exec(&["allocate", "256"]);
    loop {
        let event: Value = serde_json::from_str(&events.line()).expect("JSON");
        if event["type"] == json!("oom") {
            assert_eq!(event, json!({"type": "oom", "id": case.id}));
            break;
        }
    }
    assert_eq!(case.status(), "running");
    events.kill();
}

fn the_end_of_the_container_ends_it() {
    let case = Case::running();
    let events = watch(&case, "1h");
    case.kill("KILL").ok();
    let output = events.end();
    // It may have come too late to see the container run.
    assert!(output.code == 0 || output.stderr.contains("is not running"), "{output:?}");
}

fn a_container_that_does_not_run_has_no_events() {
    let case = Case::new(&["echo"]);
    case.create().ok();
    case.start().ok();
    case.wait_for_end();
    let want = format!("container with id {} is not running", case.id);
    case.runtime(&["events", &case.id]).fails(1, &want);
    case.runtime(&["events", "--stats", &case.id]).fails(1, &want);
    case.runtime(&["events", "nosuch"]).fails(1, "container does not exist");
}

fn intervals_that_make_no_sense_are_refused() {
    let case = Case::running();
    for (interval, want) in [
        ("0s", "duration interval must be greater than 0"),
        ("-1s", "duration interval must be greater than 0"),
        ("5", "invalid value \"5\" for flag -interval: missing unit"),
        ("x", "invalid value \"x\" for flag -interval"),
    ] {
        case.runtime(&["events", "--interval", interval, &case.id]).fails(1, want);
    }
}
