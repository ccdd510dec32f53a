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

#[test]
fn the_tests_that_rows_name_exist() {
    let mut names = 0;
    for (id, text) in rows() {
        for name in text.split('`').skip(1).step_by(2) {
            let (file, test) = name.split_once("::").unwrap_or_else(|| panic!("{id}: {name}"));
            let path = match file {
                file if file.starts_with("src/") => file.to_string(),
                file if file.starts_with("engines/") => format!("tests/{file}.rs"),
                suite => format!("tests/integration/{suite}.rs"),
            };
            assert!(read(&path).contains(&format!("fn {test}() {{")), "{id}: no test {name}");
            names += 1;
        }
    }
    assert!(names > 600, "only {names} tests are named");
}
