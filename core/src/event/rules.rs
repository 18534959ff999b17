//! Where a subscription finds the facts of an event.

use std::fmt;
use std::str::FromStr;

use super::{Limits, Pointer};
use crate::error::{Error, ErrorKind};
use crate::text::Text;

/// Where a subscription finds the facts of an event. The default: the attributes of a CloudEvent where
/// the event is one, and else what the broker says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// What a record is taken for.
    pub format: Format,
    /// Its identity.
    pub id: IdRule,
    /// Its ordering key.
    pub key: KeyRule,
    /// Its kind.
    pub kind: KindRule,
    /// Its number within its key; `None`: events have no numbers. An event that lacks it has none.
    pub sequence: Option<Field>,
    /// What it may measure.
    pub limits: Limits,
}

/// What a record is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// A CloudEvent, binary or structured, where its headers say so; else a plain one.
    #[default]
    Auto,
    /// A CloudEvent, binary or structured; anything else is undecodable.
    CloudEvents,
    /// A payload with headers, whatever these say.
    Plain,
}

/// Where the identity stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum IdRule {
    /// A CloudEvent's `id` and `source`, which are unique together only, written `ID SOURCE`. The id
    /// stands first, so that ids that grow in time stay neighbours in an index; a source has no space,
    /// so that no two pairs are written alike. For anything but a CloudEvent as [`Broker`](Self::Broker).
    #[default]
    Auto,
    /// The broker's message id where it has one that a redelivery repeats, else the place in the log.
    Broker,
    /// What stands there, alone: `header:ce_id` is a CloudEvent's id without its source. An event
    /// without it is undecodable, because its duplicates could not be told.
    Field(Field),
}

/// Where the ordering key stands. An event without one is its own lane.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum KeyRule {
    /// The broker's own.
    #[default]
    Broker,
    /// What stands there.
    Field(Field),
}

/// Where the kind stands. An event without one has the empty kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum KindRule {
    /// A CloudEvent's `type`.
    #[default]
    Auto,
    /// What stands there.
    Field(Field),
    /// Always this.
    Const(Text),
}

/// A header, or a place inside a JSON payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// The first header of this name. Where there is none, `ce_NAME`, `ce-NAME` and the other prefixes
    /// mean the attribute NAME of a CloudEvent in structured mode, and in binary mode its `id`, `source`,
    /// `type` and `time` under any prefix.
    Header(Text),
    /// The value at this pointer in the payload as the handler gets it: a structured CloudEvent's `data`.
    Payload(Pointer),
}

impl Rules {
    /// All fields that events are searched for.
    pub(super) fn fields(&self) -> impl Iterator<Item = &Field> {
        let id = if let IdRule::Field(field) = &self.id { Some(field) } else { None };
        let key = if let KeyRule::Field(field) = &self.key { Some(field) } else { None };
        let kind = if let KindRule::Field(field) = &self.kind { Some(field) } else { None };
        [id, key, kind, self.sequence.as_ref()].into_iter().flatten()
    }

    /// Whether id or kind are to come from a CloudEvent's attributes.
    pub(super) fn rely_on_attributes(&self) -> bool {
        self.id == IdRule::Auto || self.kind == KindRule::Auto
    }
}

/// No rule is longer.
const TEXT_MAX: usize = 256;

const HEADER: &str = "header:";
const PAYLOAD: &str = "payload:";
const CONST: &str = "const:";

impl FromStr for Field {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        field(text).ok_or_else(|| refused(text, "`header:NAME` or `payload:/json/pointer`"))
    }
}

impl FromStr for IdRule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "auto" => Ok(Self::Auto),
            "broker" => Ok(Self::Broker),
            _ => field(text)
                .map(Self::Field)
                .ok_or_else(|| refused(text, "`auto`, `broker`, `header:NAME` or `payload:/json/pointer`")),
        }
    }
}

impl FromStr for KeyRule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "broker" => Ok(Self::Broker),
            _ => field(text)
                .map(Self::Field)
                .ok_or_else(|| refused(text, "`broker`, `header:NAME` or `payload:/json/pointer`")),
        }
    }
}

impl FromStr for KindRule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let constant =
            || text.strip_prefix(CONST).filter(|kind| is_name(kind)).map(|kind| Self::Const(kind.into()));
        match text {
            "auto" => Ok(Self::Auto),
            _ => field(text).map(Self::Field).or_else(constant).ok_or_else(|| {
                refused(text, "`auto`, `header:NAME`, `payload:/json/pointer` or `const:KIND`")
            }),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "{HEADER}{name}"),
            Self::Payload(pointer) => write!(f, "{PAYLOAD}{pointer}"),
        }
    }
}

fn field(text: &str) -> Option<Field> {
    if let Some(name) = text.strip_prefix(HEADER) {
        return is_name(name).then(|| Field::Header(name.into()));
    }
    text.strip_prefix(PAYLOAD).filter(|pointer| is_name(pointer)).and_then(Pointer::parse).map(Field::Payload)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= TEXT_MAX && !text.chars().any(char::is_control)
}

fn refused(text: &str, forms: &str) -> Error {
    Error::new(
        ErrorKind::Config,
        format!("`{text}` is no place where this fact of an event can stand; write {forms}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str) -> Field {
        Field::Header(name.into())
    }

    #[test]
    fn texts_and_what_they_mean() {
        let pointer = Field::Payload(Pointer::parse("/order/id").unwrap());
        assert_eq!("auto".parse::<IdRule>().unwrap(), IdRule::Auto);
        assert_eq!("broker".parse::<IdRule>().unwrap(), IdRule::Broker);
        assert_eq!("header:ce_id".parse::<IdRule>().unwrap(), IdRule::Field(header("ce_id")));
        assert_eq!("payload:/order/id".parse::<IdRule>().unwrap(), IdRule::Field(pointer.clone()));
        assert_eq!("broker".parse::<KeyRule>().unwrap(), KeyRule::Broker);
        assert_eq!("header:a:b".parse::<KeyRule>().unwrap(), KeyRule::Field(header("a:b")));
        assert_eq!("auto".parse::<KindRule>().unwrap(), KindRule::Auto);
        assert_eq!("const:order.paid".parse::<KindRule>().unwrap(), KindRule::Const("order.paid".into()));
        assert_eq!("payload:/order/id".parse::<Field>().unwrap(), pointer);
        assert_eq!(pointer.to_string(), "payload:/order/id");
    }

    #[test]
    fn texts_that_are_refused_say_what_to_write() {
        for text in
            ["", "Broker", "header:", "payload:", "payload:a", "payload:/a~2", "const:x", "header:a\nb"]
        {
            let error = text.parse::<IdRule>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains("write `auto`, `broker`"), "{error}");
            assert!(text.parse::<KeyRule>().is_err() && text.parse::<Field>().is_err(), "{text}");
        }
        for text in ["broker", "const:", "auto:", "payload:/~"] {
            assert!(text.parse::<KindRule>().is_err(), "{text}");
        }
        for text in ["broker", "auto", "const:1"] {
            assert!(text.parse::<Field>().is_err(), "{text}");
        }
        assert!("auto".parse::<KeyRule>().is_err());
        assert!(format!("header:{}", "x".repeat(257)).parse::<Field>().is_err());
    }
}
