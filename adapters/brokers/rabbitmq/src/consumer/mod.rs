//! Reading a queue, or the queues of an ordered subscription.

mod inbox;
mod prefetch;
mod settler;
mod supervisor;
mod window;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keylane::broker::{
    Base, Bounds, BrokerAdapter, Capabilities, Consumer, ConsumerSpec, Partition, Pulled, Settles, Start,
};
use keylane::delivery::{Settled, Settlement, Ticket};
use keylane::{Env, Error};
use tokio::sync::{mpsc, oneshot, watch};

use crate::error;
use crate::link::Links;
use crate::subscription::{QueueKind, RabbitMqSubscription};
use crate::topology::Topology;
use inbox::Inbox;
use prefetch::Prefetch;
use settler::{CALLS, Call, Settler};
use supervisor::Supervisor;

/// Where everything of a broker without partitions lies.
const PARTITION: Partition = 0;

/// An acknowledgement that was lost brings its delivery again when the connection ends; how long an outage lasts is not
/// the broker's to say.
const REDELIVERY_HORIZON: Duration = Duration::from_secs(24 * 60 * 60);

/// A consumer of one source.
pub(crate) struct RabbitMqConsumer {
    env: Env,
    can: Capabilities,
    source: Arc<str>,
    inbox: Arc<Inbox>,
    calls: mpsc::Sender<Call>,
    stop: watch::Sender<Option<Duration>>,
    ended: watch::Receiver<()>,
}

impl RabbitMqConsumer {
    /// Connects; that the broker is away, or has no such source, is an error.
    pub(crate) async fn start(spec: ConsumerSpec, links: Arc<Links>, env: Env) -> Result<Self, Error> {
        let of = spec.settings.read::<RabbitMqSubscription>()?;
        let topology = Topology::new(&spec.source, of.clone())?;
        let (stop, stopping) = watch::channel(None);
        let (ending, ended) = watch::channel(());
        let (calls, queue) = mpsc::channel(CALLS);
        let inbox = Arc::new(Inbox::default());
        let supervisor = Supervisor {
            env: env.clone(),
            links: Arc::clone(&links),
            subscription: Arc::clone(&spec.subscription),
            key: of.key(),
            prefetch: Prefetch::new(&spec, of.message_size, topology.queues.len())?,
            inbox: Arc::clone(&inbox),
            stop: stopping,
            topology,
        };
        let settler = Settler {
            env: env.clone(),
            inbox: Arc::clone(&inbox),
            calls: queue,
            limit: links.request_limit,
            held_since: None,
        };
        let this = Self { env, can: capabilities(&of), source: spec.source, inbox, calls, stop, ended };
        let (told, first) = oneshot::channel();
        this.env.spawn("rabbitmq consumer", async move {
            supervisor.run(told).await;
            drop(ending);
        });
        this.env.spawn("rabbitmq settler", settler.run());
        first.await.unwrap_or_else(|_| Err(error::closed("rabbitmq consumer")))?;
        let timeout = of.consumer_timeout.map(|limit| limit.to_string());
        tracing::info!(
            subscription = &*spec.subscription,
            consumer_timeout = timeout.as_deref().unwrap_or("the server's, 30m unless configured"),
            "rabbitmq: a handler has to be done within the queue's consumer timeout; it can't be extended"
        );
        Ok(this)
    }

    async fn tell(&self, batch: Vec<Settled>) -> Result<Vec<u64>, Error> {
        let (answer, lost) = oneshot::channel();
        let gone = || error::closed("rabbitmq consumer");
        self.calls.send(Call { batch, answer }).await.map_err(|_| gone())?;
        lost.await.map_err(|_| gone())
    }
}

#[async_trait]
impl Consumer for RabbitMqConsumer {
    fn capabilities(&self) -> Capabilities {
        self.can.clone()
    }

    async fn pull(&self, credits: usize) -> Result<Pulled, Error> {
        loop {
            match self.inbox.take(credits) {
                Some(found) => return found,
                None => self.inbox.arrived().await,
            }
        }
    }

    async fn start(&self, _starts: Vec<Start>) -> Result<(), Error> {
        Err(error::unsupported("has no partitions to start"))
    }

    async fn bounds(&self, _partition: Partition) -> Result<Bounds, Error> {
        Err(error::unsupported("has no partitions"))
    }

    async fn origin(&self, _partition: Partition) -> Result<u64, Error> {
        Err(error::unsupported("has no partitions"))
    }

    async fn settle(&self, batch: Vec<Settled>) -> Result<Vec<u64>, Error> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        if batch.iter().any(|settled| matches!(settled.settlement, Settlement::RetryLater(_))) {
            return Err(error::unsupported("can't put a delivery off"));
        }
        self.tell(batch).await
    }

    async fn commit(&self, bases: Vec<Base>) -> Result<(), Error> {
        if bases.is_empty() {
            return Ok(());
        }
        Err(error::unsupported("settles deliveries, not positions"))
    }

    async fn extend(&self, _tickets: &[Ticket], _by: Duration) -> Result<(), Error> {
        Err(error::unsupported("has no deadline to extend; give the queue a longer consumer_timeout"))
    }

    fn pause(&self, partitions: Option<&[Partition]>) {
        if partitions.is_none_or(|some| some.contains(&PARTITION)) {
            self.inbox.pause(true);
        }
    }

    fn resume(&self, partitions: Option<&[Partition]>) {
        if partitions.is_none_or(|some| some.contains(&PARTITION)) {
            self.inbox.pause(false);
        }
    }

    async fn close(&self, within: Duration) {
        let mut ended = self.ended.clone();
        let closing = async {
            // What is finished and held back.
            drop(self.tell(Vec::new()).await);
            self.stop.send_replace(Some(within));
            // The channel's end is the signal.
            while ended.changed().await.is_ok() {}
        };
        if self.env.timeout("closing a rabbitmq consumer", within, closing).await.is_err() {
            self.stop.send_replace(Some(Duration::ZERO));
            self.inbox.close();
            tracing::warn!(
                source = &*self.source,
                ?within,
                "rabbitmq: the broker did not answer the good-bye"
            );
        }
    }
}

/// What RabbitMQ can do for such a subscription.
pub(crate) fn capabilities(of: &RabbitMqSubscription) -> Capabilities {
    Capabilities {
        kind: crate::RabbitMq::KIND,
        partitions: false,
        ordered: of.queues.is_some(),
        settles: Settles::Each,
        attempts: of.kind == QueueKind::Quorum,
        delay: None,
        extension_max: None,
        dead_letters: true,
        seek: false,
        redelivery_horizon: Some(REDELIVERY_HORIZON),
    }
}
