//! Our arms: order by key, ledger by position, raw bytes, over two stores.

use std::hint::black_box;
use std::time::Duration;

use keylane::memory::Memory;
use keylane::store::StoreAdapter;
use keylane::{RawEvent, Routes, Runtime};
use keylane_kafka::Kafka;
use keylane_sqlite::Sqlite;

use super::plain::touch;
use super::topic::Topic;
use crate::Broken;
use crate::measure::threads;
use crate::meter::METER;
use crate::report::Measured;

const SILENCE: Duration = Duration::from_secs(60);

/// A store and the arm it makes.
pub(crate) struct StoreArm {
    pub(crate) arm: &'static str,
    table: &'static str,
    /// What the subscription's table `kafka` says.
    kafka: &'static str,
}

pub(crate) const STORES: &[StoreArm] = &[
    StoreArm { arm: "keylane_memory", table: "[store.memory]", kafka: "" },
    // As the plain loop, which doesn't ask for headers: the client library looks for them at some length also
    // where there are none.
    StoreArm { arm: "keylane_no_headers", table: "[store.memory]", kafka: "headers = false" },
    StoreArm { arm: "keylane_sqlite", table: "[store.sqlite]\npath = \"${PATH_OF_STORE}\"", kafka: "" },
];

pub(crate) fn read(topic: &Topic, store: &StoreArm) -> Result<Measured, Broken> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("store.db").display().to_string();
    let (servers, name, group) = (topic.servers.clone(), topic.name.clone(), topic.group());
    let variables = move |asked: &str| match asked {
        "PATH_OF_STORE" => Some(path.clone()),
        "SERVERS" => Some(servers.clone()),
        "TOPIC" => Some(name.clone()),
        "GROUP" => Some(group.clone()),
        _ => None,
    };
    let configuration = format!("{}\n{SUBSCRIPTION}\n{}", store.table, store.kafka);
    threads()?.block_on(async {
        if store.table.contains("sqlite") {
            drain(topic, configuration, variables, Sqlite).await
        } else {
            drain(topic, configuration, variables, Memory::new()).await
        }
    })
}

/// Reads the topic from its start with this store.
pub(super) async fn drain(
    topic: &Topic,
    configuration: String,
    variables: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    store: impl StoreAdapter,
) -> Result<Measured, Broken> {
    METER.expect(topic.events);
    let handle = Runtime::from_text(configuration)
        .variables(variables)
        .store(store)
        .broker(Kafka)
        .subscription("noop", Routes::new().all(nothing))
        .start()
        .await?;
    let cost = METER.cost(SILENCE).await?;
    handle.shutdown();
    handle.join().await?;
    Ok(Measured::new(topic.events, cost))
}

pub(super) const SUBSCRIPTION: &str = r#"
[broker.main.kafka]
bootstrap_servers = ["${SERVERS}"]

[subscription.noop]
source = "${TOPIC}"
group = "${GROUP}"

[subscription.noop.ledger]
mode = "position"

[subscription.noop.retry]
on_exhausted = "skip"

[subscription.noop.kafka]
"#;

async fn nothing(event: RawEvent) {
    black_box((&event.meta().key, event.meta().place.offset, touch(&event)));
    METER.note();
}
