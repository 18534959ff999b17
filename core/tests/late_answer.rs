//! A broker whose answers come late: what was asked for an old claim changes nothing of the new one.

#![expect(clippy::unwrap_used, reason = "a fault of the stage is a failed test")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use keylane::broker::{
    Base, Bounds, Broker, Capabilities, Consumer, ConsumerSpec, Outgoing, Partition, Publisher, Pulled, Start,
};
use keylane::config::Section;
use keylane::delivery::{Settled, Ticket};
use keylane::env::Env;
use keylane::event::Record;
use keylane::memory::{Memory, MemoryBroker};
use keylane::{Class, Effects, Error, ErrorKind, Failure, RawEvent, Routes, Runtime, Tx};

use crate::conformance::clock::Virtual;

struct SlowBroker {
    inner: Arc<dyn Broker>,
    env: Env,
    spec: Arc<Mutex<Option<ConsumerSpec>>>,
}

struct SlowConsumer {
    inner: Arc<dyn Consumer>,
    env: Env,
    asked: Mutex<bool>,
}

#[async_trait]
impl Broker for SlowBroker {
    fn capabilities(&self, of: &Section) -> Result<Capabilities, Error> {
        self.inner.capabilities(of)
    }
    async fn consumer(&self, spec: ConsumerSpec) -> Result<Arc<dyn Consumer>, Error> {
        *self.spec.lock().unwrap() = Some(spec.clone());
        let inner = self.inner.consumer(spec).await?;
        Ok(Arc::new(SlowConsumer { inner, env: self.env.clone(), asked: Mutex::new(false) }))
    }
    async fn publisher(&self) -> Result<Arc<dyn Publisher>, Error> {
        self.inner.publisher().await
    }
    async fn close(&self) {
        self.inner.close().await;
    }
}

#[async_trait]
impl Consumer for SlowConsumer {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    async fn pull(&self, credits: usize) -> Result<Pulled, Error> {
        self.inner.pull(credits).await
    }
    async fn start(&self, starts: Vec<Start>) -> Result<(), Error> {
        self.inner.start(starts).await
    }
    /// The first question about partition 1 is answered late, by a time-out.
    async fn bounds(&self, partition: Partition) -> Result<Bounds, Error> {
        let first = partition == 1 && !std::mem::replace(&mut *self.asked.lock().unwrap(), true);
        if first {
            self.env.sleep(Duration::from_secs(5)).await;
            return Err(Error::new(ErrorKind::Broker, "no answer in time").with_class(Class::Transient));
        }
        self.inner.bounds(partition).await
    }
    async fn origin(&self, partition: Partition) -> Result<u64, Error> {
        self.inner.origin(partition).await
    }
    async fn settle(&self, batch: Vec<Settled>) -> Result<Vec<u64>, Error> {
        self.inner.settle(batch).await
    }
    async fn commit(&self, bases: Vec<Base>) -> Result<(), Error> {
        self.inner.commit(bases).await
    }
    async fn extend(&self, tickets: &[Ticket], by: Duration) -> Result<(), Error> {
        self.inner.extend(tickets, by).await
    }
    fn pause(&self, partitions: Option<&[Partition]>) {
        self.inner.pause(partitions);
    }
    fn resume(&self, partitions: Option<&[Partition]>) {
        self.inner.resume(partitions);
    }
    async fn close(&self, within: Duration) {
        self.inner.close(within).await;
    }
}

async fn note(event: RawEvent, mut fx: Effects<Memory>) -> Result<(), Failure> {
    let text = String::from_utf8_lossy(&event).into_owned();
    fx.commit_with(text, async |mut tx: Tx<Memory>, text: String| {
        tx.append("rows", text);
        tx.done()
    });
    Ok(())
}

async fn publish(broker: &MemoryBroker, env: &Env, text: &str) {
    let worker: Arc<dyn Broker> = broker.worker(env);
    let publisher = worker.publisher().await.unwrap();
    let record = Record::new(text.to_owned()).with_key("b").with_header("id", text.to_owned());
    let outgoing = Outgoing { target: "orders".to_owned(), record };
    publisher.publish(vec![outgoing]).await.pop().unwrap().unwrap();
}

/// A claim whose start fails late, after its partition left and came back, must not take the new tenure away.
#[tokio::test]
async fn a_late_failure_of_an_old_claim_leaves_the_new_tenure_alone() {
    let env = Env::new(Virtual::new());
    let broker = MemoryBroker::new();
    broker.create("orders", 2);
    let memory = Memory::with_clock(&env);
    let toml = "[store.memory]\n[broker.main.memory]\n[subscription.billing]\nsource = \"orders\"\n\
         [subscription.billing.event]\nid = \"header:id\"\n\
         kind = \"const:order\"\n[subscription.billing.retry]\non_exhausted = \"skip\"\n";
    let spec = Arc::new(Mutex::new(None));
    let (of_layer, layer_env) = (spec.clone(), env.clone());
    let handle = Runtime::from_text(toml)
        .env(env.clone())
        .store(memory.clone())
        .broker(broker.clone())
        .broker_layer(move |inner| {
            Arc::new(SlowBroker { inner, env: layer_env.clone(), spec: of_layer.clone() })
        })
        .subscription("billing", Routes::new().all(note))
        .start()
        .await
        .unwrap();
    env.sleep(Duration::from_secs(1)).await;
    // Another member comes and goes.
    let spec = spec.lock().unwrap().clone().unwrap();
    let other: Arc<dyn Broker> = broker.worker(&env);
    let member = other.consumer(spec).await.unwrap();
    env.sleep(Duration::from_secs(1)).await;
    member.close(Duration::from_secs(1)).await;
    env.sleep(Duration::from_secs(1)).await;
    publish(&broker, &env, "before").await;
    env.sleep(Duration::from_secs(1)).await;
    assert_eq!(memory.rows("rows").await.len(), 1, "the new tenure works");
    env.sleep(Duration::from_secs(4)).await;
    publish(&broker, &env, "after").await;
    env.sleep(Duration::from_secs(120)).await;
    assert!(handle.ready(), "all seems well");
    assert_eq!(memory.rows("rows").await.len(), 2, "the partition is read no more, and nobody says so");
}
