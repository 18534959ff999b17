//! One event's whole journey, on the embedded log.

use std::sync::Arc;
use std::sync::Mutex;

use keylane::broker::{Broker, BrokerAdapter, Outgoing};
use keylane::config::NoKeys;
use keylane::event::Record;
use keylane::memory::Memory;
use keylane::{Context, Effects, Env, Error, Failure, RawEvent, Routes, Runtime, State, Tx};
use keylane_log::{Log, LogConfig};
use keylane_sqlite::Sqlite;

struct Given(Arc<dyn Broker>);
impl BrokerAdapter for Given {
    const KIND: &'static str = "given";
    type Config = NoKeys;
    type Subscription = NoKeys;
    async fn connect(&self, _: NoKeys, _: &Env) -> Result<Arc<dyn Broker>, Error> {
        Ok(self.0.clone())
    }
}

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(String, u64)>>>);

async fn note(
    event: RawEvent,
    State(seen): State<Seen>,
    mut fx: Effects<Memory>,
    cx: Context,
) -> Result<(), Failure> {
    let id = event.meta().place.offset;
    if id % 50 == 7 && cx.attempt() == 1 {
        return Err(Failure::new("first try fails"));
    }
    if id % 97 == 3 {
        return Err(Failure::new("never").permanent());
    }
    let key = event.meta().key_text().unwrap_or_default();
    seen.0.lock().unwrap().push((key.clone(), id));
    fx.commit_with((key, id), async |mut tx: Tx<Memory>, (key, id): (String, u64)| {
        tx.append("effects", format!("{key}:{id}"));
        tx.done()
    });
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_to_memory() {
    let dir = std::env::temp_dir().join(format!("keylane-journey-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let config = LogConfig { path: dir.join("log.db").display().to_string(), ..LogConfig::default() };
    let env = Env::tokio();
    let broker = Log::on(Sqlite).connect(config, &env).await.unwrap();
    let publisher = broker.publisher().await.unwrap();
    let batch = (0..2000).map(|n| Outgoing {
        target: "orders".into(),
        record: Record::new(format!("{n}")).with_key(format!("k{}", n % 40)),
    });
    for result in publisher.publish(batch.collect()).await {
        result.unwrap();
    }
    let memory = Memory::new();
    let seen = Seen::default();
    let toml = r#"
        [store.memory]
        [broker.main.given]
        [subscription.orders]
        source = "orders"
        [subscription.orders.retry]
        on_exhausted = "skip"
    "#;
    let handle = Runtime::from_text(toml)
        .store(memory.clone())
        .broker(Given(broker))
        .subscription("orders", Routes::new().all(note).with_state(seen.clone()))
        .start()
        .await
        .unwrap();
    let mut n = 0;
    for _ in 0..400 {
        n = memory.rows("effects").await.len()
            + handle.admin().dead_letters("orders", None, 1000).await.unwrap().len();
        if n >= 2000 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    assert_eq!(n, 2000);
    handle.shutdown();
    handle.join().await.unwrap();
}
