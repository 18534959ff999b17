//! A broker that can't tell one log from another: then a record has to (rule L2).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keylane::broker::{
    Base, Bounds, Broker, Capabilities, Consumer, ConsumerSpec, Partition, Publisher, Pulled, Start,
};
use keylane::config::Section;
use keylane::delivery::{Settled, Ticket};
use keylane::{Error, Handle};

use super::{SOURCE, Stage};

struct Nameless<T: ?Sized>(Arc<T>);

#[async_trait]
impl Broker for Nameless<dyn Broker> {
    fn capabilities(&self, of: &Section) -> Result<Capabilities, Error> {
        self.0.capabilities(of)
    }
    async fn consumer(&self, spec: ConsumerSpec) -> Result<Arc<dyn Consumer>, Error> {
        Ok(Arc::new(Nameless(self.0.consumer(spec).await?)))
    }
    async fn publisher(&self) -> Result<Arc<dyn Publisher>, Error> {
        self.0.publisher().await
    }
    async fn close(&self) {
        self.0.close().await;
    }
}

#[async_trait]
impl Consumer for Nameless<dyn Consumer> {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    async fn pull(&self, credits: usize) -> Result<Pulled, Error> {
        self.0.pull(credits).await
    }
    async fn start(&self, starts: Vec<Start>) -> Result<(), Error> {
        self.0.start(starts).await
    }
    async fn bounds(&self, partition: Partition) -> Result<Bounds, Error> {
        Ok(Bounds { identity: None, ..self.0.bounds(partition).await? })
    }
    async fn origin(&self, partition: Partition) -> Result<u64, Error> {
        self.0.origin(partition).await
    }
    async fn settle(&self, batch: Vec<Settled>) -> Result<Vec<u64>, Error> {
        self.0.settle(batch).await
    }
    async fn commit(&self, bases: Vec<Base>) -> Result<(), Error> {
        self.0.commit(bases).await
    }
    async fn extend(&self, tickets: &[Ticket], by: Duration) -> Result<(), Error> {
        self.0.extend(tickets, by).await
    }
    fn pause(&self, partitions: Option<&[Partition]>) {
        self.0.pause(partitions);
    }
    fn resume(&self, partitions: Option<&[Partition]>) {
        self.0.resume(partitions);
    }
    async fn close(&self, within: Duration) {
        self.0.close(within).await;
    }
}

async fn start(stage: &Stage, number: u64) -> Handle {
    let runtime = stage.runtime(number, "memory").1;
    runtime.broker_layer(|broker| Arc::new(Nameless(broker))).start().await.unwrap()
}

#[tokio::test]
async fn l2_a_home_knows_the_log_by_a_record_that_was_anothers() {
    let mut stage = Stage::new(1);
    stage.publish(10, 10).await;
    // The end is one key's, and so one home's.
    for _ in 0..50 {
        stage.publish_to(&["k0".to_owned()]).await;
    }
    let handle = start(&stage, 1).await;
    stage.until_all().await;
    stage.until_told(1).await;
    handle.shutdown();
    handle.join().await.unwrap();
    // As a restored log: what was early is gone, and what lies at the end now was not there before.
    stage.log.delete(SOURCE);
    stage.log.create(SOURCE, 1);
    stage.publish(10, 30).await;
    stage.log.expire(SOURCE, 0, 130);
    let handle = start(&stage, 2).await;
    stage.clock.until("both databases halt", || handle.halted().len() == 2).await;
    assert!(
        handle.halted().iter().all(|halted| halted.why.contains("is not the one")),
        "{:?}",
        handle.halted()
    );
}
