//! The arm to compare with: lapin's own loop, which acknowledges a hundred messages at a time.

use std::hint::black_box;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};

use super::queue::Queue;
use crate::Broken;
use crate::measure::Stretch;
use crate::report::Measured;

const PREFETCH: u16 = 500;
const ACKNOWLEDGED: u64 = 100;
const SILENCE: Duration = Duration::from_secs(60);

pub(super) async fn drain(queue: &Queue) -> Result<Measured, Broken> {
    let connection = Connection::connect(&queue.uri, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(PREFETCH, BasicQosOptions { global: false }).await?;
    let options = BasicConsumeOptions::default();
    let mut consumer = channel
        .basic_consume(queue.name.as_str().into(), "plain".into(), options, FieldTable::default())
        .await?;
    let events = queue.events;
    // On a thread of the runtime: the one that blocks is waked by others.
    let drained = tokio::spawn(async move {
        let mut stretch = None;
        let mut read = 0;
        while read < events {
            let delivery = tokio::time::timeout(SILENCE, consumer.next())
                .await
                .map_err(|_| format!("{read} of {events} messages came, and then none"))?
                .ok_or("the queue ended")??;
            stretch.get_or_insert_with(Stretch::begin);
            black_box(touch(&delivery.data));
            read += 1;
            if read % ACKNOWLEDGED == 0 || read == events {
                delivery.acker.ack(BasicAckOptions { multiple: true }).await?;
            }
        }
        let cost = stretch.ok_or("there was nothing to read")?.end();
        Ok::<_, Broken>(Measured::new(read, cost))
    });
    let measured = drained.await??;
    channel.close(200, "done".into()).await?;
    connection.close(200, "done".into()).await?;
    Ok(measured)
}

/// Brings every line of the payload into the cache, as a handler that reads it would.
pub(super) fn touch(payload: &[u8]) -> u64 {
    payload.iter().step_by(64).map(|byte| u64::from(*byte)).sum()
}
