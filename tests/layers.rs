//! The style test: who may use whom, how large things may get, and what may not be written.
//!
//! `docs/architecture.md` explains the layers. The rules here are checked by machine so that
//! nobody has to remember them.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules from the outside in. A module uses only modules of lines below its own.
const LAYERS: [&[&str]; 12] = [
    &["main"],
    &["usage", "commands"],
    &["cli", "container"],
    &["init"],
    &["handshake"],
    &["plan"],
    &["namespaces", "rootfs", "process", "seccomp", "cgroups", "hooks"],
    &["spec", "host"],
    &["procfs"],
    &["resolve"],
    &["error", "log"],
    &["sys"],
];

/// Lines of a file without its unit tests.
const FILE_LIMIT: usize = 500;

/// Names that say nothing about what is in a file.
const EMPTY_NAMES: [&str; 5] = ["util", "utils", "common", "helper", "helpers"];

/// Words that do not belong into finished work. They are spelled so that this file has none.
const UNFINISHED: [&str; 5] = ["TO\x44O", "FIX\x4dE", "XX\x58", "unimplemented\x21", "todo\x21"];

struct Source {
    path: PathBuf,
    /// The first part of its path below `src`.
    module: String,
    /// Without unit tests.
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut todo = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("read a directory");
            todo.extend(entries.flatten().map(|entry| entry.path()));
            continue;
        }
        let text = fs::read_to_string(&path).expect("read a source");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default().to_string();
        let below = path.strip_prefix(&root).expect("a path below src");
        let first = below.components().next().expect("a path").as_os_str().to_string_lossy();
        let module = first.trim_end_matches(".rs").to_string();
        sources.push(Source { path: below.to_path_buf(), module, text });
    }
    sources
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|line| line.contains(&module))
}

/// The modules of this crate that a text names: `crate::a::…` and `crate::{a, b::c}`.
fn used(text: &str) -> Vec<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = code.collect::<Vec<_>>().join("\n");
    let mut modules = Vec::new();
    for start in ["crate::", "orlop::"] {
        for rest in code.split(start).skip(1) {
            match rest.strip_prefix('{') {
                None => modules.push(word(rest)),
                Some(list) => {
                    let list = list.split('}').next().unwrap_or_default();
                    modules.extend(list.split(',').map(|entry| word(entry.trim())));
                }
            }
        }
    }
    modules.retain(|module| !module.is_empty());
    modules
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn check(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn arrows_point_down() {
    let mut complaints = Vec::new();
    for source in sources().iter().filter(|source| source.module != "lib") {
        let Some(own) = layer(&source.module) else {
            complaints.push(format!("{}: no layer for {}", source.path.display(), source.module));
            continue;
        };
        for module in used(&source.text).iter().filter(|module| **module != source.module) {
            match layer(module) {
                Some(other) if other > own => {}
                Some(_) => {
                    complaints.push(format!("{}: uses {module}", source.path.display()));
                }
                // A function of the crate root does not exist.
                None => complaints.push(format!("{}: what is {module}?", source.path.display())),
            }
        }
    }
    check(&complaints);
}

#[test]
fn the_container_enters_init_by_two_doors() {
    let complaints: Vec<_> = sources()
        .iter()
        .filter(|source| source.module == "container")
        .flat_map(|source| {
            let uses = source.text.split("init::").skip(1).map(word);
            uses.map(|name| (source.path.display().to_string(), name)).collect::<Vec<_>>()
        })
        .filter(|(_, name)| !["run", "Setup", "exec", "Exec"].contains(&name.as_str()))
        .map(|(path, name)| format!("{path}: uses init::{name}"))
        .collect();
    check(&complaints);
}

#[test]
fn files_stay_small_and_have_a_subject() {
    let mut complaints = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        if lines > FILE_LIMIT {
            complaints.push(format!("{}: {lines} lines", source.path.display()));
        }
        let name = source.path.file_stem().expect("a file name").to_string_lossy().to_string();
        if EMPTY_NAMES.contains(&name.as_str()) {
            complaints.push(format!("{}: a name without a subject", source.path.display()));
        }
        if !source.text.starts_with("//!") {
            complaints.push(format!("{}: does not say what it is for", source.path.display()));
        }
    }
    check(&complaints);
}

#[test]
fn unsafe_code_lives_in_sys() {
    let complaints: Vec<_> = sources()
        .iter()
        .filter(|source| source.module != "sys")
        .filter(|source| {
            ["unsafe {", "unsafe fn", "unsafe impl"].iter().any(|w| source.text.contains(w))
        })
        .map(|source| format!("{}: unsafe code", source.path.display()))
        .collect();
    check(&complaints);
}

#[test]
fn nothing_is_left_unfinished() {
    let mut complaints = Vec::new();
    for source in sources() {
        for word in UNFINISHED.iter().filter(|word| source.text.contains(**word)) {
            complaints.push(format!("{}: {word}", source.path.display()));
        }
    }
    check(&complaints);
}

/// Only the places that say why may wait for a time instead of an event.
#[test]
fn nobody_sleeps() {
    let complaints: Vec<_> = sources()
        .iter()
        .filter(|source| {
            source.text.contains("sleep(")
                && !source.path.ends_with("cgroups/remove.rs")
                && !source.path.ends_with("cgroups/freezer.rs")
        })
        .map(|source| format!("{}: sleeps", source.path.display()))
        .collect();
    check(&complaints);
}

/// Mounts, networks and cgroups are system calls; the program executes only hooks, the
/// container's program, and what the card of the project names.
#[test]
fn only_hooks_execute_programs() {
    let complaints: Vec<_> = sources()
        .iter()
        .filter(|source| source.text.contains("Command::new(") && source.module != "hooks")
        .filter(|source| source.module != "cli" && !source.path.ends_with("commands/ps.rs"))
        // newuidmap and newgidmap are among them.
        .filter(|source| source.path != Path::new("namespaces/subordinate.rs"))
        .map(|source| format!("{}: executes a program", source.path.display()))
        .collect();
    check(&complaints);
}

/// Documents name tests as `suite::test`; each has to be there.
#[test]
fn documents_name_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documents = ["conformance", "security", "kernel"];
    let read = |name| fs::read_to_string(root.join(format!("docs/{name}.md")));
    let text = documents.map(|name| read(name).expect("read a document")).join("\n");
    let mut names = 0;
    for word in text.split('`').filter(|word| !word.contains(char::is_whitespace)) {
        let Some((suite, test)) = word.split_once("::") else { continue };
        let path = root.join(format!("tests/integration/{suite}.rs"));
        let source = fs::read_to_string(&path).unwrap_or_else(|_| panic!("no suite for {word}"));
        assert!(source.contains(&format!("\nfn {test}() {{")), "there is no test {word}");
        names += 1;
    }
    assert!(names > 80, "only {names} tests are named");
}
