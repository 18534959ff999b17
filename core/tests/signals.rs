//! `run()` takes signals: the first lets handlers end, the second ends at once.

#![expect(clippy::disallowed_methods, reason = "a service's own main: on tokio, outside any Env")]
#![expect(clippy::unwrap_used, reason = "a story that can't be told has failed")]

use std::sync::Arc;
use std::time::Duration;

use keylane::env::{BoxFuture, Environment, Instant, Timestamp};
use keylane::memory::{Memory, MemoryBroker};
use keylane::{Context, Effects, Env, Error, Failure, RawEvent, Routes, Runtime, State, Tx};
use tokio::sync::Notify;

/// Tokio's environment with signals of our own.
#[derive(Clone)]
struct Signalled {
    env: Env,
    signal: Arc<Notify>,
}

impl Environment for Signalled {
    fn now(&self) -> Instant {
        self.env.now()
    }
    fn wall(&self) -> Timestamp {
        self.env.wall()
    }
    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        self.env.sleep_until(deadline)
    }
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        self.env.spawn(name, task);
    }
    fn spawn_dedicated(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        self.env.spawn_dedicated(name, task);
    }
    fn random(&self) -> u64 {
        self.env.random()
    }
    fn stop_signal(&self) -> BoxFuture<'static, ()> {
        let signal = self.signal.clone();
        Box::pin(async move { signal.notified().await })
    }
    fn abandon(&self) {
        self.env.abandon();
    }
}

/// What a handler says of its life.
#[derive(Clone, Default)]
struct Life {
    began: Arc<Notify>,
    told_to_end: Arc<Notify>,
}

/// Ends when it is told to, and what it wrote by then counts.
async fn obedient(
    _: RawEvent,
    State(life): State<Life>,
    mut fx: Effects<Memory>,
    cx: Context,
) -> Result<(), Failure> {
    life.began.notify_one();
    cx.cancelled().await;
    life.told_to_end.notify_one();
    fx.commit_with((), async |mut tx: Tx<Memory>, ()| {
        tx.append("rows", "ended in order");
        tx.done()
    });
    Ok(())
}

async fn deaf(_: RawEvent, State(life): State<Life>, cx: Context) -> Result<(), Failure> {
    life.began.notify_one();
    cx.cancelled().await;
    life.told_to_end.notify_one();
    std::future::pending().await
}

const TOML: &str = r#"
    runtime.drain_max = "10m"
    [store.memory]
    [broker.main.memory]
    [subscription.orders]
    source = "orders"
    retry.on_exhausted = "skip"
"#;

/// A running service with one event in its handler.
async fn started(
    routes: Routes,
    life: &Life,
) -> (Memory, Arc<Notify>, tokio::task::JoinHandle<Result<(), Error>>) {
    let signal = Arc::new(Notify::new());
    let env = Env::new(Signalled { env: Env::tokio(), signal: signal.clone() });
    let (memory, broker) = (Memory::new(), MemoryBroker::new());
    broker.create("orders", 1);
    let publisher = keylane::broker::Broker::publisher(&*broker.worker(&env)).await.unwrap();
    let record = keylane::event::Record::new("payload").with_key("key");
    let outgoing = keylane::broker::Outgoing { target: "orders".to_owned(), record };
    publisher.publish(vec![outgoing]).await.remove(0).unwrap();
    let runtime = Runtime::from_text(TOML).env(env).store(memory.clone()).broker(broker);
    let running = tokio::spawn(runtime.subscription("orders", routes).run());
    within(life.began.notified()).await;
    (memory, signal, running)
}

/// A limit for what hangs.
async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("hangs")
}

#[tokio::test]
async fn the_first_signal_lets_handlers_end() {
    let life = Life::default();
    let routes = Routes::new().all(obedient).with_state(life.clone());
    let (memory, signal, running) = started(routes, &life).await;
    signal.notify_one();
    within(life.told_to_end.notified()).await;
    within(running).await.unwrap().unwrap();
    assert_eq!(memory.rows("rows").await, ["ended in order"]);
}

#[tokio::test]
async fn the_second_signal_ends_at_once() {
    let life = Life::default();
    let routes = Routes::new().all(deaf).with_state(life.clone());
    let (_memory, signal, running) = started(routes, &life).await;
    signal.notify_one();
    within(life.told_to_end.notified()).await;
    assert!(!running.is_finished(), "the drain waits for the handler");
    signal.notify_one();
    let error = within(running).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("second signal"), "{error:?}");
}
