//! A queue of one run: declared, filled, drained once, deleted.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use keylane::Env;
use keylane::broker::{BrokerAdapter, Outgoing};
use keylane::event::Record;
use keylane_rabbitmq::{RabbitMq, RabbitMqConfig};
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};

use crate::Broken;
use crate::measure::threads;
use crate::orders::{Order, PAYLOAD};

/// Records a publication.
const PUBLISHED: usize = 1000;
/// How long the server may take to count what it was told.
const SETTLES_WITHIN: Duration = Duration::from_secs(30);

pub(super) struct Queue {
    pub(super) uri: String,
    pub(super) name: String,
    pub(super) events: u64,
}

/// Runs with a queue that holds these records, which goes afterwards. An arm that left something in it has measured
/// nothing.
pub(super) fn in_queue<T>(
    records: impl Iterator<Item = Record>,
    run: impl AsyncFnOnce(&Queue) -> Result<T, Broken>,
) -> Result<T, Broken> {
    threads()?.block_on(async {
        let uri = std::env::var("KEYLANE_TEST_RABBITMQ").map_err(
            |_| "KEYLANE_TEST_RABBITMQ is not set: `tests/brokers/up rabbitmq` starts a server and prints it",
        )?;
        let connection = Connection::connect(&uri, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let name = declare(&channel).await?;
        let ran = async {
            let events = fill(&uri, &name, records).await?;
            let ran = run(&Queue { uri, name: name.clone(), events }).await?;
            is_drained(&channel, &name).await?;
            Ok(ran)
        };
        let ran: Result<T, Broken> = ran.await;
        let deleted = channel.queue_delete(name.into(), QueueDeleteOptions::default()).await;
        let value = ran?;
        deleted?;
        connection.close(200, "done".into()).await?;
        Ok(value)
    })
}

/// What an order says, under its key, and nothing else.
pub(super) fn records_without_headers(orders: &[Order]) -> impl Iterator<Item = Record> {
    orders.iter().map(|order| Record::new(Bytes::from_static(PAYLOAD)).with_key(order.key.clone()))
}

async fn declare(channel: &Channel) -> Result<String, Broken> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("keylane-bench-{}-{number}", std::process::id());
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.as_str().into(), options, arguments).await?;
    Ok(name)
}

async fn fill(uri: &str, name: &str, records: impl Iterator<Item = Record>) -> Result<u64, Broken> {
    let config = RabbitMqConfig { uri: uri.to_owned().into(), ..RabbitMqConfig::default() };
    let broker = RabbitMq.connect(config, &Env::tokio()).await?;
    let publisher = broker.publisher().await?;
    let mut records = records.peekable();
    let mut events = 0;
    while records.peek().is_some() {
        let outgoing = |record| Outgoing { target: name.to_owned(), record };
        for published in publisher.publish(records.by_ref().take(PUBLISHED).map(outgoing).collect()).await {
            published?;
            events += 1;
        }
    }
    publisher.close().await;
    broker.close().await;
    Ok(events)
}

/// Whoever drained it is gone, and what it did not acknowledge is back.
async fn is_drained(channel: &Channel, name: &str) -> Result<(), Broken> {
    let since = Instant::now();
    loop {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare(name.into(), options, FieldTable::default()).await?;
        match (queue.message_count(), queue.consumer_count()) {
            (0, 0) => return Ok(()),
            (left, consumers) if since.elapsed() > SETTLES_WITHIN => {
                return Err(format!("{left} messages are left, {consumers} consumers are still there").into());
            }
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
