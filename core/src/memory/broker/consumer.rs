//! A member of a group.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::pull::{Look, look};
use super::server::{Group, News, Reading, Source};
use super::{MemoryBroker, away, capabilities, unknown_source};
use crate::broker::{
    Base, Bounds, Capabilities, Change, Consumer, ConsumerSpec, Handback, Partition, Pulled, Reset, Start,
};
use crate::delivery::{Settled, Ticket};
use crate::env::Env;
use crate::error::{Error, ErrorKind};

pub(super) struct MemoryConsumer {
    seat: Seat,
    reset: Reset,
    left: AtomicBool,
}

/// What finds a member on the server.
#[derive(Clone)]
struct Seat {
    server: MemoryBroker,
    env: Env,
    source: Arc<str>,
    group: Arc<str>,
    member: u64,
    /// How many the source had at the start.
    partitions: u32,
}

impl MemoryConsumer {
    pub(super) fn join(server: &MemoryBroker, env: &Env, spec: &ConsumerSpec) -> Result<Self, Error> {
        let limit = server.handback_by(env);
        let (member, partitions) = server.change(|state| {
            if state.away {
                return Err(away());
            }
            let member = state.number();
            let source = state.sources.get_mut(&*spec.source).ok_or_else(|| unknown_source(&spec.source))?;
            let group = source.groups.entry(spec.group.to_string()).or_default();
            let partitions = source.partitions.len();
            group.join(member, partitions, limit);
            Ok((member, u32::try_from(partitions).unwrap_or(u32::MAX)))
        })?;
        let (source, group) = (spec.source.clone(), spec.group.clone());
        let seat = Seat { server: server.clone(), env: env.clone(), source, group, member, partitions };
        Ok(Self { seat, reset: spec.reset, left: AtomicBool::new(false) })
    }

    /// Leaves the group, once.
    pub(super) fn leave(&self) {
        if !self.left.swap(true, Ordering::SeqCst) {
            let limit = self.seat.server.handback_by(&self.seat.env);
            self.seat.with_group(|group| group.leave(self.seat.member, limit));
        }
    }

    fn look(&self, credits: usize) -> Result<Look, Error> {
        if self.left.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Closed, "this consumer was closed"));
        }
        let Seat { server, env, member, .. } = &self.seat;
        let (now, limit) = (env.now(), server.0.handback_limit);
        let overdue = |group: &Group| group.deadline().is_some_and(|deadline| deadline <= now);
        if server.state().group_mut(&self.seat.source, &self.seat.group).is_some_and(|group| overdue(group)) {
            self.seat.with_group(|group| group.expire(now, limit));
        }
        let found = self.seat.with_source(|source| look(source, &self.seat.group, *member, credits))?;
        Ok(found.unwrap_or_else(|| self.rejoin()))
    }

    /// A source that was deleted and created again has none of the groups from before: this member loses what it
    /// had and joins anew. What the partitions hold now is for their next claims to judge (rule L2).
    fn rejoin(&self) -> Look {
        let Seat { server, env, source, group, member, partitions } = &self.seat;
        let limit = server.handback_by(env);
        server.change(|state| {
            if let Some(source) = state.sources.get_mut(&**source) {
                let count = source.partitions.len();
                source.groups.entry(group.to_string()).or_default().join(*member, count, limit);
            }
        });
        Look::Change(News::Lost((0..*partitions).collect()))
    }
}

impl Seat {
    /// Changes the group and wakes who waits.
    fn with_group<T>(&self, change: impl FnOnce(&mut Group) -> T) -> Option<T> {
        self.server.change(|state| state.group_mut(&self.source, &self.group).map(change))
    }

    /// The source, where it can be reached; wakes nobody.
    fn with_source<T>(&self, read: impl FnOnce(&mut Source) -> T) -> Result<T, Error> {
        let mut state = self.server.state();
        if state.away {
            return Err(away());
        }
        state.sources.get_mut(&*self.source).map(read).ok_or_else(|| unknown_source(&self.source))
    }

    fn change(&self, news: News) -> Change {
        match news {
            News::Assigned(partitions) => Change::Assigned(partitions),
            News::Lost(partitions) => Change::Lost(partitions),
            News::Broken { partition, reading, low } => {
                let what = format!(
                    "the records of {:?}/{partition} from {} on expired before they were read; the first still there is {low}",
                    self.source, reading.next
                );
                Change::Broken {
                    partition,
                    epoch: reading.epoch,
                    error: Error::new(ErrorKind::LogChanged, what),
                }
            }
            News::Revoking(partitions) => {
                let (seat, gone) = (self.clone(), partitions.clone());
                let handback = Handback::new(move |bases| seat.hand_back(&gone, bases));
                Change::Revoking { partitions, handback }
            }
        }
    }

    fn hand_back(&self, gone: &[Partition], bases: Vec<Base>) {
        let limit = self.server.handback_by(&self.env);
        // Bases can't reach a server that is away; it passes the partitions on by itself.
        let bases = if self.server.state().away { Vec::new() } else { bases };
        self.with_group(|group| group.handed_back(self.member, gone, &bases, limit));
    }
}

#[async_trait]
impl Consumer for MemoryConsumer {
    fn capabilities(&self) -> Capabilities {
        capabilities()
    }

    async fn pull(&self, credits: usize) -> Result<Pulled, Error> {
        loop {
            // Listened to before the look: what changes during it is looked for again.
            let mut changed = std::pin::pin!(self.seat.server.0.changed.notified());
            changed.as_mut().enable();
            let deadline = match self.look(credits)? {
                Look::Change(news) => return Ok(Pulled::Change(self.seat.change(news))),
                Look::Deliveries(deliveries) => return Ok(Pulled::Deliveries(deliveries)),
                Look::Nothing(deadline) => deadline,
            };
            let overdue = async {
                match deadline {
                    Some(deadline) => self.seat.env.sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            // Biased: a change is news, the deadline only lets this member look at the clock.
            tokio::select! { biased;
                () = changed => {}
                () = overdue => {}
            }
        }
    }

    async fn start(&self, starts: Vec<Start>) -> Result<(), Error> {
        let member = self.seat.member;
        self.seat.with_group(|group| {
            for Start { partition, offset, epoch } in starts {
                let held = group.has(member, partition);
                if let Some(member) = group.members.get_mut(&member).filter(|_| held) {
                    // A start of an older claim comes late, and means nothing any more.
                    if member.reading.get(&partition).is_some_and(|reading| reading.epoch > epoch) {
                        continue;
                    }
                    member.paused.remove(&partition);
                    member.reading.insert(partition, Reading { next: offset, epoch, broken: false });
                }
            }
        });
        Ok(())
    }

    async fn bounds(&self, partition: Partition) -> Result<Bounds, Error> {
        let bounds = self.seat.with_source(|source| {
            let log = source.partitions.get(partition as usize)?;
            let partitions = u32::try_from(source.partitions.len()).unwrap_or(u32::MAX);
            Some(Bounds {
                low: log.low(),
                high: log.high(),
                identity: Some(source.identity.clone()),
                partitions,
            })
        })?;
        bounds.ok_or_else(|| unknown_partition(&self.seat.source, partition))
    }

    async fn origin(&self, partition: Partition) -> Result<u64, Error> {
        let origin = self.seat.with_source(|source| {
            source.partitions.get(partition as usize).map(|log| log.origin(self.reset))
        })?;
        origin.ok_or_else(|| unknown_partition(&self.seat.source, partition))
    }

    async fn settle(&self, _batch: Vec<Settled>) -> Result<Vec<u64>, Error> {
        // The base of a partition is all that this broker is told.
        Ok(Vec::new())
    }

    async fn commit(&self, bases: Vec<Base>) -> Result<(), Error> {
        self.seat.with_source(|source| {
            if let Some(group) = source.groups.get_mut(&*self.seat.group) {
                group.commit(self.seat.member, &bases);
            }
        })
    }

    async fn extend(&self, _tickets: &[Ticket], _by: Duration) -> Result<(), Error> {
        // Deliveries of this broker have no deadline.
        Ok(())
    }

    fn pause(&self, partitions: Option<&[Partition]>) {
        self.seat.with_group(|group| {
            let all: Vec<Partition> = group.holds.keys().copied().collect();
            if let Some(member) = group.members.get_mut(&self.seat.member) {
                member.paused.extend(partitions.unwrap_or(&all));
            }
        });
    }

    fn resume(&self, partitions: Option<&[Partition]>) {
        self.seat.with_group(|group| {
            if let Some(member) = group.members.get_mut(&self.seat.member) {
                member.paused.retain(|at| partitions.is_some_and(|some| !some.contains(at)));
            }
        });
    }

    async fn close(&self, _within: Duration) {
        self.leave();
    }
}

impl Drop for MemoryConsumer {
    /// A worker that died: its partitions are free at once, and nothing is committed.
    fn drop(&mut self) {
        self.leave();
    }
}

fn unknown_partition(source: &str, partition: Partition) -> Error {
    Error::new(ErrorKind::LogChanged, format!("source {source:?} has no partition {partition}"))
}
