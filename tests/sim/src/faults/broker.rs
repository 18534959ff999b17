//! A broker whose pulls are late or fail, whose connections are cut, and which refuses positions.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keylane::broker::{Base, Broker, Capabilities, Consumer, ConsumerSpec, Publisher};
use keylane::config::Section;
use keylane::delivery::{Delivery, Settlement};
use keylane::env::Env;
use keylane::{Error, ErrorKind};

use super::consumer::FaultyConsumer;
use super::{Calm, Link};

/// How a faulty broker behaves. Chances are in thousandths.
#[derive(Debug, Clone, Copy, Default)]
pub struct BrokerFaults {
    /// A pull begins up to this much later.
    pub pull_latency_max: Duration,
    /// A pull fails, and another one works.
    pub pull_refused: u64,
    /// The connection is replaced: all partitions are lost and assigned again, and what was not settled
    /// comes again.
    pub severed: u64,
    /// Positions are not taken.
    pub commit_refused: u64,
    /// Settlements are not taken, and the connection with them.
    pub settle_refused: u64,
}

/// Who looks on from where the broker stands.
pub trait BrokerEyes: Send + Sync + 'static {
    /// The broker was told that so much is finished.
    fn told(&self, bases: &[Base]);

    /// The worker is handed this.
    fn handed(&self, _delivery: &mut Delivery) {}

    /// The broker was told this of the delivery with this ticket.
    fn settled(&self, _ticket: u64, _settlement: Settlement) {}

    /// What the broker was told did not get through.
    fn unheard(&self) {}
}

/// Nobody looks.
impl BrokerEyes for () {
    fn told(&self, _bases: &[Base]) {}
}

/// A broker for one worker, with faults.
pub struct FaultyBroker {
    inner: Arc<dyn Broker>,
    way: Way,
}

/// What broker and consumer share.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) env: Env,
    pub(super) faults: BrokerFaults,
    pub(super) link: Link,
    pub(super) eyes: Arc<dyn BrokerEyes>,
    calm: Calm,
}

impl FaultyBroker {
    /// Decorates `inner` for one worker.
    #[must_use]
    pub fn new(
        inner: Arc<dyn Broker>,
        env: Env,
        faults: BrokerFaults,
        link: Link,
        eyes: Arc<dyn BrokerEyes>,
    ) -> Self {
        Self { inner, way: Way { env, faults, link, eyes, calm: Calm::default() } }
    }

    /// Nothing goes wrong by chance once it is calm.
    #[must_use]
    pub fn calmed_by(mut self, calm: Calm) -> Self {
        self.way.calm = calm;
        self
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Broker for FaultyBroker {
    fn capabilities(&self, of: &Section) -> Result<Capabilities, Error> {
        self.inner.capabilities(of)
    }

    async fn consumer(&self, spec: ConsumerSpec) -> Result<Arc<dyn Consumer>, Error> {
        let inner = self.inner.consumer(spec).await?;
        Ok(Arc::new(FaultyConsumer::new(inner, self.way.clone())))
    }

    async fn publisher(&self) -> Result<Arc<dyn Publisher>, Error> {
        self.inner.publisher().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

impl Way {
    pub(super) fn hits(&self, thousandths: u64) -> bool {
        thousandths > 0 && !self.calm.is() && self.env.random() % 1000 < thousandths
    }

    pub(super) fn refuse(&self, thousandths: u64, what: &str) -> Result<(), Error> {
        if self.link.is_cut(&self.env) || self.hits(thousandths) {
            return Err(Error::new(ErrorKind::Broker, format!("simulated: {what}")));
        }
        Ok(())
    }
}
