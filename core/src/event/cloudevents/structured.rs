//! The structured mode in JSON: one object that holds attributes and data.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Attributes, CONTENT_TYPE, NAMES};
use crate::event::flaw::Flaw;
use crate::event::pointer::scalar;
use crate::text::Text;

/// The attributes in `body` and its data; of the extensions only those in `wanted`, in lower case.
///
/// The data shares the body's buffer, except where it was written in base64 or, for a content type that
/// is not JSON, as a string with escapes. Attributes that are `null` are absent, names that stand twice
/// are refused, everything else is skipped without being kept.
pub(in crate::event) fn structured(body: &Bytes, wanted: &[Text]) -> Result<(Attributes, Bytes), Flaw> {
    let no_event = |error| Flaw::undecodable(format!("body is no structured CloudEvent: {error}"));
    // Looked at first because the message for another type would quote all of it.
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Flaw::undecodable("body is no structured CloudEvent: it is no JSON object"));
    }
    let mut read = serde_json::Deserializer::from_slice(body);
    let members = read.deserialize_map(Members { body, wanted }).map_err(no_event)?;
    read.end().map_err(no_event)?;
    let (attributes, plain, base64) = members;
    let data = match (plain, base64) {
        (Some(_), Some(_)) => return Err(Flaw::undecodable("CloudEvent has both `data` and `data_base64`")),
        (Some(data), None) => plain_data(data, body, attributes.known[CONTENT_TYPE].as_ref())?,
        (None, Some(data)) => base64_data(data, body)?,
        (None, None) => Bytes::new(),
    };
    Ok((attributes, data))
}

/// JSON as it stands; where the content is said to be something else, the content of the string.
fn plain_data(data: &RawValue, body: &Bytes, content_type: Option<&Text>) -> Result<Bytes, Flaw> {
    if content_type.is_some_and(|media| !is_json(media)) && data.get().starts_with('"') {
        let text =
            scalar(data, body).map_err(|why| Flaw::undecodable(format!("CloudEvents `data` {why}")))?;
        return Ok(text.unwrap_or_default().into_bytes());
    }
    Ok(body.slice_ref(data.get().as_bytes()))
}

fn is_json(media: &str) -> bool {
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media.rsplit(['/', '+']).next() == Some("json")
}

fn base64_data(data: &RawValue, body: &Bytes) -> Result<Bytes, Flaw> {
    let wrong = || Flaw::undecodable("CloudEvents `data_base64` is no base64 text");
    let text = if data.get().starts_with('"') { scalar(data, body).map_err(|_| wrong())? } else { None };
    let text = text.ok_or_else(wrong)?;
    STANDARD.decode(text.as_bytes()).map(Bytes::from).map_err(|_| wrong())
}

/// Reads the object's members.
struct Members<'a> {
    body: &'a Bytes,
    wanted: &'a [Text],
}

type Data<'de> = Option<&'de RawValue>;

impl<'de> Visitor<'de> for Members<'_> {
    type Value = (Attributes, Data<'de>, Data<'de>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut attributes = Attributes::default();
        let (mut data, mut base64) = (None, None);
        // `null` counts as having been there, so that a second one is still seen.
        let mut seen = vec![false; NAMES.len() + self.wanted.len() + 2];
        while let Some(name) = map.next_key_seed(Name(self.wanted))? {
            let slot = match name {
                Member::Known(at) => at,
                Member::Wanted(at) => NAMES.len() + at,
                Member::Data => seen.len() - 2,
                Member::Base64 => seen.len() - 1,
                Member::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if std::mem::replace(&mut seen[slot], true) {
                return Err(A::Error::custom("a name stands twice"));
            }
            let value: &'de RawValue = map.next_value()?;
            let text =
                || scalar(value, self.body).map_err(|why| A::Error::custom(format!("an attribute {why}")));
            match name {
                Member::Known(at) => attributes.known[at] = text()?,
                Member::Wanted(at) => {
                    attributes.extensions.extend(text()?.map(|text| (self.wanted[at].clone(), text)));
                }
                Member::Data => data = Some(value),
                // `null` is absent, as for an attribute.
                Member::Base64 => base64 = Some(value).filter(|value| value.get() != "null"),
                Member::Other => {}
            }
        }
        Ok((attributes, data, base64))
    }
}

/// What a member's name means.
#[derive(Clone, Copy)]
enum Member {
    /// The attribute with this index in [`NAMES`].
    Known(usize),
    /// The extension with this index among those wanted.
    Wanted(usize),
    Data,
    Base64,
    Other,
}

/// Tells names apart without keeping them.
struct Name<'a>(&'a [Text]);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Member;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Member, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Member, E> {
        Ok(match name {
            "data" => Member::Data,
            "data_base64" => Member::Base64,
            _ => {
                let known = NAMES.iter().position(|known| *known == name).map(Member::Known);
                let wanted = || self.0.iter().position(|wanted| *wanted == name).map(Member::Wanted);
                known.or_else(wanted).unwrap_or(Member::Other)
            }
        })
    }
}
