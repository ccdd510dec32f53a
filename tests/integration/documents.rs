//! Documents that engines wrote: each runs, and the program sees what it sees under runc.
//!
//! What a document names on the host is made first: sources of mounts, namespaces, and the
//! programs of hooks. What this version cannot do is removed, or the document is listed with
//! the error that it gets.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::compare::differences;
use crate::harness::terminal::{Receiver, Screen};
use crate::harness::{Background, Case, host, reference, wait_until_gone};
use crate::namespaces::{donor, give_to, waiting};
use crate::tests;

tests! {
    every_document_of_an_engine_runs_as_under_runc needs [Root]
        unlike runc "cannot be compared with itself",
    every_document_of_an_engines_exec_runs_as_under_runc needs [Root]
        unlike runc "cannot be compared with itself",
    the_document_of_spec_runs_as_under_runc needs [Root]
        unlike runc "cannot be compared with itself",
}

fn every_document_of_an_engine_runs_as_under_runc() {
    let runc = reference::runc();
    let mut names: Vec<_> = fs::read_dir(directory())
        .expect("read the documents")
        .map(|entry| entry.expect("read the documents").path())
        .collect();
    names.sort_unstable();
    let mut wrong = Vec::new();
    for path in names {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        println!("{name}");
        let document = Document::new(&name);
        wrong.extend(document.compare(runc.as_deref()));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What engines give to `exec --process`, with a terminal as they ask for it.
fn every_document_of_an_engines_exec_runs_as_under_runc() {
    for name in ["docker-exec-process", "docker-exec-tty-process", "podman-exec-process"] {
        let path = format!("{}/tests/data/processes/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(path).expect("read");
        let mut document: Value = serde_json::from_str(&text).expect("a document");
        document["args"] = json!(["/bin/probe", "report"]);
        let mut case = Case::new(&["wait"]);
        let ours = execute(&case, &document);
        let Some(runc) = reference::runc() else { continue };
        case.runtime(&["delete", "--force", &case.id]).ok();
        case.runtime = runc;
        let [ours, theirs] = differences(&ours, &execute(&case, &document));
        assert!(ours.is_empty() && theirs.is_empty(), "{name}: ours {ours:#?} runc {theirs:#?}");
    }
}

/// Executes the document in a new container; returns what its program reports.
fn execute(case: &Case, document: &Value) -> Value {
    case.run_detached();
    fs::write(case.dir.join("process.json"), document.to_string()).expect("write");
    let words = ["exec", "--process", "process.json", "--detach", "--pid-file", "pid"];
    let text = if document["terminal"] == json!(true) {
        let receiver = Receiver::new(&case.id);
        let more = ["--console-socket", receiver.argument(), &case.id];
        let mut command = case.command(&[&words[..], &more].concat());
        assert_eq!(Background::wait_for(&mut command), 0, "exec fails");
        let mut screen = Screen::new(receiver.receive().0);
        screen.rest();
        screen.text
    } else {
        let path = case.dir.join("report");
        let mut command = case.command(&[&words[..], &[&case.id]].concat());
        command.stdout(fs::File::create(&path).expect("make a file")).stderr(Stdio::null());
        assert_eq!(Background::wait_for(&mut command), 0, "exec fails");
        let pid = fs::read_to_string(case.dir.join("pid")).expect("read");
        wait_until_gone(pid.parse().expect("a pid"));
        fs::read_to_string(path).expect("read")
    };
    let mut report: Value = serde_json::from_str(&text).expect("a report");
    // runc has made some that are gone.
    report["pid"].take();
    report["status"]["NStgid"].take();
    report
}

fn the_document_of_spec_runs_as_under_runc() {
    let mut case = Case::new(&[]);
    case.runtime(&["spec"]).ok();
    let config = fs::read(case.dir.join("config.json")).expect("read the document");
    let cgroup = case.config["linux"]["cgroupsPath"].take();
    case.config = serde_json::from_slice(&config).expect("a document");
    case.config["linux"]["cgroupsPath"] = cgroup;
    case.set("/process/args", json!(["/bin/probe", "report"]));
    let document = Document { case, name: "spec".to_string(), _donor: None, _container: None };
    let wrong = document.compare(reference::runc().as_deref());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/configs")
}

/// A document whose surroundings have been made.
struct Document {
    case: Case,
    name: String,
    /// Whose namespaces are joined.
    _donor: Option<Background>,
    _container: Option<Case>,
}

impl Document {
    fn new(name: &str) -> Self {
        let text = fs::read_to_string(directory().join(format!("{name}.json"))).expect("read");
        let mut case = Case::new(&[]);
        let cgroup = case.config["linux"]["cgroupsPath"].take();
        case.config = serde_json::from_str(&text).expect("a document");
        case.config["linux"]["cgroupsPath"] = cgroup;
        case.config["root"]["path"] = json!("rootfs");
        case.config["process"]["args"] = json!(["/bin/probe", "report"]);
        if let Some(hooks) = case.config["hooks"]["prestart"].as_array_mut() {
            hooks.iter_mut().for_each(|hook| hook["path"] = json!("/bin/true"));
        }
        if host::is_v2()
            && let Some(memory) = case.config["linux"]["resources"]["memory"].as_object_mut()
        {
            // It came from a host with v1. On one with v2 there is no swappiness (UNI-07), and
            // engines leave it out.
            memory.remove("swappiness");
        }
        let mut document = Self { case, name: name.to_string(), _donor: None, _container: None };
        document.make_sources();
        document.give_rootfs();
        document.make_namespaces();
        document
    }

    fn make_sources(&mut self) {
        let dir = self.case.dir.join("host");
        fs::create_dir(&dir).expect("make a directory");
        let mounts = self.case.config["mounts"].as_array_mut().expect("mounts");
        for (index, mount) in mounts.iter_mut().enumerate() {
            let source = mount["source"].as_str().unwrap_or_default();
            if !source.starts_with('/') || Path::new(source).exists() {
                continue;
            }
            let path = dir.join(index.to_string());
            match mount["destination"].as_str().expect("a destination") {
                "/dev/shm" | "/v" | "/hv" => fs::create_dir(&path).expect("make a directory"),
                destination => fs::write(&path, destination).expect("write a file"),
            }
            mount["source"] = json!(path);
        }
    }

    fn make_namespaces(&mut self) {
        let list = self.case.config["linux"]["namespaces"].as_array().expect("namespaces");
        let joins = |kind: &str| list.iter().any(|ns| ns["type"] == kind && ns["path"].is_string());
        let pid = if joins("user") {
            let mut container = waiting(&["user", "pid", "mount", "ipc", "network", "uts"]);
            for maps in ["uidMappings", "gidMappings"] {
                container.config["linux"][maps] = self.case.config["linux"][maps].clone();
            }
            give_to(&container, self.first("uidMappings"), self.first("gidMappings"));
            container.run_with(&["--detach"]).ok();
            let pid = container.pid();
            self._container = Some(container);
            pid
        } else {
            let mut process = donor(&["--ipc", "--net", "--uts"]);
            process.line();
            let pid = process.pid();
            self._donor = Some(process);
            pid
        };
        let list = self.case.config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        for namespace in list.iter_mut().filter(|namespace| namespace["path"].is_string()) {
            let file = match namespace["type"].as_str().expect("a type") {
                "network" => "net",
                other => other,
            };
            namespace["path"] = json!(format!("/proc/{pid}/ns/{file}"));
        }
    }
}

impl Document {
    /// The id on the host of the first id inside.
    fn first(&self, maps: &str) -> u32 {
        let id = self.case.config["linux"][maps][0]["hostID"].as_u64().expect("an id");
        u32::try_from(id).expect("an id")
    }

    fn compare(mut self, runc: Option<&Path>) -> Vec<String> {
        let ours = self.observe();
        let Some(runc) = runc else {
            return ours.err().map(|error| format!("{}: {error}", self.name)).into_iter().collect();
        };
        self.case.runtime = runc.to_path_buf();
        self.case.make_rootfs_again();
        self.give_rootfs();
        let theirs = self.observe();
        let differences = match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => {
                let [ours, theirs] = differences(&ours, &theirs);
                let ours = ours.into_iter().map(|line| format!("ours {line}"));
                ours.chain(theirs.into_iter().map(|line| format!("runc {line}"))).collect()
            }
            (Err(error), Err(_)) if is_of_this_machine(&error) => Vec::new(),
            (ours, theirs) => vec![format!("ours: {:?} runc: {:?}", ours.err(), theirs.err())],
        };
        differences.into_iter().map(|line| format!("{}: {line}", self.name)).collect()
    }

    fn give_rootfs(&self) {
        if self.case.config["linux"]["uidMappings"].is_array() {
            give_to(&self.case, self.first("uidMappings"), self.first("gidMappings"));
        }
    }

    fn observe(&self) -> Result<Value, String> {
        let list = self.case.config["linux"]["namespaces"].as_array().expect("namespaces");
        let has_pid = list.iter().any(|namespace| namespace["type"] == "pid");
        let text = self.case.observe()?;
        let mut report: Value =
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("{}: {text}", self.name));
        if !has_pid {
            report["pid"].take();
            report["status"]["NStgid"].take();
        }
        Ok(report)
    }
}

/// The error says that the machine lacks a privilege which the document asks for, or that it has
/// no cgroup v1, of which the document binds a hierarchy.
fn is_of_this_machine(error: &str) -> bool {
    let privilege = error.contains("CAP_SYS_RESOURCE: operation not permitted");
    let hierarchy = error.contains(" at \"/sys/fs/cgroup/systemd\": ")
        && error.contains("open the destination: read-only file system");
    privilege && !host::has_sys_resource() || hierarchy && host::is_v2()
}
