//! `docs/requirements.md` names every requirement once, and tests that exist.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rows of the document: what they say about each requirement.
fn rows() -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    for line in read("docs/requirements.md").lines() {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let ["", id, text, ""] = cells.as_slice() else { continue };
        if *id == "requirement" || id.starts_with("---") {
            continue;
        }
        assert!(!text.is_empty(), "nothing is said about {id}");
        let known = rows.insert((*id).to_string(), (*text).to_string());
        assert!(known.is_none(), "{id} is there twice");
    }
    rows
}

#[test]
fn every_requirement_has_a_row() {
    let (list, rows) = (read("tests/data/requirements.txt"), rows());
    let missing: Vec<_> = list.lines().filter(|id| !rows.contains_key(*id)).collect();
    assert!(missing.is_empty(), "not in docs/requirements.md: {missing:?}");
    assert_eq!(rows.len(), list.lines().count(), "a row is for no requirement");
}

/// Checks that each test exists which a text names in backticks, and counts them.
fn check_names(place: &str, text: &str) -> usize {
    let names = text.split('`').skip(1).step_by(2).filter(|name| name.contains("::"));
    names
        .map(|name| {
            let (file, test) = name.split_once("::").expect("a file and a test");
            let path = match file {
                file if file.starts_with("src/") => file.to_string(),
                file if file.starts_with("engines/") => format!("tests/{file}.rs"),
                suite => format!("tests/integration/{suite}.rs"),
            };
            let code = read(&path);
            // A list of tests by somebody else has names that become functions.
            let forms = [format!("fn {test}() {{"), format!("\n    {test} = \"")];
            assert!(forms.iter().any(|form| code.contains(form)), "{place}: no test {name}");
        })
        .count()
}

#[test]
fn the_tests_that_rows_name_exist() {
    let mut names = 0;
    for (id, text) in rows() {
        let named = check_names(&id, &text);
        let quoted = text.split('`').count() / 2;
        assert_eq!(named, quoted, "{id}: what is quoted is a test");
        names += named;
    }
    assert!(names > 600, "only {names} tests are named");
}

#[test]
fn the_tests_that_show_what_engines_rely_on_exist() {
    let document = read("docs/engines.md");
    let (_, tables) = document.split_once("\n## What engines rely on").expect("the tables");
    let is_row = |line: &&str| line.starts_with("| ") && !line.ends_with("| shown by |");
    let mut rows = 0;
    for line in tables.lines().filter(is_row) {
        assert!(check_names("docs/engines.md", line) > 0, "nothing shows {line}");
        rows += 1;
    }
    assert!(rows > 55, "only {rows} rows");
}
