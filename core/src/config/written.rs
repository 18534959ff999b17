//! Values that are written as text in the file: the shared way from text to value.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::Deserializer;
use serde::de::{self, Visitor};

use crate::error::{Error, ErrorKind};

/// Text longer than this is not repeated in a message.
const SHOWN_MAX: usize = 60;

/// Deserializes `T` from text by its `FromStr`; `wanted` completes "expected …".
pub(super) fn deserialize<'de, T, D>(deserializer: D, wanted: &'static str) -> Result<T, D::Error>
where
    T: FromStr<Err = Error>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_str(Written { wanted, value: PhantomData })
}

/// `text` in quotes for a message, with control characters escaped.
///
/// Never a part of it: a cut-off secret would not be recognized by the redaction that follows.
pub(super) fn quoted(text: &str) -> String {
    match text.chars().count() {
        0..=SHOWN_MAX => format!("`{}`", text.escape_debug()),
        count => format!("this text of {count} characters"),
    }
}

/// The error of a text that does not follow its grammar.
pub(super) fn malformed(text: &str, remedy: &str) -> Error {
    Error::new(ErrorKind::Config, format!("{} is not {remedy}", quoted(text)))
}

struct Written<T> {
    wanted: &'static str,
    value: PhantomData<T>,
}

impl<T: FromStr<Err = Error>> Visitor<'_> for Written<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.wanted)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}
