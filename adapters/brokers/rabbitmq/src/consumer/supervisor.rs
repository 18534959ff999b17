//! Keeps one consumer connected: opens, consumes, forwards, and begins anew when anything ends.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use keylane::{Env, Error};
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, Event};
use tokio::sync::{oneshot, watch};

use super::inbox::{Arrival, Inbox, Ready};
use super::prefetch::Prefetch;
use crate::delivery;
use crate::error;
use crate::link::{self, Links};
use crate::subscription::KeyFrom;
use crate::topology::{Asker, Topology};

/// The wait before the first try anew, doubled at each further one.
const RECONNECT_MIN: Duration = Duration::from_millis(100);

/// Deliveries taken over at a time, when so many are there.
const PORTION: usize = 64;

/// How long a connection of which something broke may take for its good-bye.
const PARTING: Duration = Duration::from_secs(1);

pub(super) struct Supervisor {
    pub(super) env: Env,
    pub(super) links: Arc<Links>,
    pub(super) subscription: Arc<str>,
    pub(super) topology: Topology,
    pub(super) key: KeyFrom,
    /// Unsettled deliveries of each queue.
    pub(super) prefetch: Prefetch,
    pub(super) inbox: Arc<Inbox>,
    /// How long the good-bye may take, once it is time for it.
    pub(super) stop: watch::Receiver<Option<Duration>>,
}

/// A connection that consumes.
struct Session {
    connection: Connection,
    consumers: Vec<(Channel, ShortString)>,
    deliveries: Deliveries,
}

type Deliveries = BoxStream<'static, (usize, Option<lapin::Result<lapin::message::Delivery>>)>;

/// Why a session ended.
enum Ended {
    Stopped(Duration),
    Lost(Error),
    /// More bytes came than may lie here: what came goes back, and fewer messages are asked for.
    TooMuch(Prefetch),
}

impl Supervisor {
    /// Tells how the first try went; a failed one ends it.
    pub(super) async fn run(mut self, first: oneshot::Sender<Result<(), Error>>) {
        let mut first = Some(first);
        let mut waits = self.waits();
        loop {
            let Some(connected) = self.unless_stopped(Self::connect).await else { return self.inbox.close() };
            let session = match (connected, first.take()) {
                (Ok(session), told) => {
                    waits = self.waits();
                    told.into_iter().for_each(|told| drop(told.send(Ok(()))));
                    session
                }
                (Err(error), Some(told)) => {
                    self.inbox.close();
                    return drop(told.send(Err(error)));
                }
                (Err(error), None) if !error.is_transient() => return self.inbox.fail(&error),
                (Err(error), None) => {
                    self.inbox.fault(error);
                    if !self.wait(&mut waits).await {
                        return self.inbox.close();
                    }
                    continue;
                }
            };
            self.inbox.open(self.topology.queues.len(), self.prefetch.held_max());
            let (session, ended) = self.forward(session).await;
            match ended {
                Ended::Stopped(within) => {
                    self.inbox.close();
                    return self.leave(session, within).await;
                }
                Ended::Lost(error) => {
                    tracing::warn!(%error, subscription = &*self.subscription, "rabbitmq: connecting anew");
                    self.part(session).await;
                    if !self.wait(&mut waits).await {
                        return self.inbox.close();
                    }
                }
                Ended::TooMuch(fewer) => {
                    tracing::warn!(
                        subscription = &*self.subscription,
                        before = self.prefetch.count(),
                        now = fewer.count(),
                        "rabbitmq: messages are larger than message_size says, so that more bytes were prefetched than \
                         may be; connecting anew and asking for fewer at a time"
                    );
                    self.prefetch = fewer;
                    self.part(session).await;
                }
            }
        }
    }

    /// What came by this connection comes again by the next.
    async fn part(&self, session: Session) {
        self.inbox.void();
        drop(session.deliveries);
        link::part(&self.env, session.connection, PARTING).await;
    }

    async fn connect(&self) -> Result<Session, Error> {
        let connection = self.links.open(&format!("reads {}", self.subscription)).await?;
        match self.consume(&connection).await {
            Ok((consumers, deliveries)) => Ok(Session { connection, consumers, deliveries }),
            Err(error) => {
                link::part(&self.env, connection, PARTING).await;
                Err(error)
            }
        }
    }

    async fn consume(
        &self,
        connection: &Connection,
    ) -> Result<(Vec<(Channel, ShortString)>, Deliveries), Error> {
        self.topology.ensure(&self.links, connection).await?;
        let (mut consumers, mut streams) = (Vec::new(), Vec::new());
        for (number, queue) in self.topology.queues.iter().enumerate() {
            // One channel a consumer: a channel's error takes no sibling along, and its tags are one queue's.
            let channel = self.links.channel(connection).await?;
            let failed = |cause| error::error(format!("consuming from the queue {queue:?}"), cause);
            let credit = channel.basic_qos(self.prefetch.count(), BasicQosOptions { global: false });
            self.links.request("limiting a rabbitmq consumer", credit).await?.map_err(failed)?;
            let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
            let consumer = channel.basic_consume((&**queue).into(), "".into(), options, none);
            let consumer =
                self.links.request("starting a rabbitmq consumer", consumer).await?.map_err(failed)?;
            consumers.push((channel, consumer.tag()));
            let end = stream::iter([(number, None)]);
            streams.push(consumer.map(move |delivery| (number, Some(delivery))).chain(end).boxed());
        }
        Ok((consumers, stream::select_all(streams).boxed()))
    }

    /// Until something ends. Nothing of it is ever silent: a stream that ended or failed, a connection's event.
    async fn forward(&mut self, session: Session) -> (Session, Ended) {
        let Session { connection, consumers, deliveries } = session;
        let mut events = Box::pin(connection.events_listener());
        let mut portions = deliveries.ready_chunks(PORTION);
        let ended = loop {
            // Biased: to stop comes first, and bad news before what it makes worthless.
            tokio::select! { biased;
                within = stopped(&mut self.stop) => break Ended::Stopped(within),
                event = events.next() => match event {
                    Some(Event::Error(cause)) => break Ended::Lost(error::error("a rabbitmq connection", cause)),
                    Some(_) => {}
                    None => break Ended::Lost(error::transient("a rabbitmq connection ended")),
                },
                portion = portions.next() => {
                    let Some(portion) = portion else { break Ended::Lost(error::transient("a rabbitmq consumer ended")) };
                    let (ready, ended) = self.take_over(portion);
                    if let Some(error) = ended {
                        break Ended::Lost(self.explain(&connection, error).await);
                    }
                    if let Some(fewer) = self.prefetch.reduced(ready) {
                        break Ended::TooMuch(fewer);
                    }
                }
            }
        };
        let deliveries = portions.into_inner();
        (Session { connection, consumers, deliveries }, ended)
    }

    /// Leaves deliveries in the inbox. Says how much lies there, and what ended its stream.
    fn take_over(
        &self,
        portion: Vec<(usize, Option<lapin::Result<lapin::message::Delivery>>)>,
    ) -> (Ready, Option<(usize, Option<lapin::Error>)>) {
        let (mut arrivals, mut ended) = (Vec::with_capacity(portion.len()), None);
        for (queue, item) in portion {
            match item {
                Some(Ok(delivery)) => {
                    let acker = delivery.acker.clone();
                    let (record, attempt) = delivery::record(delivery, self.key);
                    arrivals.push(Arrival { queue, record, attempt, acker });
                }
                Some(Err(cause)) => {
                    ended.get_or_insert((queue, Some(cause)));
                }
                None => {
                    ended.get_or_insert((queue, None));
                }
            }
        }
        (self.inbox.put(arrivals), ended)
    }

    /// The error for a stream's end. One without a reason was cancelled by the broker: mostly its queue was deleted.
    async fn explain(&self, connection: &Connection, (queue, cause): (usize, Option<lapin::Error>)) -> Error {
        let name = self.topology.queues.get(queue).map_or("", |name| name.as_str());
        if let Some(cause) = cause {
            return error::error(format!("reading the queue {name:?}"), cause);
        }
        match (Asker { links: &self.links, connection }).has_queue(name).await {
            Err(error) => error,
            Ok(()) => error::transient(format!("the broker cancelled the consumer of the queue {name:?}")),
        }
    }

    /// Gives everything unsettled back by one word for each channel, then says good-bye.
    async fn leave(&self, session: Session, within: Duration) {
        let Session { connection, consumers, deliveries } = session;
        let giving_back = async {
            for (channel, tag) in &consumers {
                channel.basic_cancel(tag.clone(), BasicCancelOptions::default()).await?;
                // Tag 0: all of the channel. A closed channel would give it back as well, but count as a failure.
                channel.basic_nack(0, BasicNackOptions { multiple: true, requeue: true }).await?;
                channel.close(200, "closed".into()).await?;
            }
            lapin::Result::Ok(())
        };
        match self.env.timeout("giving deliveries back to rabbitmq", within, giving_back).await {
            Ok(Ok(())) => {}
            Ok(Err(cause)) => tracing::debug!(%cause, "rabbitmq: the broker takes everything back by itself"),
            Err(error) => tracing::debug!(%error, "rabbitmq: the broker takes everything back by itself"),
        }
        drop(deliveries);
        link::part(&self.env, connection, within).await;
    }

    fn waits(&self) -> ExponentialBackoff {
        ExponentialBuilder::default()
            .with_min_delay(RECONNECT_MIN)
            .with_max_delay(self.links.reconnect_max)
            .without_max_times()
            .with_jitter()
            .build()
    }

    /// False: it is time to stop.
    async fn wait(&mut self, waits: &mut ExponentialBackoff) -> bool {
        let wait = waits.next().unwrap_or(self.links.reconnect_max);
        self.unless_stopped(async |this: &Self| this.env.sleep(wait).await).await.is_some()
    }

    /// `None`: it is time to stop; what was under way is dropped.
    async fn unless_stopped<T>(&mut self, work: impl AsyncFnOnce(&Self) -> T) -> Option<T> {
        let mut stop = self.stop.clone();
        tokio::select! { biased;
            _ = stopped(&mut stop) => None,
            done = work(self) => Some(done),
        }
    }
}

/// Completes when it is time to stop, with how long that may take.
async fn stopped(stop: &mut watch::Receiver<Option<Duration>>) -> Duration {
    match stop.wait_for(Option::is_some).await {
        Ok(within) => within.unwrap_or(PARTING),
        // The handle is gone.
        Err(_) => PARTING,
    }
}
