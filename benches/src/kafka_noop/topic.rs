//! A topic of one run of the bench: made, filled, read many times, deleted.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use super::PARTITIONS;
use crate::Broken;
use crate::keys::{self, Spread};
use crate::orders::{KEYS, PAYLOAD};

const FLUSH_MAX: Duration = Duration::from_secs(120);

pub(crate) struct Topic {
    pub(crate) servers: String,
    pub(crate) name: String,
    pub(crate) events: u64,
    groups: AtomicU32,
}

impl Topic {
    pub(crate) fn fill(servers: &str, spread: Spread, events: u64) -> Result<Self, Broken> {
        let name = format!("keylane-bench-{}-{spread:?}", std::process::id()).to_lowercase();
        let topic = Self { servers: servers.to_owned(), name, events, groups: AtomicU32::new(0) };
        let admin = topic.admin()?;
        let new = NewTopic::new(&topic.name, PARTITIONS, TopicReplication::Fixed(1));
        let made = wait(admin.create_topics([&new], &AdminOptions::new()))??;
        if let Some(Err((_, code))) = made.into_iter().next() {
            return Err(format!("the topic {:?} could not be made: {code}", topic.name).into());
        }
        topic.produce(&keys::draw(spread, KEYS, events))?;
        Ok(topic)
    }

    /// The name of a group that nobody had before.
    pub(crate) fn group(&self) -> String {
        format!("{}-{}", self.name, self.groups.fetch_add(1, Ordering::Relaxed))
    }

    /// Best effort: the server is a test's own.
    pub(crate) fn delete(&self) {
        let deleted =
            self.admin().map(|admin| wait(admin.delete_topics(&[&self.name], &AdminOptions::new())));
        if let Err(error) = deleted {
            eprintln!("the topic {:?} was not deleted: {error}", self.name);
        }
    }

    fn produce(&self, drawn: &[u32]) -> Result<(), Broken> {
        let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
            .set("bootstrap.servers", &self.servers)
            .set("linger.ms", "20")
            .set("queue.buffering.max.messages", "200000")
            .create()?;
        let names: Vec<String> = (0..KEYS).map(keys::name).collect();
        for key in drawn {
            let mut record = BaseRecord::to(&self.name).key(names[*key as usize].as_str()).payload(PAYLOAD);
            while let Err((error, back)) = producer.send(record) {
                if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                    return Err(error.into());
                }
                std::thread::sleep(Duration::from_millis(5));
                record = back;
            }
        }
        producer.flush(FLUSH_MAX)?;
        Ok(())
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>, Broken> {
        Ok(ClientConfig::new().set("bootstrap.servers", &self.servers).create()?)
    }
}

/// The admin client speaks in futures.
fn wait<T>(future: impl Future<Output = T>) -> Result<T, Broken> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}
