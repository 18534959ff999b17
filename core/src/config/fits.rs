//! Whether one value fits its schema, and how to say that it does not. Pure.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::Value as Schema;

use super::nearest;
use super::node::Value;
use super::period::Period;
use super::schema::{choices, word};
use super::size::Size;
use super::written::quoted;

/// What is wrong with `value`, if anything. Values show only where they are text in a closed choice
/// or out of a range; never where a secret is wanted.
pub(super) fn fault(value: &Value, schema: &Schema) -> Option<String> {
    if let Some(wanted) = word(schema, "type").filter(|wanted| !is_of_type(value, wanted)) {
        return Some(format!("wants {}, not {}", wants(schema, wanted), noun(value)));
    }
    match value {
        Value::Text(text) => text_fault(text, schema),
        Value::Integer(number) => number_fault(*number, schema, Schema::as_i64),
        Value::Float(number) => number_fault(*number, schema, Schema::as_f64),
        Value::List(list) => length_fault(list.len(), schema, ["minItems", "maxItems"], "items"),
        _ => None,
    }
}

/// What a schema asks for, in words.
pub(super) fn wants(schema: &Schema, type_name: &str) -> &'static str {
    match (word(schema, "x-grammar"), type_name) {
        (Some("duration"), _) => "a duration such as \"30s\"",
        (Some("size"), _) => "a size such as \"1MiB\"",
        (_, "string") => "text in quotes",
        (_, "integer") => "a whole number",
        (_, "number") => "a number",
        (_, "boolean") => "true or false",
        (_, "array") => "a list",
        _ => "a table",
    }
}

fn noun(value: &Value) -> &'static str {
    match value {
        Value::Text(_) => "text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "true or false",
        Value::Date(_) => "a date without quotes",
        Value::List(_) => "a list",
        Value::Table(_) => "a table",
    }
}

fn is_of_type(value: &Value, wanted: &str) -> bool {
    match value {
        Value::Text(_) => wanted == "string",
        Value::Integer(_) => wanted == "integer" || wanted == "number",
        Value::Float(_) => wanted == "number",
        Value::Boolean(_) => wanted == "boolean",
        Value::List(_) => wanted == "array",
        Value::Table(_) => wanted == "object",
        Value::Date(_) => false,
    }
}

fn text_fault(text: &str, schema: &Schema) -> Option<String> {
    match word(schema, "x-grammar") {
        Some("duration") => return range_fault::<Period>(text, schema),
        Some("size") => return range_fault::<Size>(text, schema),
        Some("secret") => return None,
        _ => {}
    }
    let choices = choices(schema);
    if choices.is_empty() {
        return match text.chars().count() {
            0 if schema.get("minLength").is_some() => {
                Some("is empty; write it or leave the key out".to_owned())
            }
            count => length_fault(count, schema, ["minLength", "maxLength"], "characters"),
        };
    }
    if choices.iter().any(|(choice, _)| *choice == text) {
        return None;
    }
    let valid = choices.iter().map(|(choice, _)| *choice);
    if let Some(reason) = schema.get("x-later").and_then(|later| word(later, text)) {
        return Some(format!(
            "{} is not there yet: {reason}; write {}",
            quoted(text),
            nearest::any_of(valid)
        ));
    }
    Some(format!("{} is not known; {}", quoted(text), nearest::remedy(text, valid)))
}

/// A text that does not parse is left to the type's own message.
fn range_fault<T: FromStr + PartialOrd + Display>(text: &str, schema: &Schema) -> Option<String> {
    let value = text.parse::<T>().ok()?;
    let bound = |keyword| word(schema, keyword).and_then(|bound| bound.parse::<T>().ok());
    out_of_range(&value, bound("x-minimum"), bound("x-maximum"))
}

fn number_fault<T: PartialOrd + Display>(
    number: T,
    schema: &Schema,
    read: fn(&Schema) -> Option<T>,
) -> Option<String> {
    let bound = |keyword| schema.get(keyword).and_then(read);
    out_of_range(&number, bound("minimum"), bound("maximum"))
}

fn out_of_range<T: PartialOrd + Display>(value: &T, least: Option<T>, most: Option<T>) -> Option<String> {
    // Written so that a float that is not a number lies in no range.
    let above = least.as_ref().is_none_or(|least| value >= least);
    let below = most.as_ref().is_none_or(|most| value <= most);
    if above && below {
        return None;
    }
    Some(match (least, most) {
        (Some(least), Some(most)) => format!("is {value}; write {least} to {most}"),
        (Some(least), None) => format!("is {value}; write at least {least}"),
        (None, Some(most)) => format!("is {value}; write at most {most}"),
        (None, None) => return None,
    })
}

fn length_fault(count: usize, schema: &Schema, keywords: [&str; 2], noun: &str) -> Option<String> {
    let bound =
        |keyword| schema.get(keyword).and_then(Schema::as_u64).and_then(|bound| bound.try_into().ok());
    let fault = out_of_range::<usize>(&count, bound(keywords[0]), bound(keywords[1]))?;
    Some(format!("{fault} {noun}").replacen("is", "has", 1))
}
