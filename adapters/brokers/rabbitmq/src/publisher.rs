//! Writing: on a connection of its own, each message confirmed, none of them lost for want of a route.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use keylane::broker::{Outgoing, Publisher, Receipt};
use keylane::{Env, Error};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation, Connection, PublisherConfirm};
use tokio::sync::Mutex;

use crate::error;
use crate::link::{self, Links};
use crate::message::Message;
use crate::topology::Asker;

/// How many exchanges are remembered as existing.
const EXCHANGES: usize = 1024;

/// How long a connection may take for its good-bye.
const PARTING: Duration = Duration::from_secs(2);

/// What publishing may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) time: Duration,
    pub(crate) size: usize,
}

pub(crate) struct RabbitMqPublisher {
    env: Env,
    links: Arc<Links>,
    limits: Limits,
    /// One channel: what is published on it is written in this order. Held while a batch is handed over, not while it is
    /// confirmed.
    line: Mutex<Option<Line>>,
    closed: AtomicBool,
}

struct Line {
    connection: Connection,
    channel: Channel,
    /// Exchanges that are there: a message to one that is not would end the channel, and all that is under way on it.
    known: BTreeSet<String>,
}

impl RabbitMqPublisher {
    /// Connects when it is first needed.
    pub(crate) fn new(links: Arc<Links>, env: Env, limits: Limits) -> Self {
        Self { env, links, limits, line: Mutex::new(None), closed: AtomicBool::new(false) }
    }

    /// Hands over all of them, in order; whoever waits behind this call writes behind it.
    async fn hand_over(&self, batch: &[Outgoing]) -> Vec<Result<PublisherConfirm, Error>> {
        let mut line = self.line.lock().await;
        let mut going = Vec::with_capacity(batch.len());
        for out in batch {
            going.push(match self.prepare(&mut line, out).await {
                Ok((channel, message)) => Going::begin(publish(channel, message, out)).await,
                Err(error) => Going::Gone(Err(error)),
            });
        }
        let mut handed = Vec::with_capacity(batch.len());
        for going in going {
            handed.push(match going {
                Going::Gone(result) => result,
                Going::Writing(writing) => writing.await,
            });
        }
        handed
    }

    async fn prepare(&self, line: &mut Option<Line>, out: &Outgoing) -> Result<(Channel, Message), Error> {
        if self.closed.load(Ordering::Acquire) {
            return Err(error::closed("rabbitmq publisher"));
        }
        let line = self.line(line).await?;
        let frame_max = line.connection.configuration().frame_max();
        let message = Message::of(out, self.env.wall(), self.limits.size, frame_max)?;
        self.check(line, message.exchange.as_str()).await?;
        Ok((line.channel.clone(), message))
    }

    /// The line that is there, or a new one.
    async fn line<'a>(&self, line: &'a mut Option<Line>) -> Result<&'a mut Line, Error> {
        let works = |line: &Line| line.connection.status().connected() && line.channel.status().connected();
        if let Some(broken) = line.take_if(|line| !works(line)) {
            link::part(&self.env, broken.connection, Duration::ZERO).await;
        }
        match line {
            Some(line) => Ok(line),
            none => Ok(none.insert(self.open().await?)),
        }
    }

    async fn open(&self) -> Result<Line, Error> {
        let connection = self.links.open("publishes").await?;
        let channel = self.links.channel(&connection).await?;
        let confirms = channel.confirm_select(ConfirmSelectOptions::default());
        let confirms = self.links.request("asking rabbitmq for confirms", confirms).await?;
        confirms.map_err(|cause| error::error("asking rabbitmq for confirms", cause))?;
        Ok(Line { connection, channel, known: BTreeSet::new() })
    }

    async fn check(&self, line: &mut Line, exchange: &str) -> Result<(), Error> {
        if exchange.is_empty() || line.known.contains(exchange) {
            return Ok(());
        }
        Asker { links: &self.links, connection: &line.connection }.has_exchange(exchange).await?;
        if line.known.len() >= EXCHANGES {
            line.known.clear();
        }
        line.known.insert(exchange.to_owned());
        Ok(())
    }
}

#[async_trait]
impl Publisher for RabbitMqPublisher {
    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt, Error>> {
        let deadline = self.env.now() + self.limits.time;
        let what = "publishing to rabbitmq";
        let handed = match self.env.timeout(what, self.limits.time, self.hand_over(&batch)).await {
            Ok(handed) => handed,
            // How many of them went out nobody knows; each is told the same.
            Err(_) => return batch.iter().map(|out| Err(late(out, self.limits.time))).collect(),
        };
        let mut results = Vec::with_capacity(batch.len());
        for (out, handed) in batch.iter().zip(handed) {
            results.push(match handed {
                Ok(confirm) => {
                    let left = deadline.since(self.env.now());
                    let confirmed = self.env.timeout(what, left, confirm).await;
                    confirmed.map_or_else(
                        |_| Err(late(out, self.limits.time)),
                        |confirmed| outcome(out, confirmed),
                    )
                }
                Err(error) => Err(error),
            });
        }
        results
    }

    async fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        let closing = async { self.line.lock().await.take() };
        if let Ok(Some(line)) = self.env.timeout("closing a rabbitmq publisher", PARTING, closing).await {
            link::part(&self.env, line.connection, PARTING).await;
        }
    }
}

/// A message on its way to the socket.
enum Going<'a> {
    Gone(Result<PublisherConfirm, Error>),
    Writing(BoxFuture<'a, Result<PublisherConfirm, Error>>),
}

impl<'a> Going<'a> {
    /// Puts it in line, and does not wait until it is written. The client library puts a message in line when its future
    /// is polled for the first time, so that the order of these calls is the order of writing.
    async fn begin(writing: impl Future<Output = Result<PublisherConfirm, Error>> + Send + 'a) -> Self {
        let mut writing = writing.boxed();
        poll_fn(|context| {
            Poll::Ready(match writing.poll_unpin(context) {
                Poll::Ready(result) => Some(result),
                Poll::Pending => None,
            })
        })
        .await
        .map_or(Self::Writing(writing), Self::Gone)
    }
}

async fn publish(channel: Channel, message: Message, out: &Outgoing) -> Result<PublisherConfirm, Error> {
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let Message { exchange, routing_key, properties } = message;
    let published = channel.basic_publish(exchange, routing_key, options, &out.record.payload, properties);
    published.await.map_err(|cause| failed(out, cause))
}

fn outcome(out: &Outgoing, confirmed: lapin::Result<Confirmation>) -> Result<Receipt, Error> {
    match confirmed {
        // A message that came back is acknowledged as well: the broker is done with it.
        Ok(Confirmation::Ack(Some(_))) | Ok(Confirmation::Nack(Some(_))) => {
            let remedy = "create the queue, bind one to the exchange, or correct the target";
            Err(error::permanent(format!("no queue takes a message to {:?}; {remedy}", out.target)))
        }
        Ok(Confirmation::Ack(None)) => Ok(Receipt { partition: None, offset: None }),
        Ok(Confirmation::Nack(None)) => {
            Err(error::transient(format!("rabbitmq did not take a message to {:?}", out.target)))
        }
        Ok(Confirmation::NotRequested) => {
            Err(error::transient(format!("a message to {:?} was not confirmed", out.target)))
        }
        Err(cause) => Err(failed(out, cause)),
    }
}

fn late(out: &Outgoing, limit: Duration) -> Error {
    let why = "the broker blocks publishers while it is short of memory or disk";
    error::transient(format!("a message to {:?} was not confirmed within {limit:?}; {why}", out.target))
}

fn failed(out: &Outgoing, cause: lapin::Error) -> Error {
    error::error(format!("publishing {} bytes to {:?}", out.record.payload.len(), out.target), cause)
}
