//! The specification's schemas, kept in `tests/data/schema`.

use std::path::{Path, PathBuf};

use jsonschema::{Retrieve, Uri};
use serde_json::Value;

/// Checks a document against `NAME-schema.json`.
#[track_caller]
pub fn check(name: &str, document: &Value) {
    let file = format!("{name}-schema.json");
    let schema = jsonschema::options()
        .with_base_uri(format!("{BASE}{file}"))
        .with_retriever(Files)
        .build(&read(&directory().join(&file)))
        .expect("a schema");
    let errors: Vec<_> = schema
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?} in {document:#}");
}

const BASE: &str = "schema:///";

/// References between schemas name files beside each other.
struct Files;

impl Retrieve for Files {
    fn retrieve(
        &self,
        uri: &Uri<String>,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Ok(read(&directory().join(uri.as_str().rsplit('/').next().unwrap_or_default())))
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/schema")
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("read a schema");
    serde_json::from_str(&text).expect("a schema")
}
