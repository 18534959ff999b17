//! Where a subscription finds the facts of an event.

use std::fmt;
use std::str::FromStr;

use super::{Limits, Pointer};
use crate::config::{EventConfig, Format, LimitsConfig, Locator};
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
    /// The rules that a subscription's configuration writes. What it leaves out has the default; what can't
    /// be, such as a constant id, its own check has refused before, and counts as left out here.
    #[must_use]
    pub fn of(event: &EventConfig, limits: &LimitsConfig) -> Self {
        fn rule<'a, R: TryFrom<&'a Locator>>(locator: Option<&'a Locator>) -> Option<R> {
            locator.and_then(|locator| locator.try_into().ok())
        }
        Self {
            format: event.format,
            id: rule(event.id.as_ref()).unwrap_or_default(),
            key: rule(event.key.as_ref()).unwrap_or_default(),
            kind: rule(event.kind.as_ref()).unwrap_or_default(),
            sequence: rule(event.sequence.as_ref()),
            limits: Limits::of(limits),
        }
    }

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

impl TryFrom<&Locator> for Field {
    type Error = Error;

    fn try_from(locator: &Locator) -> Result<Self, Error> {
        field(locator).ok_or_else(|| refused(locator, "`header:NAME` or `payload:/json/pointer`"))
    }
}

impl TryFrom<&Locator> for IdRule {
    type Error = Error;

    fn try_from(locator: &Locator) -> Result<Self, Error> {
        match (locator, field(locator)) {
            (Locator::Broker, _) => Ok(Self::Broker),
            (_, Some(field)) => Ok(Self::Field(field)),
            _ => Err(refused(locator, "`broker`, `header:NAME` or `payload:/json/pointer`")),
        }
    }
}

impl TryFrom<&Locator> for KeyRule {
    type Error = Error;

    fn try_from(locator: &Locator) -> Result<Self, Error> {
        match (locator, field(locator)) {
            (Locator::Broker, _) => Ok(Self::Broker),
            (_, Some(field)) => Ok(Self::Field(field)),
            _ => Err(refused(locator, "`broker`, `header:NAME` or `payload:/json/pointer`")),
        }
    }
}

impl TryFrom<&Locator> for KindRule {
    type Error = Error;

    fn try_from(locator: &Locator) -> Result<Self, Error> {
        match (locator, field(locator)) {
            (Locator::Const(kind), _) => Ok(Self::Const(kind.as_str().into())),
            (_, Some(field)) => Ok(Self::Field(field)),
            _ => Err(refused(locator, "`header:NAME`, `payload:/json/pointer` or `const:KIND`")),
        }
    }
}

macro_rules! from_text {
    ($($rule:ty),*) => {$(
        impl FromStr for $rule {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Self::try_from(&text.parse::<Locator>()?)
            }
        }
    )*};
}

from_text!(Field, IdRule, KeyRule, KindRule);

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Payload(pointer) => write!(f, "payload:{pointer}"),
        }
    }
}

fn field(locator: &Locator) -> Option<Field> {
    match locator {
        Locator::Header(name) => Some(Field::Header(name.as_str().into())),
        Locator::Payload(pointer) => Pointer::parse(pointer).map(Field::Payload),
        Locator::Broker | Locator::Const(_) => None,
    }
}

fn refused(locator: &Locator, forms: &str) -> Error {
    Error::new(
        ErrorKind::Config,
        format!("`{locator}` is no place where this fact of an event can stand; write {forms}"),
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
        assert_eq!("broker".parse::<IdRule>().unwrap(), IdRule::Broker);
        assert_eq!("header:ce_id".parse::<IdRule>().unwrap(), IdRule::Field(header("ce_id")));
        assert_eq!("payload:/order/id".parse::<IdRule>().unwrap(), IdRule::Field(pointer.clone()));
        assert_eq!("broker".parse::<KeyRule>().unwrap(), KeyRule::Broker);
        assert_eq!("header:a:b".parse::<KeyRule>().unwrap(), KeyRule::Field(header("a:b")));
        assert_eq!("const:order.paid".parse::<KindRule>().unwrap(), KindRule::Const("order.paid".into()));
        assert_eq!("payload:/order/id".parse::<Field>().unwrap(), pointer);
        assert_eq!(pointer.to_string(), "payload:/order/id");
    }

    #[test]
    fn texts_that_are_refused_say_what_to_write() {
        for text in ["Broker", "header:", "payload:a", "payload:/a~2", "const:x"] {
            let error = text.parse::<IdRule>().unwrap_err();
            assert!(error.to_string().contains("write `broker`, `header:NAME`"), "{error}");
            assert!(text.parse::<KeyRule>().is_err() && text.parse::<Field>().is_err(), "{text}");
        }
        let error = "broker".parse::<KindRule>().unwrap_err();
        assert!(
            error.to_string().contains("write `header:NAME`, `payload:/json/pointer` or `const:KIND`"),
            "{error}"
        );
        assert!("broker".parse::<Field>().is_err());
    }

    #[test]
    fn a_configuration_that_says_nothing_gives_the_defaults() {
        assert_eq!(Rules::of(&EventConfig::default(), &LimitsConfig::default()), Rules::default());
    }

    #[test]
    fn a_configurations_places_become_rules() {
        let event = EventConfig {
            format: Format::Plain,
            id: Some(Locator::Header("id".into())),
            key: Some(Locator::Payload("/customer".into())),
            kind: Some(Locator::Const("paid".into())),
            sequence: Some(Locator::Payload("/version".into())),
        };
        let limits = LimitsConfig { headers_max: 7, ..LimitsConfig::default() };
        let rules = Rules::of(&event, &limits);
        assert_eq!(rules.format, Format::Plain);
        assert_eq!(rules.id, IdRule::Field(header("id")));
        assert_eq!(rules.key, KeyRule::Field("payload:/customer".parse().unwrap()));
        assert_eq!(rules.kind, KindRule::Const("paid".into()));
        assert_eq!(rules.sequence.unwrap().to_string(), "payload:/version");
        assert_eq!(rules.limits.headers_max, 7);
    }
}
