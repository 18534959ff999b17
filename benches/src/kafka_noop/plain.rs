//! The arm to compare with: librdkafka's own loop, which reads each record and keeps nothing.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;

use super::topic::Topic;
use crate::Broken;
use crate::measure::Stretch;
use crate::report::Measured;

const POLL: Duration = Duration::from_millis(100);
const SILENCE: Duration = Duration::from_secs(60);

pub(crate) fn read(topic: &Topic) -> Result<Measured, Broken> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &topic.servers)
        .set("group.id", topic.group())
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        // As our adapter sets it. By default a consumer that keeps up stands still for up to a second each time
        // its queue was full for a moment, and would be easy to outrun.
        .set("fetch.queue.backoff.ms", "20")
        .create()?;
    consumer.subscribe(&[&topic.name])?;
    let mut stretch = None;
    let mut last = Instant::now();
    let mut read = 0;
    loop {
        let Some(record) = consumer.poll(POLL) else {
            if last.elapsed() > SILENCE {
                return Err(format!("{read} of {} records came, and then none", topic.events).into());
            }
            continue;
        };
        let record = record?;
        let stretch = stretch.get_or_insert_with(Stretch::begin);
        black_box((record.key(), record.offset(), record.payload().map(touch)));
        read += 1;
        if read == topic.events {
            return Ok(Measured::new(read, stretch.end()));
        }
        if read % 65_536 == 0 {
            last = Instant::now();
        }
    }
}

/// Brings every line of the payload into the cache, as a handler that reads it would.
pub(crate) fn touch(payload: &[u8]) -> u64 {
    payload.iter().step_by(64).map(|byte| u64::from(*byte)).sum()
}
