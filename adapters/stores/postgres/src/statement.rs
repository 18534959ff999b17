//! Writes that are one statement: what a handler records, and how the server is told to run it.

use std::fmt::{self, Write as _};

use keylane::Failure;
use keylane::event::EventId;
use keylane::store::Statements;
use sqlx::{SqlSafeStr, SqlStr};
use uuid::Uuid;

use crate::Postgres;

impl Statements for Postgres {
    type Statement = Statement;
}

/// A statement for [`Effects::commit_statement`](keylane::Effects::commit_statement), its parameters `$1`, `$2` and so
/// on given by [`bind`](Statement::bind) in that order.
///
/// ```
/// use keylane::{Effects, RawEvent};
/// use keylane_postgres::{Postgres, sql};
///
/// async fn seen(event: RawEvent, mut fx: Effects<Postgres>) {
///     let meta = event.meta();
///     fx.commit_statement(sql("INSERT INTO seen (id, key) VALUES ($1, $2)").bind(&meta.id).bind(meta.key_text()));
/// }
/// # let _ = keylane::Routes::<()>::new().all(seen);
/// ```
///
/// It is one of SELECT, INSERT, UPDATE, DELETE, MERGE and VALUES, and stays prepared: its text should be one of a few.
/// Other text than a literal says that it is safe by [`sqlx::AssertSqlSafe`].
pub fn sql(text: impl SqlSafeStr) -> Statement {
    Statement { text: text.into_sql_str(), values: Vec::new() }
}

/// A statement with its parameters; made by [`sql`].
#[derive(Clone)]
#[must_use = "a statement is recorded by `Effects::commit_statement`"]
pub struct Statement {
    text: SqlStr,
    values: Vec<Value>,
}

impl Statement {
    /// Gives the next parameter. The server reads it as what the statement asks for at that place, as if it stood there in
    /// quotes: a text where a number, a date or JSON is asked for is read as one, or fails.
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Gives the next parameter, which is an array: `unnest($1::text[])`, `= ANY ($1)`.
    pub fn bind_all<V: Into<Value>>(mut self, values: impl IntoIterator<Item = V>) -> Self {
        self.values.push(Value::array(values.into_iter().map(Into::into)));
        self
    }

    /// Of its text and parameters in bytes, about; never 0.
    pub(crate) fn size(&self) -> usize {
        let values = self.values.iter().map(|value| value.0.as_ref().map_or(0, String::len) + 8);
        self.text.as_str().len() + values.sum::<usize>() + 1
    }

    pub(crate) fn text(&self) -> &SqlStr {
        &self.text
    }

    /// What runs it where it is prepared under this name.
    pub(crate) fn execute(&self, name: &str) -> Result<String, Failure> {
        if self.text.as_str().contains('\0') {
            let what =
                format!("{:?} has a NUL in it, which no statement of PostgreSQL has", self.text.as_str());
            return Err(Failure::new(what).permanent());
        }
        let mut text = format!("EXECUTE {name}");
        for (at, value) in self.values.iter().enumerate() {
            text.push_str(if at == 0 { "(" } else { "," });
            value.quote(&mut text).map_err(|NulInText| {
                let place = format!("parameter ${} of `{}`", at + 1, self.text.as_str());
                Failure::new(format!("{place} has a NUL in it, which no text of PostgreSQL has")).permanent()
            })?;
        }
        if !self.values.is_empty() {
            text.push(')');
        }
        Ok(text)
    }

    /// The server's answer, with the statement's text.
    pub(crate) fn failure(&self, error: &sqlx::Error) -> Failure {
        Failure::new(format!("`{}` failed: {error}", self.text.as_str()))
    }
}

impl fmt::Debug for Statement {
    /// Without its parameters: they are the service's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Statement({:?}, {} parameters)", self.text.as_str(), self.values.len())
    }
}

/// A parameter, in the form in which PostgreSQL reads it. A time is given as text, such as RFC 3339.
#[derive(Clone)]
pub struct Value(Option<String>);

struct NulInText;

impl Value {
    fn array(values: impl Iterator<Item = Self>) -> Self {
        let mut text = String::from("{");
        for (at, value) in values.enumerate() {
            if at > 0 {
                text.push(',');
            }
            match value.0 {
                Some(value) => {
                    text.push('"');
                    for letter in value.chars() {
                        if matches!(letter, '"' | '\\') {
                            text.push('\\');
                        }
                        text.push(letter);
                    }
                    text.push('"');
                }
                None => text.push_str("NULL"),
            }
        }
        text.push('}');
        Self(Some(text))
    }

    /// As a literal that means the same whatever `standard_conforming_strings` is.
    fn quote(&self, sql: &mut String) -> Result<(), NulInText> {
        let Some(text) = &self.0 else {
            sql.push_str("NULL");
            return Ok(());
        };
        sql.push_str("E'");
        for letter in text.chars() {
            match letter {
                '\0' => return Err(NulInText),
                '\'' => sql.push_str("''"),
                '\\' => sql.push_str("\\\\"),
                letter => sql.push(letter),
            }
        }
        sql.push('\'');
        Ok(())
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Value")
    }
}

impl<V: Into<Self>> From<Option<V>> for Value {
    fn from(value: Option<V>) -> Self {
        value.map_or(Self(None), Into::into)
    }
}

macro_rules! written_as_shown {
    ($($of:ty),*) => { $(
        impl From<$of> for Value {
            fn from(value: $of) -> Self {
                Self(Some(value.to_string()))
            }
        }
    )* };
}

written_as_shown!(bool, i8, i16, i32, i64, i128, u8, u16, u32, u64, f32, f64, &str, &String, Uuid);
written_as_shown!(serde_json::Value, &serde_json::Value);

impl From<&EventId> for Value {
    fn from(value: &EventId) -> Self {
        Self(Some(value.to_string()))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self(Some(value))
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        let mut text = String::with_capacity(2 + 2 * value.len());
        text.push_str("\\x");
        for byte in value {
            // Writing to a string can't fail.
            _ = write!(text, "{byte:02x}");
        }
        Self(Some(text))
    }
}

impl From<&Vec<u8>> for Value {
    fn from(value: &Vec<u8>) -> Self {
        Self::from(&value[..])
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::from(&value[..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(statement: &Statement) -> String {
        statement.execute("s").expect("no text has a NUL")
    }

    #[test]
    fn parameters_are_quoted_whatever_is_in_them() {
        let hostile = r"'); DROP TABLE orders; -- \' $$ E'";
        let statement = sql("SELECT $1, $2").bind(hostile).bind(None::<i64>);
        assert_eq!(told(&statement), r"EXECUTE s(E'''); DROP TABLE orders; -- \\'' $$ E''',NULL)");
        assert_eq!(told(&sql("SELECT 1")), "EXECUTE s");
    }

    #[test]
    fn an_array_is_quoted_inside_and_outside() {
        let statement = sql("SELECT $1").bind_all([Some("a\"b\\c'd"), None, Some("NULL"), Some("")]);
        assert_eq!(told(&statement), r#"EXECUTE s(E'{"a\\"b\\\\c''d",NULL,"NULL",""}')"#);
        assert_eq!(told(&sql("SELECT $1").bind_all(Vec::<i64>::new())), "EXECUTE s(E'{}')");
    }

    #[test]
    fn a_nul_is_refused_with_its_place() {
        let failure = sql("SELECT $1, $2").bind(1).bind("a\0b").execute("s").expect_err("it ends the text");
        assert!(failure.to_string().contains("$2 of `SELECT $1, $2` has a NUL"), "{failure}");
    }

    #[test]
    fn what_is_shown_has_no_data_in_it() {
        let statement = sql("SELECT $1").bind("secret");
        assert_eq!(
            format!("{statement:?} {:?}", Value::from("secret")),
            "Statement(\"SELECT $1\", 1 parameters) Value"
        );
    }
}
