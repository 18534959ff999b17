//! `docs/config.md` and `docs/keylane.schema.json` say what the components say.

use std::path::{Path, PathBuf};

use crate::config::{Catalog, json_schema, reference};

/// The adapters whose keys are described.
fn catalog() -> Catalog {
    Catalog::new()
}

#[test]
fn the_reference_page_is_up_to_date() {
    hold("config.md", &reference(&catalog()));
}

#[test]
fn the_schema_for_editors_is_up_to_date() {
    let schema = serde_json::to_string_pretty(&json_schema(&catalog())).unwrap();
    hold("keylane.schema.json", &(schema + "\n"));
}

/// Compares a file of `docs/` with what it should hold; with `KEYLANE_BLESS=1` writes it.
fn hold(name: &str, wanted: &str) {
    let path = docs().join(name);
    if std::env::var_os("KEYLANE_BLESS").is_some() {
        std::fs::write(&path, wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    let line = found.lines().zip(wanted.lines()).take_while(|(found, wanted)| found == wanted).count() + 1;
    assert!(
        found == wanted,
        "docs/{name} differs from line {line}; run this test with KEYLANE_BLESS=1 and look at the change"
    );
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}
