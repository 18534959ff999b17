//! A connected cluster: the factory of consumers and publishers.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use keylane::broker::{Broker, Capabilities, Consumer, ConsumerSpec, Publisher};
use keylane::config::Section;
use keylane::{Env, Error};

use crate::config::{KafkaConfig, KafkaSubscription};
use crate::consumer::{self, KafkaConsumer, Parts};
use crate::error;
use crate::native;
use crate::probe::Probe;
use crate::publisher::KafkaPublisher;

/// How long closing the whole broker waits for each of its parts.
const CLOSING: Duration = Duration::from_secs(2);

/// The most that one consumer reads ahead of whoever pulls, beside what librdkafka holds.
const AHEAD_MAX: usize = 1024 * 1024;

pub(crate) struct KafkaBroker {
    config: KafkaConfig,
    env: Env,
    probe: Arc<Probe>,
    /// What is open and is closed with the broker; `None` once that happened.
    open: Mutex<Option<Vec<Open>>>,
}

enum Open {
    Consumer(Weak<KafkaConsumer>),
    Publisher(Weak<KafkaPublisher>),
}

impl Open {
    fn is_gone(&self) -> bool {
        match self {
            Self::Consumer(consumer) => consumer.strong_count() == 0,
            Self::Publisher(publisher) => publisher.strong_count() == 0,
        }
    }
}

impl KafkaBroker {
    /// Checks what can be checked without the cluster; connects when it is first needed.
    pub(crate) fn new(config: KafkaConfig, env: Env) -> Result<Self, Error> {
        let probe = Probe::start(native::client(&config), env.clone(), config.request_max.duration())?;
        Ok(Self { config, env, probe: Arc::new(probe), open: Mutex::new(Some(Vec::new())) })
    }

    fn keep(&self, open: Open) -> Result<(), Error> {
        let mut all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let all = all.as_mut().ok_or_else(|| error::closed("kafka broker"))?;
        all.retain(|open| !open.is_gone());
        all.push(open);
        Ok(())
    }
}

#[async_trait]
impl Broker for KafkaBroker {
    fn capabilities(&self, _of: &Section) -> Result<Capabilities, Error> {
        Ok(consumer::capabilities())
    }

    async fn consumer(&self, spec: ConsumerSpec) -> Result<Arc<dyn Consumer>, Error> {
        let of = spec.settings.read::<KafkaSubscription>()?;
        // librdkafka would wait for a missing topic, in silence.
        self.probe.partitions(&spec.source).await?;
        // A quarter is ours to read ahead, the rest librdkafka's; but no more than stays in the processor's
        // cache until it is pulled.
        let ahead_max = (spec.prefetch_bytes_max / 4).clamp(1, AHEAD_MAX);
        let held = spec.prefetch_bytes_max - ahead_max;
        let consumer = KafkaConsumer::join(Parts {
            native: native::consumer(&self.config, &of, &spec.group, held),
            env: self.env.clone(),
            probe: Arc::clone(&self.probe),
            topic: spec.source,
            reset: spec.reset,
            ahead_max,
            headers: of.headers,
            revoke_limit: of.revoke_max.duration(),
            request_limit: self.config.request_max.duration(),
        })?;
        let consumer = Arc::new(consumer);
        self.keep(Open::Consumer(Arc::downgrade(&consumer)))?;
        Ok(consumer)
    }

    async fn publisher(&self) -> Result<Arc<dyn Publisher>, Error> {
        let native = native::producer(&self.config);
        let limit = self.config.publish_max.duration();
        let publisher = KafkaPublisher::new(&native, self.env.clone(), Arc::clone(&self.probe), limit)?;
        let publisher = Arc::new(publisher);
        self.keep(Open::Publisher(Arc::downgrade(&publisher)))?;
        Ok(publisher)
    }

    async fn close(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        for open in open.into_iter().flatten() {
            match open {
                Open::Consumer(consumer) => {
                    if let Some(consumer) = consumer.upgrade() {
                        consumer.close(CLOSING).await;
                    }
                }
                Open::Publisher(publisher) => {
                    if let Some(publisher) = publisher.upgrade() {
                        publisher.close().await;
                    }
                }
            }
        }
    }
}
