//! The attributes of a CloudEvent 1.0, from headers (binary mode) or from the body (structured mode).
//!
//! The bindings prefix attributes with `ce_` (Kafka), `ce-` (HTTP, Pub/Sub) or `cloudEvents:` and
//! `cloudEvents_` (AMQP); all of them are taken from any broker, in any letter case. Where a header
//! stands more than once, the first counts.

mod structured;

pub(super) use structured::structured;

use bytes::Bytes;

use super::Headers;
use super::flaw::{Flaw, quoted};
use crate::env::Timestamp;
use crate::text::Text;

/// The attributes that mean something here, in the order of [`Attributes::known`].
const NAMES: [&str; 6] = ["specversion", "id", "source", "type", "time", "datacontenttype"];
const VERSION: usize = 0;
const ID: usize = 1;
const SOURCE: usize = 2;
const TYPE: usize = 3;
const TIME: usize = 4;
const CONTENT_TYPE: usize = 5;

/// The attributes found, not checked yet.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    known: [Option<Text>; NAMES.len()],
    /// What a rule asks for besides; only in structured mode, as the other has them in headers.
    extensions: Vec<(Text, Text)>,
}

/// How the headers present a record.
#[derive(Debug)]
pub(super) enum Mode {
    /// Not as a CloudEvent.
    Plain,
    /// The body is the CloudEvent.
    Structured,
    /// The headers are its attributes, the body its data.
    Binary(Box<Attributes>),
}

/// A CloudEvent's attributes, the required ones there and sound.
#[derive(Debug)]
pub(super) struct Checked<'a> {
    pub(super) id: &'a Text,
    pub(super) source: &'a Text,
    pub(super) time: Option<Timestamp>,
}

impl Mode {
    /// What the headers say.
    pub(super) fn of(headers: &Headers) -> Result<Self, Flaw> {
        let mut attributes: Option<Box<Attributes>> = None;
        let mut any = false;
        for (name, value) in headers.iter() {
            let name = name.as_bytes();
            // All names sought begin with this letter: most others are passed by after a look.
            if !matches!(name.first(), Some(b'c' | b'C')) {
                continue;
            }
            if name.eq_ignore_ascii_case(b"content-type") && is_cloudevents(value)? {
                return Ok(Self::Structured);
            }
            let Some(attribute) = attribute_name(name) else { continue };
            let Some(at) = NAMES.iter().position(|known| known.as_bytes().eq_ignore_ascii_case(attribute))
            else {
                continue;
            };
            any |= at != TIME && at != CONTENT_TYPE;
            let slot = &mut attributes.get_or_insert_default().known[at];
            if slot.is_none() {
                let text = Text::from_utf8(value.clone());
                let text =
                    text.map_err(|_| Flaw::undecodable(format!("header {} is not UTF-8", quoted(name))))?;
                *slot = Some(text);
            }
        }
        Ok(attributes.filter(|_| any).map_or(Self::Plain, Self::Binary))
    }
}

/// `true` for a structured CloudEvent in JSON; other forms of CloudEvents are refused.
fn is_cloudevents(content_type: &[u8]) -> Result<bool, Flaw> {
    const FAMILY: &[u8] = b"application/cloudevents";
    let media = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let Some((family, form)) = media.split_at_checked(FAMILY.len()) else { return Ok(false) };
    if !family.eq_ignore_ascii_case(FAMILY) {
        return Ok(false);
    }
    if form.eq_ignore_ascii_case(b"+json") {
        return Ok(true);
    }
    let media = quoted(media);
    Err(Flaw::undecodable(format!(
        "content type {media} is not supported; send `application/cloudevents+json`"
    )))
}

/// What follows one of the prefixes in a header's name.
pub(super) fn attribute_name(header: &[u8]) -> Option<&[u8]> {
    ["ce_", "ce-", "cloudEvents:", "cloudEvents_"].iter().find_map(|prefix| {
        let (start, name) = header.split_at_checked(prefix.len())?;
        (start.eq_ignore_ascii_case(prefix.as_bytes()) && !name.is_empty()).then_some(name)
    })
}

impl Attributes {
    /// Its `type`, sound or not.
    pub(super) fn kind(&self) -> Option<&Text> {
        self.known[TYPE].as_ref()
    }

    /// Whether it says that it is a CloudEvent.
    pub(super) fn says_version(&self) -> bool {
        self.known[VERSION].is_some()
    }

    /// The attribute that the header called `header` would hold in binary mode.
    pub(super) fn of_header(&self, header: &[u8]) -> Option<&Bytes> {
        let name = attribute_name(header)?;
        let known = NAMES.iter().position(|known| known.as_bytes().eq_ignore_ascii_case(name));
        match known {
            Some(at) => self.known[at].as_ref(),
            None => {
                self.extensions.iter().find(|(n, _)| n.as_bytes().eq_ignore_ascii_case(name)).map(|(_, v)| v)
            }
        }
        .map(Text::as_bytes)
    }

    /// The attributes as the specification wants them.
    pub(super) fn check(&self) -> Result<Checked<'_>, Flaw> {
        let version = self.required(VERSION)?;
        if *version != "1.0" {
            let version = quoted(version.as_bytes());
            return Err(Flaw::undecodable(format!("CloudEvents `specversion` is {version}; send `1.0`")));
        }
        let id = self.required(ID)?;
        let source = self.required(SOURCE)?;
        self.required(TYPE)?;
        if source.chars().any(|c| c.is_whitespace() || c.is_control()) {
            let source = quoted(source.as_bytes());
            return Err(Flaw::undecodable(format!("CloudEvents `source` is {source}, no URI reference")));
        }
        let time = self.known[TIME].as_ref().map(time).transpose()?;
        Ok(Checked { id, source, time })
    }

    fn required(&self, at: usize) -> Result<&Text, Flaw> {
        let name = NAMES[at];
        match &self.known[at] {
            Some(text) if !text.as_bytes().is_empty() => Ok(text),
            Some(_) => Err(Flaw::undecodable(format!("CloudEvents attribute `{name}` is empty"))),
            None => Err(Flaw::undecodable(format!(
                "CloudEvents attribute `{name}` is missing; send it, or set `format` to `plain`"
            ))),
        }
    }
}

/// RFC 3339.
fn time(text: &Text) -> Result<Timestamp, Flaw> {
    text.parse::<jiff::Timestamp>().map(|time| Timestamp::from_micros(time.as_microsecond())).map_err(|_| {
        Flaw::undecodable(format!("CloudEvents `time` is {}, no RFC 3339 time", quoted(text.as_bytes())))
    })
}
