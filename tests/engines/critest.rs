//! critest, by which Kubernetes judges runtimes. Which of its cases are left out, and why, is in
//! `critools/omitted.txt`.

use std::fs;

use serde_json::Value;

use crate::cri::judge;
use crate::cri_engine::Engine;
use crate::cri_tests;
use crate::cri_version::Version;
use crate::docker::OURS;
use crate::harness::Output;

cri_tests! {
    passes; PARTS;
    containers = "Container runtime should support basic operations",
    volumes = "Container runtime should support adding volume",
    logs = "Container runtime should support log",
    propagation = "Container Mount Propagation",
    read_only_mounts = "Container Mount Readonly",
    out_of_memory = "Container OOM",
    things_done_twice = "Idempotence",
    several_containers = "Multiple Containers",
    networks = "Networking",
    pods = "PodSandbox runtime should",
    runtime_info = "Runtime info",
    namespaces = "Security Context NamespaceOption",
    no_new_privileges = "Security Context NoNewPrivs",
    seccomp = "Security Context SeccompProfilePath",
    groups = "Security Context SupplementalGroupsPolicy",
    user_namespaces = "Security Context UserNamespaces",
    privileges = "Security Context bucket",
    streams = "Streaming";
    every_case_is_run_or_named
}

/// What all names begin with.
const MARK: &str = "[k8s.io] ";

#[track_caller]
fn passes(part: &str) {
    judge(|handler| {
        let (cases, output) = run(handler, &["--ginkgo.focus", &literal(&format!("{MARK}{part}"))]);
        let meant = |name: &str| {
            name.starts_with(part) && !omitted().any(|(left, _)| name.starts_with(left))
        };
        let cases: Vec<_> = cases.iter().filter(|case| meant(&case.name)).collect();
        let failed: Vec<_> = cases.iter().filter(|case| case.state != "passed").collect();
        let passed = !cases.is_empty() && failed.is_empty();
        if passed { Ok(()) } else { Err(format!("{failed:#?}\n{output}")) }
    });
}

/// One case of critest, and what became of it.
#[derive(Debug)]
struct Case {
    name: String,
    state: String,
}

/// Runs critest in an engine of its own; returns all cases, those that were not run as well, and
/// the output.
fn run(handler: &str, words: &[&str]) -> (Vec<Case>, String) {
    let engine = Engine::start(Version::Second);
    let images = engine.directory().join("critest.yaml");
    fs::write(&images, "defaultTestContainerImage: docker.io/library/pods:latest\n")
        .expect("write");
    let report = engine.directory().join("critest.json");
    let mut command = engine.client("critest");
    command.args(["--ginkgo.no-color", "--runtime-handler", handler]).args(words);
    command.arg("--test-images-file").arg(images).arg("--ginkgo.json-report").arg(&report);
    for (beginning, _) in omitted() {
        command.arg("--ginkgo.skip").arg(literal(&format!("{MARK}{beginning}")));
    }
    let output = Output::of(&mut command);
    let output = format!("{}\n{}", output.stdout, output.stderr);
    let text = fs::read_to_string(&report).unwrap_or_else(|error| panic!("{error}\n{output}"));
    let report: Value = serde_json::from_str(&text).expect("a report");
    (cases(&report), output)
}

fn cases(report: &Value) -> Vec<Case> {
    let reports = report[0]["SpecReports"].as_array().expect("cases");
    let cases = reports.iter().filter(|case| case["LeafNodeType"] == "It");
    cases
        .map(|case| {
            let outer = case["ContainerHierarchyTexts"].as_array().expect("texts");
            let words = outer.iter().chain([&case["LeafNodeText"]]);
            let words: Vec<_> = words.map(|text| text.as_str().expect("a text")).collect();
            let name = words.join(" ");
            let name = name.strip_prefix(MARK).expect("a name of Kubernetes").to_string();
            Case { name, state: case["State"].as_str().expect("a state").to_string() }
        })
        .collect()
}

/// A regular expression for nothing but this text.
fn literal(text: &str) -> String {
    text.replace('[', r"\[").replace(']', r"\]").replace('.', r"\.")
}

/// What the cases begin with that are left out, and why.
fn omitted() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = include_str!("critools/omitted.txt").lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once(" = ").expect("cases and a reason"))
}

fn every_case_is_run_or_named() {
    let (cases, _) = run(OURS, &["--ginkgo.dry-run"]);
    let beginnings: Vec<_> =
        PARTS.iter().copied().chain(omitted().map(|(beginning, _)| beginning)).collect();
    for case in &cases {
        assert!(beginnings.iter().any(|part| case.name.starts_with(part)), "{case:?} is not run");
    }
    for part in beginnings {
        assert!(cases.iter().any(|case| case.name.starts_with(part)), "{part} is no case");
    }
}
