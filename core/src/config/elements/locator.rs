//! Where in a delivery a fact stands: `broker`, `header:NAME`, `payload:/json/pointer`, `const:TEXT`.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::written;
use crate::error::Error;

/// Where in a delivery a fact stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Locator {
    /// The broker's own field.
    Broker,
    /// The header of this name.
    Header(String),
    /// The value at this JSON pointer (RFC 6901) of the payload, never the whole payload.
    Payload(String),
    /// Nowhere: it is always this text.
    Const(String),
}

/// Header names, pointers and constants are kept with each subscription and looked up for each event.
const TEXT_MAX: usize = 256;

const REMEDY: &str = "a place in an event; write `broker`, `header:NAME`, `payload:/json/pointer` or, where it \
                      serves, `const:TEXT`";

impl FromStr for Locator {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let found = match text.split_once(':') {
            None if text == "broker" => Some(Self::Broker),
            Some(("header", name)) if is_text(name) => Some(Self::Header(name.to_owned())),
            Some(("payload", pointer)) if is_pointer(pointer) => Some(Self::Payload(pointer.to_owned())),
            Some(("const", text)) if is_text(text) => Some(Self::Const(text.to_owned())),
            _ => None,
        };
        found.ok_or_else(|| written::malformed(text, REMEDY))
    }
}

fn is_text(text: &str) -> bool {
    !text.is_empty() && text.len() <= TEXT_MAX && !text.chars().any(char::is_control)
}

/// RFC 6901: `/` before each step; `~` only as `~0` (itself) and `~1` (a `/`).
fn is_pointer(text: &str) -> bool {
    let mut escapes = text.split('~').skip(1);
    is_text(text) && text.starts_with('/') && escapes.all(|after| after.starts_with(['0', '1']))
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broker => f.write_str("broker"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Payload(pointer) => write!(f, "payload:{pointer}"),
            Self::Const(text) => write!(f, "const:{text}"),
        }
    }
}

impl Serialize for Locator {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Locator {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        written::deserialize(deserializer, "a place in an event such as \"header:NAME\"")
    }
}

impl JsonSchema for Locator {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Locator".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(broker|header:.+|payload:/.*|const:.+)$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_what_they_mean() {
        for (text, place) in [
            ("broker", Locator::Broker),
            ("header:ce_id", Locator::Header("ce_id".into())),
            ("header:a:b", Locator::Header("a:b".into())),
            ("payload:/order/id", Locator::Payload("/order/id".into())),
            ("payload:/", Locator::Payload("/".into())),
            ("payload:/a~1b/~0", Locator::Payload("/a~1b/~0".into())),
            ("const:order.paid", Locator::Const("order.paid".into())),
        ] {
            assert_eq!(text.parse::<Locator>().unwrap(), place);
            assert_eq!(place.to_string(), text);
        }
    }

    #[test]
    fn texts_that_are_refused() {
        for text in [
            "",
            "Broker",
            "broker:",
            "header",
            "header:",
            "payload:",
            "payload:order",
            "payload:/a~",
            "payload:/~2",
            "const:",
            "headers:x",
            "header:a\nb",
        ] {
            assert!(text.parse::<Locator>().is_err(), "{text:?}");
        }
        assert!(format!("header:{}", "x".repeat(257)).parse::<Locator>().is_err());
    }
}
