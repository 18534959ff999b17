//! From AMQP's messages to records.

use bytes::Bytes;
use keylane::Text;
use keylane::env::Timestamp;
use keylane::event::Record;
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::AMQPValue;

use crate::headers;
use crate::subscription::KeyFrom;

/// The header in which the broker writes milliseconds, where it is configured to.
const MILLIS: &str = "timestamp_in_ms";

/// The record, and how often it has been handed over, as far as that is known.
pub(crate) fn record(delivery: Delivery, key: KeyFrom) -> (Record, Option<u32>) {
    let Delivery { routing_key, redelivered, properties, data, .. } = delivery;
    let attempt = attempt(&properties, redelivered);
    let own = header(&properties, headers::KEY).and_then(AMQPValue::as_long_string);
    let record = Record {
        key: match (own, key) {
            (Some(key), _) => Some(Bytes::copy_from_slice(key.as_bytes())),
            (None, KeyFrom::RoutingKey) => Some(String::from(routing_key).into()),
            (None, KeyFrom::Header) => None,
        },
        headers: headers::read(&properties),
        payload: data.into(),
        time: time(&properties),
        id: properties
            .message_id()
            .as_ref()
            .filter(|id| !id.as_str().is_empty())
            .map(|id| Text::from(id.as_str())),
    };
    (record, attempt)
}

/// A quorum queue counts from the second delivery on; a classic one only knows that there was one before.
fn attempt(properties: &BasicProperties, redelivered: bool) -> Option<u32> {
    let failed = header(properties, headers::DELIVERY_COUNT).and_then(number);
    match failed {
        Some(failed) => u32::try_from(failed).ok().map(|failed| failed.saturating_add(1)),
        None => (!redelivered).then_some(1),
    }
}

fn time(properties: &BasicProperties) -> Option<Timestamp> {
    let millis = header(properties, MILLIS).and_then(number);
    let seconds = || i64::try_from((*properties.timestamp())?).ok()?.checked_mul(1000);
    millis.or_else(seconds).map(Timestamp::from_millis)
}

fn header<'a>(properties: &'a BasicProperties, name: &str) -> Option<&'a AMQPValue> {
    properties.headers().as_ref()?.inner().get(name)
}

fn number(value: &AMQPValue) -> Option<i64> {
    match value {
        AMQPValue::LongLongInt(value) => Some(*value),
        AMQPValue::LongInt(value) => Some(i64::from(*value)),
        AMQPValue::LongUInt(value) => Some(i64::from(*value)),
        AMQPValue::ShortInt(value) => Some(i64::from(*value)),
        AMQPValue::ShortUInt(value) => Some(i64::from(*value)),
        AMQPValue::ShortShortInt(value) => Some(i64::from(*value)),
        AMQPValue::ShortShortUInt(value) => Some(i64::from(*value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use lapin::types::FieldTable;

    use super::*;

    fn delivery(redelivered: bool, table: &[(&str, AMQPValue)]) -> Delivery {
        let mut headers = FieldTable::default();
        for (name, value) in table {
            headers.insert((*name).into(), value.clone());
        }
        let mut delivery = Delivery::mock(1, "".into(), "order.paid".into(), redelivered, b"body".to_vec());
        delivery.properties = BasicProperties::default().with_headers(headers);
        delivery
    }

    #[test]
    fn attempts_are_told_where_they_are_known() {
        let count = |n| [(headers::DELIVERY_COUNT, AMQPValue::LongLongInt(n))];
        let of = |redelivered, table: &[(&str, AMQPValue)]| {
            record(delivery(redelivered, table), KeyFrom::Header).1
        };
        assert_eq!(of(false, &[]), Some(1));
        assert_eq!(of(true, &count(1)), Some(2));
        assert_eq!(of(true, &count(7)), Some(8));
        assert_eq!(of(true, &[]), None, "a classic queue: twice, or more often");
    }

    #[test]
    fn the_key_is_our_header_or_what_the_subscription_says() {
        let of = |table: &[(&str, AMQPValue)], from| record(delivery(false, table), from).0.key;
        let own = [(headers::KEY, AMQPValue::LongString(vec![0, 255].into()))];
        assert_eq!(of(&[], KeyFrom::Header), None);
        assert_eq!(of(&[], KeyFrom::RoutingKey).as_deref(), Some(&b"order.paid"[..]));
        assert_eq!(of(&own, KeyFrom::RoutingKey).as_deref(), Some(&[0, 255][..]));
    }

    #[test]
    fn the_brokers_id_and_time_are_the_messages() {
        let mut with = delivery(false, &[]);
        with.properties = with.properties.with_message_id("m-1".into()).with_timestamp(12);
        let (record, _) = record(with, KeyFrom::Header);
        assert_eq!(record.id, Some("m-1".into()));
        assert_eq!(record.time, Some(Timestamp::from_millis(12_000)));
        let millis = delivery(false, &[(MILLIS, AMQPValue::LongLongInt(12_345))]);
        assert_eq!(super::record(millis, KeyFrom::Header).0.time, Some(Timestamp::from_millis(12_345)));
    }
}
