//! From a broker's record to an envelope, within limits.

use std::sync::Arc;

use bytes::Bytes;

use super::cloudevents::{Attributes, Mode, attribute_name, structured};
use super::flaw::{Flaw, quoted};
use super::rules::{Field, IdRule, KeyRule, KindRule, Rules};
use super::{Envelope, EventId, Meta, Raw, Record};
use crate::config::Format;
use crate::delivery::Place;
use crate::env::Timestamp;
use crate::store::Death;
use crate::text::Text;

/// Finds the facts of a subscription's events.
#[derive(Debug)]
pub struct Decoder {
    rules: Rules,
    subscription: Arc<str>,
    source: Arc<str>,
    /// Extensions of a structured CloudEvent that a rule names, in lower case.
    wanted: Vec<Text>,
    /// Whether a rule points into the payload.
    points_inside: bool,
}

/// What became of a record.
#[derive(Debug)]
pub enum Decoded {
    /// An event.
    Event(Envelope),
    /// Not an event that can be handled.
    Dead {
        /// The record with what of it could be read, its body complete. Its id is its place where no id
        /// could be read, its kind is empty and its key absent where they could not.
        envelope: Envelope,
        /// How it died.
        death: Death,
        /// What is wrong, where, and what to send instead, for people.
        why: String,
    },
}

/// What an event's home is chosen by (rule S10).
pub(crate) enum SpreadKey {
    /// Its key, or its id (rule L3); the broker's key of what can't be decoded.
    Key(Bytes),
    /// It is named by nothing but its place.
    Place,
}

/// What is known so far.
#[derive(Default)]
struct Facts {
    id: Option<EventId>,
    kind: Option<Text>,
    key: Key,
    sequence: Option<u64>,
    time: Option<Timestamp>,
    /// `None`: the body is the payload.
    payload: Option<Bytes>,
}

/// The ordering key, as far as it is known.
#[derive(Default)]
enum Key {
    #[default]
    Unknown,
    /// It is the record's own, or the record has none.
    Brokers,
    Found(Bytes),
}

/// Where facts may be looked for now.
struct View<'a> {
    record: &'a Record,
    attributes: Option<&'a Attributes>,
    /// Only once the limits are known to be kept.
    payload: Option<&'a Bytes>,
}

impl Decoder {
    /// A decoder for events of `subscription`; those without an id are named by their place in `source`.
    #[must_use]
    pub fn new(rules: Rules, subscription: Arc<str>, source: Arc<str>) -> Self {
        let names = rules.fields().filter_map(|field| match field {
            Field::Header(name) => attribute_name(name.as_bytes()),
            Field::Payload(_) => None,
        });
        let wanted =
            names.map(|name| Text::from(&*String::from_utf8_lossy(name).to_ascii_lowercase())).collect();
        let points_inside = rules.fields().any(|field| matches!(field, Field::Payload(_)));
        Self { rules, subscription, source, wanted, points_inside }
    }

    /// Finds the facts of the record at `place`. Memory stays within a small multiple of the record's own,
    /// whatever it holds.
    #[must_use]
    pub fn decode(&self, record: Record, place: Place) -> Decoded {
        let mut facts = Facts::default();
        let read = self.read(&record, &mut facts);
        // Built where it is returned: it is large, and moving it costs as much as finding it.
        match read {
            Ok(()) => Decoded::Event(self.envelope(record, place, facts)),
            Err(Flaw { death, why }) => {
                Decoded::Dead { envelope: self.envelope(record, place, facts), death, why }
            }
        }
    }

    /// What the home of a record is chosen by: the same for every delivery of it, and for all events of a key.
    pub(crate) fn spread_key(&self, record: &Record) -> SpreadKey {
        if let (KeyRule::Broker, Some(key)) = (&self.rules.key, &record.key) {
            return SpreadKey::Key(key.clone());
        }
        let mut facts = Facts::default();
        let read = self.read(record, &mut facts);
        match (facts.key, facts.id) {
            (Key::Found(key), _) => SpreadKey::Key(key),
            (_, Some(id)) if read.is_ok() => SpreadKey::Key(id.to_text().into_bytes()),
            (_, None) if read.is_ok() => SpreadKey::Place,
            // A dead letter, in one database only.
            _ => SpreadKey::Key(record.key.clone().unwrap_or_default()),
        }
    }

    #[inline]
    fn envelope(&self, record: Record, place: Place, facts: Facts) -> Envelope {
        let Record { key, headers, payload: body, time, id } = record;
        // The raw parts are kept only where they tell more: to share a buffer once more and to give it back
        // costs as much as everything else here.
        let told =
            facts.payload.is_none() && facts.time.is_none() && id.is_none() && facts.key.tells(key.as_ref());
        let (own_key, payload, raw) = if told {
            (facts.key.or_brokers(key), body, None)
        } else {
            let payload = facts.payload.unwrap_or_else(|| body.clone());
            (facts.key.or_brokers(key.clone()), payload, Some(Box::new(Raw { key, body, time, id })))
        };
        let named_by_place = || EventId::place(Arc::clone(&self.source), place.partition, place.offset);
        Envelope {
            meta: Meta {
                id: facts.id.unwrap_or_else(named_by_place),
                kind: facts.kind.unwrap_or_default(),
                key: own_key,
                sequence: facts.sequence,
                time: facts.time.or(time),
                headers,
                place,
                subscription: Arc::clone(&self.subscription),
            },
            payload,
            raw,
        }
    }

    fn read(&self, record: &Record, facts: &mut Facts) -> Result<(), Flaw> {
        // What stands outside the payload comes first, so that a dead letter shows it; what is wrong with
        // it is said only if nothing is wrong with the record's size.
        let outside = self.outside(record, facts);
        self.rules.limits.check(record)?;
        let mode = outside?;
        if let Mode::Structured = mode {
            let (attributes, data) = structured(&record.payload, &self.wanted)?;
            self.rules.limits.depth(&data)?;
            let data = facts.payload.insert(data).clone();
            self.find(&View { record, attributes: Some(&attributes), payload: Some(&data) }, facts)?;
        } else if self.points_inside {
            self.find(&View { record, attributes: None, payload: Some(&record.payload) }, facts)?;
        }
        match &self.rules.id {
            IdRule::Field(field) if facts.id.is_none() => {
                Err(Flaw::undecodable(format!("no event id at {}", quoted(field.to_string().as_bytes()))))
            }
            _ => Ok(()),
        }
    }

    /// Everything that headers and the broker's own fields tell.
    fn outside(&self, record: &Record, facts: &mut Facts) -> Result<Mode, Flaw> {
        let mode = match self.rules.format {
            Format::Plain => Ok(Mode::Plain),
            Format::Auto | Format::Cloudevents => Mode::of(&record.headers),
        };
        let attributes = match &mode {
            Ok(Mode::Binary(attributes)) if self.is_cloudevent(attributes) => Some(&**attributes),
            _ => None,
        };
        let structured = matches!(mode, Ok(Mode::Structured));
        self.find(&View { record, attributes, payload: None }, facts)?;
        if attributes.is_none() && !structured && self.rules.format == Format::Cloudevents {
            mode?;
            let remedy = "send `ce_` headers or the content type `application/cloudevents+json`";
            return Err(Flaw::undecodable(format!("record is no CloudEvent; {remedy}")));
        }
        let by_broker = match self.rules.id {
            IdRule::Auto => attributes.is_none() && !structured,
            IdRule::Broker => true,
            IdRule::Field(_) => false,
        };
        if let Some(id) = record.id.as_ref().filter(|_| by_broker) {
            self.rules.limits.id(id.as_bytes().len())?;
            facts.id = Some(EventId::given(id.clone()));
        }
        mode
    }

    /// Attributes without a `specversion` are somebody's own headers, unless the format or a rule takes
    /// them for a CloudEvent's: then it is one that lacks what is required.
    fn is_cloudevent(&self, attributes: &Attributes) -> bool {
        attributes.says_version()
            || self.rules.format == Format::Cloudevents
            || self.rules.rely_on_attributes()
    }

    /// Looks for all that is not known yet. Key and kind first: they serve a dead letter most.
    fn find(&self, view: &View<'_>, facts: &mut Facts) -> Result<(), Flaw> {
        let (rules, limits) = (&self.rules, &self.rules.limits);
        match (&rules.key, &facts.key) {
            (KeyRule::Broker, _) => {
                limits.key(view.record.key.as_deref().unwrap_or_default())?;
                facts.key = Key::Brokers;
            }
            (KeyRule::Field(field), Key::Unknown) => {
                if let Some(key) = view.value(field)? {
                    limits.key(&key)?;
                    facts.key = Key::Found(key);
                }
            }
            (KeyRule::Field(_), _) => {}
        }
        if facts.kind.is_none() {
            let kind = match &rules.kind {
                KindRule::Auto => view.attributes.and_then(Attributes::kind).cloned(),
                KindRule::Field(field) => view.text(field)?,
                KindRule::Const(kind) => Some(kind.clone()),
            };
            limits.kind(kind.as_ref().map_or(&[], |kind| kind.as_bytes()))?;
            facts.kind = kind;
        }
        if let Some(attributes) = view.attributes {
            let checked = attributes.check()?;
            facts.time = checked.time;
            if rules.id == IdRule::Auto {
                limits.id(checked.id.as_bytes().len() + 1 + checked.source.as_bytes().len())?;
                facts.id = Some(EventId::given(format!("{} {}", checked.id, checked.source)));
            }
        }
        if let (IdRule::Field(field), None) = (&rules.id, &facts.id) {
            let id = view.text(field)?.filter(|id| !id.as_bytes().is_empty());
            limits.id(id.as_ref().map_or(0, |id| id.as_bytes().len()))?;
            facts.id = id.map(EventId::given);
        }
        if let (Some(field), None) = (&rules.sequence, facts.sequence) {
            facts.sequence = view.value(field)?.map(|digits| number(&digits, field)).transpose()?;
        }
        Ok(())
    }
}

impl Key {
    fn or_brokers(self, brokers: Option<Bytes>) -> Option<Bytes> {
        match self {
            Self::Unknown => None,
            Self::Brokers => brokers,
            Self::Found(key) => Some(key),
        }
    }

    /// Whether the broker's key is known from this one.
    fn tells(&self, brokers: Option<&Bytes>) -> bool {
        match self {
            Self::Unknown => brokers.is_none(),
            Self::Brokers => true,
            Self::Found(key) => Some(key) == brokers,
        }
    }
}

impl View<'_> {
    fn value(&self, field: &Field) -> Result<Option<Bytes>, Flaw> {
        match field {
            Field::Header(name) => {
                let attribute = || self.attributes.and_then(|all| all.of_header(name.as_bytes()));
                Ok(self.record.headers.first(name).or_else(attribute).cloned())
            }
            Field::Payload(pointer) => self.payload.map_or(Ok(None), |payload| pointer.find(payload)),
        }
    }

    fn text(&self, field: &Field) -> Result<Option<Text>, Flaw> {
        let text = self.value(field)?.map(Text::from_utf8).transpose();
        text.map_err(|_| Flaw::undecodable(format!("{} is not UTF-8", quoted(field.to_string().as_bytes()))))
    }
}

/// Digits alone: no sign, no space, no fraction.
fn number(digits: &[u8], field: &Field) -> Result<u64, Flaw> {
    let plain = digits.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(digits).ok().filter(|_| plain).and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| {
        Flaw::undecodable(format!("sequence at {field} is {}, no whole number", quoted(digits)))
    })
}
