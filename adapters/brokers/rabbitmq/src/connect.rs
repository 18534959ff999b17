//! A connected server: the factory of consumers and publishers.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use keylane::broker::{Broker, Capabilities, Consumer, ConsumerSpec, Publisher};
use keylane::config::Section;
use keylane::{Env, Error};

use crate::config::RabbitMqConfig;
use crate::consumer::{self, RabbitMqConsumer};
use crate::error;
use crate::link::Links;
use crate::publisher::{Limits, RabbitMqPublisher};
use crate::subscription::RabbitMqSubscription;

/// How long closing the whole broker waits for each of its parts.
const CLOSING: Duration = Duration::from_secs(2);

pub(crate) struct RabbitMqBroker {
    env: Env,
    links: Arc<Links>,
    limits: Limits,
    /// What is open and is closed with the broker; `None` once that happened.
    open: Mutex<Option<Vec<Open>>>,
}

enum Open {
    Consumer(Weak<RabbitMqConsumer>),
    Publisher(Weak<RabbitMqPublisher>),
}

impl Open {
    fn is_gone(&self) -> bool {
        match self {
            Self::Consumer(consumer) => consumer.strong_count() == 0,
            Self::Publisher(publisher) => publisher.strong_count() == 0,
        }
    }
}

impl RabbitMqBroker {
    /// Checks what can be checked without the server; connects when it is first needed.
    pub(crate) fn new(config: &RabbitMqConfig, env: Env) -> Result<Self, Error> {
        let links = Arc::new(Links::new(config, env.clone())?);
        let limits = Limits { time: config.publish_max.duration(), size: config.record_max.as_usize() };
        Ok(Self { env, links, limits, open: Mutex::new(Some(Vec::new())) })
    }

    fn keep(&self, open: Open) -> Result<(), Error> {
        let mut all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let all = all.as_mut().ok_or_else(|| error::closed("rabbitmq broker"))?;
        all.retain(|open| !open.is_gone());
        all.push(open);
        Ok(())
    }
}

#[async_trait]
impl Broker for RabbitMqBroker {
    fn capabilities(&self, of: &Section) -> Result<Capabilities, Error> {
        Ok(consumer::capabilities(&of.read::<RabbitMqSubscription>()?))
    }

    async fn consumer(&self, spec: ConsumerSpec) -> Result<Arc<dyn Consumer>, Error> {
        let consumer = RabbitMqConsumer::start(spec, Arc::clone(&self.links), self.env.clone()).await?;
        let consumer = Arc::new(consumer);
        self.keep(Open::Consumer(Arc::downgrade(&consumer)))?;
        Ok(consumer)
    }

    async fn publisher(&self) -> Result<Arc<dyn Publisher>, Error> {
        let publisher = RabbitMqPublisher::new(Arc::clone(&self.links), self.env.clone(), self.limits);
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
