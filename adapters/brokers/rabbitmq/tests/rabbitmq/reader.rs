//! A consumer as these tests play it.

use std::sync::Arc;
use std::time::Duration;

use keylane::Error;
use keylane::broker::{Broker, Change, Consumer, ConsumerSpec, Outgoing, Pulled};
use keylane::delivery::{Delivery, Settlement};
use keylane::event::Record;
use tokio::time::timeout;

use crate::server::PATIENCE;

/// How long these tests listen for what must not come.
const QUIET: Duration = Duration::from_millis(400);

pub(crate) struct Reader(pub(crate) Arc<dyn Consumer>);

impl Reader {
    pub(crate) async fn new(broker: &Arc<dyn Broker>, spec: ConsumerSpec) -> Self {
        Self(broker.consumer(spec).await.unwrap())
    }

    /// Pulls until so many came; anything else on the way is wrong.
    pub(crate) async fn take(&self, count: usize) -> Vec<Delivery> {
        let mut taken = Vec::new();
        while taken.len() < count {
            let pulled = timeout(PATIENCE, self.0.pull(count - taken.len())).await;
            match pulled.unwrap_or_else(|_| panic!("{count} deliveries; {} came", taken.len())) {
                Ok(Pulled::Deliveries(deliveries)) => taken.extend(deliveries),
                other => panic!("{other:?}"),
            }
        }
        taken
    }

    /// Pulls until the word of a new connection comes; errors that may pass don't count.
    pub(crate) async fn voided(&self) -> u64 {
        let voided = async {
            loop {
                match self.0.pull(100).await {
                    Ok(Pulled::Change(Change::Void { epoch })) => return epoch,
                    Ok(other) => panic!("{other:?} before the word"),
                    Err(error) => assert!(error.is_transient(), "{error}"),
                }
            }
        };
        timeout(PATIENCE, voided).await.expect("a word of the lost connection")
    }

    /// Waits for the word of a new connection, and takes nothing.
    pub(crate) async fn word_of_a_new_connection(&self) -> u64 {
        let pulled = timeout(PATIENCE, self.0.pull(0)).await.expect("a word of a new connection").unwrap();
        let Pulled::Change(Change::Void { epoch }) = pulled else { panic!("{pulled:?}") };
        epoch
    }

    /// As `take`, while the connection is being mended.
    pub(crate) async fn take_in_the_end(&self, count: usize) -> Vec<Delivery> {
        let mut taken = Vec::new();
        let all = async {
            while taken.len() < count {
                match self.0.pull(count - taken.len()).await {
                    Ok(Pulled::Deliveries(deliveries)) => taken.extend(deliveries),
                    Ok(Pulled::Change(_)) => {}
                    Err(error) => assert!(error.is_transient(), "{error}"),
                }
            }
        };
        timeout(PATIENCE, all).await.expect("deliveries in the end");
        taken
    }

    /// The error that does not pass.
    pub(crate) async fn fails(&self) -> Error {
        let fails = async {
            loop {
                match self.0.pull(100).await {
                    Err(error) if !error.is_transient() => return error,
                    _ => tokio::task::yield_now().await,
                }
            }
        };
        timeout(PATIENCE, fails).await.expect("an error")
    }

    pub(crate) async fn hears_nothing(&self) {
        if let Ok(pulled) = timeout(QUIET, self.0.pull(100)).await {
            panic!("{pulled:?}");
        }
    }

    /// Settles all of them the same way; none of them may be lost.
    pub(crate) async fn settle(&self, deliveries: Vec<Delivery>, settlement: Settlement) {
        assert_eq!(self.lost(deliveries, settlement).await, [0; 0]);
    }

    pub(crate) async fn lost(&self, deliveries: Vec<Delivery>, settlement: Settlement) -> Vec<u64> {
        let batch = deliveries.into_iter().map(|delivery| delivery.settle(settlement)).collect();
        timeout(PATIENCE, self.0.settle(batch)).await.expect("settling ends").unwrap()
    }

    pub(crate) async fn close(&self) {
        timeout(PATIENCE, self.0.close(Duration::from_secs(5))).await.expect("closing ends");
    }
}

pub(crate) fn texts(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|delivery| String::from_utf8_lossy(&delivery.record.payload).into_owned()).collect()
}

/// Publishes records that tell their numbers.
pub(crate) async fn publish(broker: &Arc<dyn Broker>, target: &str, count: usize) {
    let publisher = broker.publisher().await.unwrap();
    let out = |number: usize| Outgoing { target: target.to_owned(), record: Record::new(number.to_string()) };
    let results = publisher.publish((0..count).map(out).collect()).await;
    results.into_iter().for_each(|result| assert!(result.is_ok(), "{result:?}"));
    publisher.close().await;
}
