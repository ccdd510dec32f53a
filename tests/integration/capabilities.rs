//! Capabilities and `noNewPrivileges`.

use serde_json::{Value, json};

use crate::harness::Case;
use crate::process::{report, reporting};
use crate::tests;

tests! {
    capabilities_are_exactly_those_configured needs [Root],
    capabilities_of_an_ordinary_user needs [Root],
    an_unknown_capability_warns needs [Root],
    an_ambient_capability_that_is_not_permitted_warns needs [Root],
    a_capability_that_the_runtime_lacks_is_named needs [Root],
    no_new_privileges_is_set_only_if_asked_for needs [Root],
}

fn sets(case: &Case) -> [u64; 5] {
    let status = report(case)["status"].clone();
    ["CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"].map(|name| {
        u64::from_str_radix(status[name].as_str().expect("a set"), 16).expect("a number")
    })
}

fn capabilities_are_exactly_those_configured() {
    // CAP_CHOWN 0, CAP_KILL 5, CAP_SYS_CHROOT 18, CAP_MKNOD 27.
    for (caps, want) in [
        (json!({}), [0; 5]),
        (json!({"bounding": ["CAP_CHOWN", "CAP_KILL"]}), [1 | 1 << 5, 0, 0, 0, 0]),
        (
            json!({"bounding": ["CAP_CHOWN", "CAP_MKNOD"], "permitted": ["CAP_CHOWN"],
                   "effective": ["CAP_CHOWN"]}),
            // As root the program gets all of the bounding set by execve (capabilities(7)).
            [1 | 1 << 27, 1 | 1 << 27, 1 | 1 << 27, 0, 0],
        ),
    ] {
        let mut case = reporting();
        case.set("/process/capabilities", caps.clone());
        case.set("/process/noNewPrivileges", json!(false));
        let mut want = want;
        if caps["bounding"].is_array() && want[1] == 0 {
            (want[1], want[2]) = (want[0], want[0]);
        }
        assert_eq!(sets(&case), want, "{caps}");
    }
}

fn capabilities_of_an_ordinary_user() {
    let set = json!(["CAP_NET_BIND_SERVICE", "CAP_KILL"]);
    let bits = 1 << 10 | 1 << 5;
    let mut case = reporting();
    case.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let caps = json!({"bounding": set, "effective": set, "permitted": set});
    case.set("/process/capabilities", caps);
    assert_eq!(sets(&case), [bits, 0, 0, 0, 0]);
    let caps = json!({"bounding": set, "effective": set, "permitted": set, "inheritable": set,
        "ambient": ["CAP_KILL"]});
    case.set("/process/capabilities", caps);
    assert_eq!(sets(&case), [bits, 1 << 5, 1 << 5, bits, 1 << 5]);
}

fn an_unknown_capability_warns() {
    let mut case = Case::new(&[]);
    case.set("/process/capabilities/bounding", json!(["CAP_CHOWN", "CAP_NOSUCH"]));
    case.set("/process/capabilities/permitted", json!(["CAP_NOSUCH"]));
    case.set("/process/capabilities/effective", json!([]));
    let output = case.run();
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stderr.contains("CAP_NOSUCH"), "{output:?}");
}

fn an_ambient_capability_that_is_not_permitted_warns() {
    let mut case = reporting();
    let two = json!(["CAP_KILL", "CAP_CHOWN"]);
    let one = json!(["CAP_KILL"]);
    case.set(
        "/process/capabilities",
        json!({"bounding": two, "effective": one, "permitted": one, "inheritable": one, "ambient": two}),
    );
    let output = case.run();
    let warning = "left out CAP_CHOWN: not in permitted and inheritable";
    assert!(output.stderr.contains(warning), "{output:?}");
    let report: serde_json::Value = serde_json::from_str(&output.ok()).expect("a report");
    assert_eq!(report["status"]["CapAmb"], json!("0000000000000020"));
}

fn a_capability_that_the_runtime_lacks_is_named() {
    let own = caps::read(None, caps::CapSet::Permitted).expect("our capabilities");
    let all = caps::all();
    let missing: Vec<_> = all.difference(&own).map(ToString::to_string).collect();
    let mut case = Case::new(&[]);
    let all: Vec<_> = all.iter().map(ToString::to_string).collect();
    case.set("/process/capabilities", json!({"bounding": all, "permitted": all, "effective": all}));
    match missing.first() {
        None => drop(case.run().ok()),
        Some(name) => {
            let error = case.create().fails(1, "operation not permitted");
            let ours = std::env::var_os("RUNTIME").is_none();
            assert!(!ours || error.contains(name), "{name} in {error}");
        }
    }
}

fn no_new_privileges_is_set_only_if_asked_for() {
    for (value, want) in [(json!(true), "1"), (json!(false), "0"), (Value::Null, "0")] {
        let mut case = reporting();
        case.set("/process/noNewPrivileges", value);
        assert_eq!(report(&case)["status"]["NoNewPrivs"], json!(want));
    }
}
