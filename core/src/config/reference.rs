//! The reference page and the schema for editors, made from the components.

use std::fmt::Write;

use serde_json::Value;

use super::catalog::Catalog;
use super::schema::{choices, keys, required, word};

/// The JSON schema of a configuration file, for editors.
#[must_use]
pub fn json_schema(catalog: &Catalog) -> Value {
    let mut schema = serde_json::json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Keylane configuration",
    });
    if let (Value::Object(all), Value::Object(own)) = (&mut schema, catalog.schema()) {
        all.extend(own.into_iter().filter(|(key, _)| key != "description"));
    }
    schema
}

/// The reference of all keys, as Markdown.
#[must_use]
pub fn reference(catalog: &Catalog) -> String {
    let mut page = INTRODUCTION.to_owned();
    let schema = catalog.schema();
    for (key, table) in keys(&schema) {
        // What may stand in `[defaults]` is what stands under a subscription; once is enough.
        let depth = if key == "defaults" { 0 } else { DEPTH_MAX };
        section(&mut page, key, table, depth);
    }
    page
}

const DEPTH_MAX: usize = 8;

const INTRODUCTION: &str = r#"# Configuration

<!-- Generated from the components' own docs. Change those, then run the test that compares with KEYLANE_BLESS=1. -->

One TOML file, or a string, or the table `[keylane]` of the service's own file. Keys are strict: an unknown key, a
missing one and a value out of its range are refused at start, all of them at once, each with its line and what to write
instead. The least that works is a store, a broker and a source; everything else has a default. Here stands what every
service has; the keys of the log and of SQLite stand [apart](config/embedded.md).

- A **duration** is text such as `"250ms"`, `"30s"` or `"1h30m"`: whole numbers with the units `d`, `h`, `m`, `s`, `ms`,
  `us` and `ns`, largest first. There are no months and years.
- A **size** is text such as `"512B"`, `"64KiB"` or `"1GB"`: one whole number with `B`, `KiB`, `MiB`, `GiB`, `TiB` (powers
  of 1024) or `KB`, `MB`, `GB`, `TB` (powers of 1000).
- `${NAME}` inside a text is replaced by an environment variable, `${file:/path}` by the content of a file without the
  line break at its end; `$${` is a plain `${`. What is put in is read as text, never as TOML, and never shown in a message.
- A **secret** is text that is never printed. Write it as `"${NAME}"` or `"${file:/path}"`.
"#;

/// A heading for `table`, its keys, then the tables in it.
fn section(page: &mut String, path: &str, table: &Value, depth: usize) {
    let description = paragraph(word(table, "description").unwrap_or_default());
    if depth > 0
        && let Some(each) = table.get("additionalProperties").filter(|each| each.is_object())
    {
        return section(page, &format!("{path}.NAME"), each, depth - 1);
    }
    // A table that only holds one of a kind is never written alone.
    let kind = if table.get("x-noun").is_some() { ".KIND" } else { "" };
    let _ = write!(page, "\n## `[{path}{kind}]`\n\n{description}\n");
    if depth == 0 {
        return;
    }
    let (tables, own): (Vec<_>, Vec<_>) = keys(table).partition(|(_, schema)| is_table(schema));
    if !own.is_empty() {
        page.push('\n');
    }
    for (key, schema) in own {
        let is_required = required(table).any(|name| name == key);
        entry(page, key, schema, is_required);
    }
    for (key, inner) in tables {
        section(page, &format!("{path}.{key}"), inner, depth - 1);
    }
}

fn entry(page: &mut String, key: &str, schema: &Value, is_required: bool) {
    let mut facts = vec![type_of(schema)];
    facts.extend(range(schema));
    match schema.get("default") {
        _ if is_required => facts.push("required".to_owned()),
        Some(value) => facts.push(format!("default `{}`", toml_of(value))),
        None => {}
    }
    let description = paragraph(word(schema, "description").unwrap_or_default());
    let _ = writeln!(page, "- **`{key}`** ({}): {}", facts.join(", "), description.replace('\n', "\n  "));
    for (value, meaning) in choices(schema) {
        let _ = match meaning {
            "" => writeln!(page, "  - `\"{value}\"`"),
            meaning => writeln!(page, "  - `\"{value}\"`: {}", paragraph(meaning)),
        };
    }
    for (value, reason) in schema.get("x-later").and_then(Value::as_object).into_iter().flatten() {
        let _ =
            writeln!(page, "  - `\"{value}\"` is not there yet: {}.", reason.as_str().unwrap_or_default());
    }
}

fn is_table(schema: &Value) -> bool {
    word(schema, "type") == Some("object")
}

/// Doc comments break their lines for the code's width; a page has its own.
fn paragraph(text: &str) -> String {
    text.split("\n\n").map(|part| part.replace('\n', " ")).collect::<Vec<_>>().join("\n\n")
}

fn type_of(schema: &Value) -> String {
    let name = match (word(schema, "x-grammar"), word(schema, "type")) {
        (Some(grammar), _) => grammar,
        (None, Some("string")) => "text",
        (None, Some("integer")) => "whole number",
        (None, Some("boolean")) => "true or false",
        (None, Some("array")) => {
            let items = schema.get("items").map_or_else(|| "values".to_owned(), type_of);
            return format!("list of {items}");
        }
        (None, Some(other)) => other,
        (None, None) => "value",
    };
    name.to_owned()
}

fn range(schema: &Value) -> Option<String> {
    let bound = |keywords: [&str; 2]| {
        keywords.iter().find_map(|keyword| schema.get(*keyword)).map(|bound| match bound {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    };
    match (bound(["minimum", "x-minimum"]), bound(["maximum", "x-maximum"])) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}")),
        (Some(least), None) => Some(format!("at least {least}")),
        (None, Some(most)) => Some(format!("at most {most}")),
        (None, None) => None,
    }
}

/// A default as it would be written in the file.
fn toml_of(value: &Value) -> String {
    match value {
        Value::Array(list) => format!("[{}]", list.iter().map(toml_of).collect::<Vec<_>>().join(", ")),
        // JSON's escapes of text are TOML's.
        other => other.to_string(),
    }
}
