//! What our functions are called with: bound to a prepared statement, or written into the text of one.
//!
//! A statement with its parameters in its text can stand in one message with others, and so saves a round trip. Nothing
//! that comes from outside is written as text: numbers are, and bytes by their digits.

use std::fmt::{Display, Write as _};

use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use uuid::Uuid;

use crate::id::Key;

/// A statement under way.
pub(crate) type Statement<'q> = Query<'q, sqlx::Postgres, PgArguments>;

/// Takes one parameter after the other.
pub(crate) trait Parameters: Sized {
    fn uuid(self, value: Uuid) -> Self;
    fn flag(self, value: bool) -> Self;
    fn flags(self, values: &[bool]) -> Self;
    fn ints(self, values: &[i32]) -> Self;
    fn numbers(self, values: &[i64]) -> Self;
    fn some_numbers(self, values: &[Option<i64>]) -> Self;
    fn bytes(self, values: &[Vec<u8>]) -> Self;
    fn some_bytes(self, values: &[Option<Vec<u8>>]) -> Self;
    fn keys(self, values: &[Key]) -> Self;
    fn some_keys(self, values: &[Option<Key>]) -> Self;
    fn uuids(self, values: &[Uuid]) -> Self;
}

impl Parameters for Statement<'_> {
    fn uuid(self, value: Uuid) -> Self {
        self.bind(value)
    }

    fn flag(self, value: bool) -> Self {
        self.bind(value)
    }

    fn flags(self, values: &[bool]) -> Self {
        self.bind(values)
    }

    fn ints(self, values: &[i32]) -> Self {
        self.bind(values)
    }

    fn numbers(self, values: &[i64]) -> Self {
        self.bind(values)
    }

    fn some_numbers(self, values: &[Option<i64>]) -> Self {
        self.bind(values)
    }

    fn bytes(self, values: &[Vec<u8>]) -> Self {
        self.bind(values)
    }

    fn some_bytes(self, values: &[Option<Vec<u8>>]) -> Self {
        self.bind(values)
    }

    fn keys(self, values: &[Key]) -> Self {
        self.bind(values)
    }

    fn some_keys(self, values: &[Option<Key>]) -> Self {
        self.bind(values)
    }

    fn uuids(self, values: &[Uuid]) -> Self {
        self.bind(values)
    }
}

/// Parameters as the text between a call's parentheses. Their types are those that the function says: of its name there is
/// one, and reading a type's name costs more than reading the value.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) text: String,
}

impl Written {
    fn value(mut self, value: impl Display) -> Self {
        self.begin();
        // Writing to a string can't fail.
        _ = write!(self.text, "'{value}'");
        self
    }

    fn list<T>(mut self, values: &[T], mut write: impl FnMut(&mut String, &T)) -> Self {
        self.begin();
        // Between these a backslash is itself, whatever the server's `standard_conforming_strings`.
        self.text.push_str("$${");
        for (at, value) in values.iter().enumerate() {
            if at > 0 {
                self.text.push(',');
            }
            write(&mut self.text, value);
        }
        self.text.push_str("}$$");
        self
    }

    fn begin(&mut self) {
        if !self.text.is_empty() {
            self.text.push(',');
        }
    }
}

impl Parameters for Written {
    fn uuid(self, value: Uuid) -> Self {
        self.value(value)
    }

    fn flag(self, value: bool) -> Self {
        self.value(value)
    }

    fn flags(self, values: &[bool]) -> Self {
        self.list(values, |text, value| text.push(if *value { 't' } else { 'f' }))
    }

    fn ints(self, values: &[i32]) -> Self {
        self.list(values, plain)
    }

    fn numbers(self, values: &[i64]) -> Self {
        self.list(values, plain)
    }

    fn some_numbers(self, values: &[Option<i64>]) -> Self {
        self.list(values, |text, value| optional(text, value.as_ref(), plain))
    }

    fn bytes(self, values: &[Vec<u8>]) -> Self {
        self.list(values, |text, value| digits(text, value))
    }

    fn some_bytes(self, values: &[Option<Vec<u8>>]) -> Self {
        self.list(values, |text, value| optional(text, value.as_deref(), digits))
    }

    fn keys(self, values: &[Key]) -> Self {
        self.list(values, |text, value| digits(text, value))
    }

    fn some_keys(self, values: &[Option<Key>]) -> Self {
        self.list(values, |text, value| optional(text, value.as_deref(), digits))
    }

    fn uuids(self, values: &[Uuid]) -> Self {
        self.list(values, plain)
    }
}

fn plain<T: Display>(text: &mut String, value: &T) {
    _ = write!(text, "{value}");
}

fn optional<T: ?Sized>(text: &mut String, value: Option<&T>, write: impl Fn(&mut String, &T)) {
    match value {
        Some(value) => write(text, value),
        None => text.push_str("NULL"),
    }
}

/// In quotes, because of the backslash, of which an array takes one.
fn digits(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    text.push_str("\"\\\\x");
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_from_outside_are_written_by_their_digits() {
        let hostile = b"$$;'\"\\,NULL\0".to_vec();
        let written = Written::default().bytes(&[hostile, Vec::new()]).some_bytes(&[None, Some(vec![255])]);
        assert_eq!(written.text, r#"$${"\\x24243b27225c2c4e554c4c00","\\x"}$$,$${NULL,"\\xff"}$$"#);
    }

    #[test]
    fn numbers_and_flags_are_written_as_they_are() {
        let written = Written::default()
            .uuid(Uuid::from_u128(7))
            .flag(true)
            .flags(&[true, false])
            .ints(&[])
            .numbers(&[i64::MIN, 5])
            .some_numbers(&[None, Some(-1)]);
        assert_eq!(
            written.text,
            "'00000000-0000-0000-0000-000000000007','true',$${t,f}$$,$${}$$,\
             $${-9223372036854775808,5}$$,$${NULL,-1}$$"
        );
    }
}
