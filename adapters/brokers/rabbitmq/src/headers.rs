//! A record's headers in an AMQP table, and back.
//!
//! A table has no order and each name once. What that loses (order, repetition, names that mean something to the broker
//! or are too long) stands in one more header, `keylane-headers`: an array of names in order, with the value beside
//! those that aren't in the table. It is there only where something would be lost.

use std::collections::BTreeSet;

use bytes::Bytes;
use keylane::Text;
use keylane::event::Headers;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldArray, FieldTable, ShortString};

/// The ordering key.
pub(crate) const KEY: &str = "keylane-key";
/// Order and repetition.
const ORDER: &str = "keylane-headers";
/// How often a quorum queue has delivered the message in vain.
pub(crate) const DELIVERY_COUNT: &str = "x-delivery-count";

/// AMQP's own fields that stand as headers in a record, under these names.
const PROPERTIES: [&str; 6] =
    ["app-id", "content-encoding", "content-type", "correlation-id", "reply-to", "type"];

/// Headers that the broker writes or acts upon: as text they would be nonsense to it, and some of them an error.
const BROKERS: [&str; 7] =
    ["cc", "bcc", "x-death", "x-first-death-", "x-last-death-", DELIVERY_COUNT, "x-acquired-count"];

/// Everything of a message that a record has as headers.
pub(crate) fn read(properties: &BasicProperties) -> Headers {
    let mut found: Vec<(Text, Bytes)> = Vec::new();
    let mut order = None;
    for (name, value) in properties.headers().iter().flatten() {
        match name.as_str() {
            KEY | DELIVERY_COUNT => {}
            ORDER => order = Some(value),
            name => found.push((name.into(), bytes(value))),
        }
    }
    for name in PROPERTIES {
        if let Some(value) = property(properties, name) {
            found.push((Text::from_static(name), Bytes::copy_from_slice(value.as_str().as_bytes())));
        }
    }
    match order {
        Some(AMQPValue::FieldArray(order)) => in_order(order, found),
        _ => found.into_iter().collect(),
    }
}

/// The same headers as properties, with the ordering key.
pub(crate) fn write(headers: &Headers, key: Option<&Bytes>) -> BasicProperties {
    let mut table = FieldTable::default();
    let mut properties = BasicProperties::default();
    let mut order = Vec::with_capacity(headers.len());
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (name, value) in headers.iter() {
        let name = name.as_str();
        let value = AMQPValue::LongString(value.to_vec().into());
        let named = || AMQPValue::LongString(name.into());
        if !seen.insert(name) || !fits(name) {
            order.push(AMQPValue::FieldArray(vec![named(), value].into()));
        } else {
            order.push(named());
            place(name, value, &mut table, &mut properties);
        }
    }
    if !is_told(&order, &table) {
        table.insert(ORDER.into(), AMQPValue::FieldArray(order.into()));
    }
    if let Some(key) = key {
        table.insert(KEY.into(), AMQPValue::LongString(key.to_vec().into()));
    }
    properties.with_headers(table)
}

/// Whether a reader finds them in this order without being told.
fn is_told(order: &[AMQPValue], table: &FieldTable) -> bool {
    let names: Option<Vec<&[u8]>> =
        order.iter().map(|entry| entry.as_long_string().map(|n| n.as_bytes())).collect();
    let place = |name: &[u8]| {
        let in_table = std::str::from_utf8(name).is_ok_and(|name| table.contains_key(name));
        (!in_table, name.to_vec())
    };
    names.is_some_and(|names| names.iter().map(|name| place(name)).is_sorted())
}

fn in_order(order: &FieldArray, mut found: Vec<(Text, Bytes)>) -> Headers {
    let mut headers = Headers::with_capacity(order.as_slice().len());
    let mut take = |name: &[u8]| {
        let at = found.iter().position(|(found, _)| *found.as_bytes() == *name)?;
        Some(found.remove(at))
    };
    for entry in order.as_slice() {
        let header = match entry {
            AMQPValue::LongString(name) => take(name.as_bytes()),
            AMQPValue::FieldArray(pair) => match pair.as_slice() {
                [AMQPValue::LongString(name), value] => {
                    Text::from_utf8(Bytes::copy_from_slice(name.as_bytes()))
                        .ok()
                        .map(|name| (name, bytes(value)))
                }
                _ => None,
            },
            _ => None,
        };
        if let Some((name, value)) = header {
            headers.push(name, value);
        }
    }
    // What somebody added on the way.
    found.into_iter().for_each(|(name, value)| headers.push(name, value));
    headers
}

fn place(name: &str, value: AMQPValue, table: &mut FieldTable, properties: &mut BasicProperties) {
    let short = value.as_long_string().and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
    let short = short.and_then(|value| ShortString::try_new(value).ok());
    let Some(short) = short.filter(|_| PROPERTIES.contains(&name)) else {
        table.insert(name.into(), value);
        return;
    };
    let old = std::mem::take(properties);
    *properties = match name {
        "app-id" => old.with_app_id(short),
        "content-encoding" => old.with_content_encoding(short),
        "content-type" => old.with_content_type(short),
        "correlation-id" => old.with_correlation_id(short),
        "reply-to" => old.with_reply_to(short),
        _ => old.with_type(short),
    };
}

fn property<'a>(properties: &'a BasicProperties, name: &str) -> Option<&'a ShortString> {
    match name {
        "app-id" => properties.app_id(),
        "content-encoding" => properties.content_encoding(),
        "content-type" => properties.content_type(),
        "correlation-id" => properties.correlation_id(),
        "reply-to" => properties.reply_to(),
        _ => properties.kind(),
    }
    .as_ref()
}

/// Whether a header can stand in a table of ours.
fn fits(name: &str) -> bool {
    let brokers = |own: &str| {
        let exact = name.eq_ignore_ascii_case(own);
        exact
            || own.ends_with('-')
                && name.get(..own.len()).is_some_and(|start| start.eq_ignore_ascii_case(own))
    };
    ShortString::try_new(name).is_ok()
        && name != KEY
        && name != ORDER
        && !BROKERS.iter().any(|own| brokers(own))
}

/// A value as bytes: text as it is, numbers in digits, lists and tables in JSON's manner.
fn bytes(value: &AMQPValue) -> Bytes {
    match value {
        AMQPValue::LongString(value) => Bytes::copy_from_slice(value.as_bytes()),
        AMQPValue::ByteArray(value) => Bytes::copy_from_slice(value.as_slice()),
        AMQPValue::Void => Bytes::new(),
        other => text(other).into(),
    }
}

fn text(value: &AMQPValue) -> String {
    let listed = |items: Vec<String>, open, close| format!("{open}{}{close}", items.join(","));
    match value {
        AMQPValue::Boolean(value) => value.to_string(),
        AMQPValue::ShortShortInt(value) => value.to_string(),
        AMQPValue::ShortShortUInt(value) => value.to_string(),
        AMQPValue::ShortInt(value) => value.to_string(),
        AMQPValue::ShortUInt(value) => value.to_string(),
        AMQPValue::LongInt(value) => value.to_string(),
        AMQPValue::LongUInt(value) => value.to_string(),
        AMQPValue::LongLongInt(value) => value.to_string(),
        AMQPValue::Float(value) => value.to_string(),
        AMQPValue::Double(value) => value.to_string(),
        AMQPValue::Timestamp(value) => value.to_string(),
        AMQPValue::DecimalValue(value) => format!("{}e-{}", value.value, value.scale),
        AMQPValue::ShortString(value) => quoted(value.as_str()),
        AMQPValue::LongString(value) => quoted(&String::from_utf8_lossy(value.as_bytes())),
        AMQPValue::ByteArray(value) => quoted(&String::from_utf8_lossy(value.as_slice())),
        AMQPValue::FieldArray(values) => listed(values.as_slice().iter().map(text).collect(), '[', ']'),
        AMQPValue::FieldTable(table) => {
            let entry =
                |(name, value): (&ShortString, _)| format!("{}:{}", quoted(name.as_str()), text(value));
            listed(table.into_iter().map(entry).collect(), '{', '}')
        }
        AMQPValue::Void => "null".into(),
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use keylane::event::Record;

    use super::*;

    fn round(record: &Record) -> (Headers, BasicProperties) {
        let written = write(&record.headers, record.key.as_ref());
        (read(&written), written)
    }

    fn has_order(properties: &BasicProperties) -> bool {
        properties.headers().as_ref().is_some_and(|table| table.contains_key(ORDER))
    }

    #[test]
    fn headers_and_key_pass_through() {
        let long = "n".repeat(300);
        let record = Record::new("")
            .with_header("b", "2")
            .with_header("a", "1")
            .with_header("b", &b"\xfe\x00"[..])
            .with_header("content-type", "application/json")
            .with_header("CC", "not an address")
            .with_header("x-first-death-queue", "q")
            .with_header(&*long, "")
            .with_header("keylane-key", "mine");
        assert_eq!(round(&record).0, record.headers);
        let plain = Record::new("").with_header("a", "1").with_header("b", "2").with_header("type", "t");
        let (headers, written) = round(&plain);
        assert_eq!(headers, plain.headers);
        assert!(!has_order(&written), "nothing is lost, so nothing is added");
        assert_eq!(written.kind().as_ref().map(ShortString::as_str), Some("t"));
    }

    #[test]
    fn a_property_that_is_no_short_text_stays_a_header() {
        let record =
            Record::new("").with_header("type", vec![b'x'; 300]).with_header("reply-to", &b"\xff"[..]);
        assert_eq!(round(&record).0, record.headers);
    }

    #[test]
    fn what_others_wrote_is_read_as_text() {
        let mut death = FieldTable::default();
        death.insert("count".into(), AMQPValue::LongLongInt(2));
        death.insert("queue".into(), AMQPValue::LongString("q \"1\"".into()));
        let mut table = FieldTable::default();
        table.insert("flag".into(), AMQPValue::Boolean(true));
        table.insert("x-death".into(), AMQPValue::FieldArray(vec![AMQPValue::FieldTable(death)].into()));
        table.insert(DELIVERY_COUNT.into(), AMQPValue::LongLongInt(3));
        table.insert(ORDER.into(), AMQPValue::LongString("nonsense".into()));
        let headers = read(&BasicProperties::default().with_headers(table));
        let all: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), &value[..])).collect();
        assert_eq!(all, [("flag", &b"true"[..]), ("x-death", br#"[{"count":2,"queue":"q \"1\""}]"#)]);
    }
}
