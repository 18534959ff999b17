//! A JSON pointer (RFC 6901), followed through bytes without building the document.

use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::flaw::Flaw;
use crate::text::Text;

/// A place inside a JSON payload, such as `/order/id`.
///
/// - Everything beside the path is skipped without being kept.
/// - A name on the path that stands twice in its object is refused: readers disagree on which counts.
/// - Numbers are taken as they are written, so that none loses digits; `true` and `false` are text;
///   `null` is as good as absent; objects and arrays are refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pointer {
    text: String,
    steps: Box<[String]>,
}

impl Pointer {
    /// The pointer that `text` writes; `None` when it is none, or points at the whole document.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let steps = text.strip_prefix('/')?.split('/').map(unescaped).collect::<Option<_>>()?;
        Some(Self { text: text.to_owned(), steps })
    }

    /// The value in `json`, sharing its buffer where nothing in it is escaped.
    pub(super) fn find(&self, json: &Bytes) -> Result<Option<Bytes>, Flaw> {
        let no_json =
            |error| Flaw::undecodable(format!("payload is no JSON, looked into for `{self}`: {error}"));
        let mut read = serde_json::Deserializer::from_slice(json);
        let found = Path(&self.steps).deserialize(&mut read).map_err(no_json)?;
        read.end().map_err(no_json)?;
        match found.map(|raw| scalar(raw, json)) {
            None => Ok(None),
            Some(Ok(value)) => Ok(value.map(Text::into_bytes)),
            Some(Err(why)) => Err(Flaw::undecodable(format!("payload at `{self}` {why}"))),
        }
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn unescaped(step: &str) -> Option<String> {
    let wrong = step.split('~').skip(1).any(|after| !after.starts_with(['0', '1']));
    (!wrong).then(|| step.replace("~1", "/").replace("~0", "~"))
}

/// A JSON value as text; `None` for `null`. `raw` must have been borrowed from `json`.
pub(super) fn scalar(raw: &RawValue, json: &Bytes) -> Result<Option<Text>, &'static str> {
    let raw = raw.get();
    let shared = |part: &str| Text::from_utf8(json.slice_ref(part.as_bytes())).map_err(|_| "is not UTF-8");
    match raw.as_bytes().first() {
        Some(b'"') if !raw.contains('\\') => shared(&raw[1..raw.len() - 1]).map(Some),
        Some(b'"') => match serde_json::from_str::<String>(raw) {
            Ok(text) => Ok(Some(text.into())),
            Err(_) => Err("has an escape that stands for no character"),
        },
        Some(b'{' | b'[') => Err("is no text, number or boolean"),
        Some(b'n') => Ok(None),
        _ => shared(raw).map(Some),
    }
}

/// What is left of the path.
struct Path<'p>(&'p [String]);

impl<'de> DeserializeSeed<'de> for Path<'_> {
    type Value = Option<&'de RawValue>;

    // As deep as the pointer is long; below its end nothing recurses.
    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        match self.0 {
            [] => serde::Deserialize::deserialize(from).map(Some),
            _ => from.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Path<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Some((step, rest)) = self.0.split_first() else { return Ok(None) };
        let mut found = None;
        let mut met = false;
        while let Some(is_step) = map.next_key_seed(Is(step))? {
            if !is_step {
                map.next_value::<IgnoredAny>()?;
            } else if met {
                return Err(A::Error::custom("a name on the path stands twice"));
            } else {
                met = true;
                found = map.next_value_seed(Path(rest))?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let Some((step, rest)) = self.0.split_first() else { return Ok(None) };
        let mut found = None;
        for _ in 0..index(step).unwrap_or(0) {
            if items.next_element::<IgnoredAny>()?.is_none() {
                return Ok(None);
            }
        }
        if index(step).is_some() {
            found = items.next_element_seed(Path(rest))?.flatten();
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }

    // A scalar in the middle of the path: the path leads nowhere.
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// An array's index: digits without a leading zero.
fn index(step: &str) -> Option<usize> {
    let plain = step.bytes().all(|byte| byte.is_ascii_digit()) && (step == "0" || !step.starts_with('0'));
    step.parse().ok().filter(|_| plain)
}

/// Whether an object's name is this one; the name is not kept.
struct Is<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(pointer: &str, json: &str) -> Result<Option<String>, String> {
        let found = Pointer::parse(pointer).unwrap().find(&Bytes::copy_from_slice(json.as_bytes()));
        found
            .map(|value| value.map(|bytes| String::from_utf8(bytes.into()).unwrap()))
            .map_err(|flaw| flaw.why)
    }

    #[test]
    fn values_are_taken_as_they_are_written() {
        let json = r#"{"a":{"b":[10,{"c":"x"},18446744073709551617,1.50]},"":{"":"e"},"a/b":"s","m~n":"t",
            "t":true,"n":null,"q":"say \"hi\" \u00e9","deep":[[[[[]]]]]}"#;
        for (pointer, value) in [
            ("/a/b/0", Some("10")),
            ("/a/b/1/c", Some("x")),
            ("/a/b/2", Some("18446744073709551617")),
            ("/a/b/3", Some("1.50")),
            ("/a/b/4", None),
            ("/a/b/00", None),
            ("/a/b/-", None),
            ("/a/b/c", None),
            ("/a/b/0/c", None),
            ("/t/x", None),
            ("/q/x", None),
            ("//", Some("e")),
            ("/a~1b", Some("s")),
            ("/m~0n", Some("t")),
            ("/t", Some("true")),
            ("/n", None),
            ("/n/x", None),
            ("/q", Some("say \"hi\" é")),
            ("/absent", None),
        ] {
            assert_eq!(find(pointer, json), Ok(value.map(str::to_owned)), "{pointer}");
        }
    }

    #[test]
    fn what_can_not_serve_is_refused() {
        for (pointer, json, why) in [
            ("/a", r#"{"a":{}}"#, "is no text"),
            ("/a", r#"{"a":[1]}"#, "is no text"),
            ("/a", r#"{"a":1,"b":2,"a":1}"#, "stands twice"),
            ("/a/b", r#"{"a":{"b":1},"a":{}}"#, "stands twice"),
            ("/a", r#"{"a":1"#, "no JSON"),
            ("/a", r#"{"a":1} x"#, "no JSON"),
            ("/a", "", "no JSON"),
            ("/a", r#"{"a":"\ud800"}"#, "stands for no character"),
        ] {
            let refused = find(pointer, json).unwrap_err();
            assert!(refused.contains(why), "{json}: {refused}");
        }
        for text in ["", "a", "/a~", "/~2"] {
            assert_eq!(Pointer::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_value_without_escapes_shares_the_payload() {
        let json = Bytes::from(r#"{"id":"o-1871"}"#);
        let id = Pointer::parse("/id").unwrap().find(&json).unwrap().unwrap();
        assert_eq!(id.as_ptr(), json[7..].as_ptr());
    }

    proptest! {
        /// The same as looking it up in the whole document.
        #[test]
        fn agrees_with_serde_json(
            steps in proptest::collection::vec("[ab~/01]{0,2}", 1..4),
            leaf in prop_oneof![any::<i64>().prop_map(Into::into), ".{0,8}".prop_map(serde_json::Value::from)],
            follow in any::<bool>(),
        ) {
            let escaped = |step: &String| step.replace('~', "~0").replace('/', "~1");
            let pointer: String = steps.iter().map(|step| format!("/{}", escaped(step))).collect();
            let mut json = serde_json::json!({ "other": [leaf.clone()] });
            if follow {
                json = leaf;
                for step in steps.iter().rev() {
                    json = serde_json::json!({ "x": [{}], step.clone(): json });
                }
            }
            let expected = json.pointer(&pointer).map(|value| match value {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            prop_assert_eq!(find(&pointer, &json.to_string()), Ok(expected));
        }
    }
}
