//! JSON schemas as the walk, the reference and editors want them: plain.
//!
//! schemars describes Rust types; TOML has no null, and no one who writes a file cares for Rust's
//! integer widths. Beyond JSON Schema's own keywords a few of ours are used, which editors pass over:
//!
//! | keyword | meaning |
//! |---|---|
//! | `x-grammar` | the text is a `duration`, a `size` or a `secret` |
//! | `x-minimum`, `x-maximum` | the range of a duration or size, in its own grammar |
//! | `x-noun` | what the table's keys name, such as `store kind` |
//! | `x-later` | values that will be valid one day, with the reason why not yet |

use serde_json::{Map, Value};

/// Takes out of `schema`, all the way down, what says nothing about a TOML file.
pub(super) fn plain(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    unwrap_option(map);
    if is_choice(map) {
        map.insert("type".to_owned(), "string".into());
    }
    map.retain(|key, value| match key.as_str() {
        "$schema" | "title" | "format" => false,
        // A table's defaults stand with its keys.
        "default" => !value.is_null() && !value.is_object(),
        _ => true,
    });
    drop_defaults_of_required(map);
    for (key, value) in map.iter_mut() {
        match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => properties.values_mut().for_each(plain),
            ("oneOf" | "anyOf" | "allOf", Value::Array(list)) => list.iter_mut().for_each(plain),
            ("items" | "additionalProperties", value) => plain(value),
            _ => {}
        }
    }
}

/// An `Option<T>` is a `T` that may be left out.
fn unwrap_option(map: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            map.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = map.get("anyOf")
        && let [Value::Object(inner), Value::Object(null)] = choices.as_slice()
        && null.get("type").is_some_and(|name| name == "null")
    {
        let inner = inner.clone();
        map.remove("anyOf");
        for (key, value) in inner {
            map.entry(key).or_insert(value);
        }
    }
}

/// What a struct holds for a required key until it is read is no default.
fn drop_defaults_of_required(map: &mut Map<String, Value>) {
    let required: Vec<_> = texts(map.get("required")).map(str::to_owned).collect();
    let Some(Value::Object(properties)) = map.get_mut("properties") else { return };
    for key in required {
        if let Some(Value::Object(schema)) = properties.get_mut(&key) {
            schema.remove("default");
        }
    }
}

/// schemars gives the type of an enum's variants, not of the enum.
fn is_choice(map: &Map<String, Value>) -> bool {
    let choices = map.get("oneOf").and_then(Value::as_array);
    choices.is_some_and(|choices| choices.iter().all(|choice| word(choice, "type") == Some("string")))
}

/// The schema of `key` in a table: its own, or the one for all names.
pub(super) fn of_key<'a>(table: &'a Value, key: &str) -> Option<&'a Value> {
    let own = table.get("properties").and_then(|properties| properties.get(key));
    own.or_else(|| table.get("additionalProperties").filter(|schema| schema.is_object()))
}

/// Whether a table takes no other keys than those it names.
pub(super) fn is_closed(table: &Value) -> bool {
    table.get("additionalProperties") == Some(&Value::Bool(false))
}

/// The keys that a table names, in order.
pub(super) fn keys(table: &Value) -> impl Iterator<Item = (&String, &Value)> {
    table.get("properties").and_then(Value::as_object).into_iter().flatten()
}

/// The keys that a table must have.
pub(super) fn required(table: &Value) -> impl Iterator<Item = &str> {
    texts(table.get("required"))
}

/// The values that a text may have, when it may have only some; each with what it means.
pub(super) fn choices(schema: &Value) -> Vec<(&str, &str)> {
    let described = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let described = described.flat_map(|choice| {
        let description = word(choice, "description").unwrap_or_default();
        let bare = texts(choice.get("enum"));
        word(choice, "const").into_iter().chain(bare).map(move |value| (value, description))
    });
    described.chain(texts(schema.get("enum")).map(|value| (value, ""))).collect()
}

/// The text of one keyword.
pub(super) fn word<'a>(schema: &'a Value, keyword: &str) -> Option<&'a str> {
    schema.get(keyword).and_then(Value::as_str)
}

fn texts(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}
