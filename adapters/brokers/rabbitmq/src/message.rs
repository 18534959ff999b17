//! From records to AMQP's messages, with what would end the connection refused before.

use keylane::Error;
use keylane::broker::Outgoing;
use keylane::env::Timestamp;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::address::{Address, routing_key};
use crate::error;
use crate::headers;

/// A message that survives a restart of the broker.
const PERSISTENT: u8 = 2;

/// Beside the properties a header frame holds its own head, the class, the size of the body and the flags.
const FRAME_HEAD: usize = 64;

/// The largest a server lets a frame be, where it was not asked.
const FRAME_MAX: usize = 128 * 1024;

/// What is needed to publish one record.
pub(crate) struct Message {
    pub(crate) exchange: ShortString,
    pub(crate) routing_key: ShortString,
    pub(crate) properties: BasicProperties,
}

impl Message {
    /// `now` is told where the record has no time.
    pub(crate) fn of(
        out: &Outgoing,
        now: Timestamp,
        record_max: usize,
        frame_max: u32,
    ) -> Result<Self, Error> {
        let record = &out.record;
        let (exchange, routing_key) = match Address::parse(&out.target)? {
            Address::Queue(queue) => (String::new(), queue),
            Address::Exchange { name, routing_key: Some(key) } => (name, key),
            Address::Exchange { name, routing_key: None } => {
                (name, record.key.as_deref().map(routing_key).unwrap_or_default())
            }
        };
        let size = record.payload.len();
        if size > record_max {
            let remedy = "send less, or raise record_max in the broker's table if the server's max_message_size allows it";
            return Err(error::permanent(format!(
                "a message of {size} bytes to {:?} is larger than {record_max}; {remedy}",
                out.target
            )));
        }
        let mut properties =
            headers::write(&record.headers, record.key.as_ref()).with_delivery_mode(PERSISTENT);
        if let Ok(seconds) = u64::try_from(record.time.unwrap_or(now).as_millis() / 1000) {
            properties = properties.with_timestamp(seconds);
        }
        if let Some(id) = &record.id {
            let id = ShortString::try_new(id.as_str()).map_err(|_| {
                error::permanent(format!("a message to {:?} has an id of more than 255 bytes", out.target))
            })?;
            properties = properties.with_message_id(id);
        }
        fits_a_frame(&properties, frame_max, &out.target)?;
        Ok(Self { exchange: exchange.into(), routing_key: routing_key.into(), properties })
    }
}

/// Headers have to fit into one frame; a larger one would end the connection and all that is under way on it.
fn fits_a_frame(properties: &BasicProperties, frame_max: u32, target: &str) -> Result<(), Error> {
    let limit = match usize::try_from(frame_max) {
        Ok(0) | Err(_) => FRAME_MAX,
        Ok(limit) => limit,
    };
    let shorts = [
        properties.app_id(),
        properties.content_encoding(),
        properties.content_type(),
        properties.correlation_id(),
        properties.reply_to(),
        properties.kind(),
        properties.message_id(),
    ];
    let shorts: usize = shorts.into_iter().flatten().map(|short| 1 + short.as_str().len()).sum();
    let size = FRAME_HEAD + shorts + properties.headers().as_ref().map_or(0, table_size);
    if size <= limit {
        return Ok(());
    }
    Err(error::permanent(format!(
        "the headers of a message to {target:?} take {size} bytes, but have to fit into one frame of {limit}; send fewer or shorter ones, or raise the server's frame_max"
    )))
}

fn table_size(table: &FieldTable) -> usize {
    4 + table.into_iter().map(|(name, value)| 1 + name.as_str().len() + value_size(value)).sum::<usize>()
}

/// With the byte that tells the type. Only what [`headers::write`] makes.
fn value_size(value: &AMQPValue) -> usize {
    match value {
        AMQPValue::LongString(value) => 5 + value.len(),
        AMQPValue::FieldArray(values) => 5 + values.as_slice().iter().map(value_size).sum::<usize>(),
        AMQPValue::FieldTable(table) => 1 + table_size(table),
        _ => 9,
    }
}

#[cfg(test)]
mod tests {
    use keylane::event::Record;

    use super::*;

    fn message(target: &str, record: Record) -> Result<Message, Error> {
        let out = Outgoing { target: target.into(), record };
        Message::of(&out, Timestamp::from_millis(5_999), 1000, 4096)
    }

    #[test]
    fn targets_are_queues_or_exchanges() {
        let to = |target| {
            let message = message(target, Record::new("x").with_key("k")).unwrap();
            (message.exchange.to_string(), message.routing_key.to_string())
        };
        assert_eq!(to("orders"), (String::new(), "orders".to_owned()));
        assert_eq!(to("/exchanges/e"), ("e".to_owned(), "k".to_owned()));
        assert_eq!(to("/exchanges/e/r"), ("e".to_owned(), "r".to_owned()));
    }

    #[test]
    fn what_would_end_the_connection_is_refused() {
        let refused = |record| message("orders", record).err().expect("refused");
        let error = refused(Record::new(vec![0; 1001]));
        assert!(!error.is_transient() && error.to_string().contains("orders"), "{error}");
        let error = refused(Record::new("").with_header("h", vec![b'x'; 4096]));
        assert!(!error.is_transient() && error.to_string().contains("frame"), "{error}");
        assert!(message("orders", Record::new("").with_header("h", vec![b'x'; 3900])).is_ok());
        let error = refused(Record { id: Some("i".repeat(256).into()), ..Record::new("") });
        assert!(error.to_string().contains("255"), "{error}");
    }

    #[test]
    fn time_and_id_are_the_messages() {
        let record = Record { id: Some("m-1".into()), ..Record::new("x") };
        let properties = message("q", record).unwrap().properties;
        assert_eq!(*properties.timestamp(), Some(5));
        assert_eq!(properties.message_id().as_ref().map(ShortString::as_str), Some("m-1"));
        assert_eq!(*properties.delivery_mode(), Some(PERSISTENT));
    }
}
