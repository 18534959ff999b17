//! Which partitions the group gave us, which of them we read, and how we let go of them.
//!
//! The group's assignment and what is fetched are two lists in librdkafka. An assigned partition is
//! acknowledged at once and fetched only when `start` names its offset: until then there is nothing to
//! seek away from, and the broker's committed offset is never asked for. A revoked one is unassigned
//! when the runtime has let go, while polling goes on; librdkafka holds still the others' fetch until
//! then, which is why the wait is bounded.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use keylane::broker::{Base, Handback, Partition, Start};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot::error::TryRecvError as Pending;

use super::commits::{Commits, Committed};
use super::inbox::Inbox;
use super::member::{Member, Turn};

/// The polling thread's view of the group.
pub(super) struct Assignment {
    topic: Arc<str>,
    commits: Arc<Commits>,
    revoke_limit: Duration,
    commit_limit: Duration,
    /// Given to us by the group and not being given up.
    ours: BTreeSet<Partition>,
    /// Fetched by librdkafka.
    reading: BTreeSet<Partition>,
    /// Which of those are paused in librdkafka.
    halted: BTreeSet<Partition>,
    /// By partition: what may be delivered of it. Looked up for every record.
    readers: Vec<Option<Reader>>,
    leaving: Option<Leaving>,
}

#[derive(Debug, Clone, Copy)]
struct Reader {
    epoch: u64,
    next: u64,
}

/// A revocation in progress.
struct Leaving {
    partitions: Vec<Partition>,
    deadline: Instant,
    stage: Stage,
}

enum Stage {
    /// Until the runtime has let go.
    Answer(Receiver<Vec<Base>>),
    /// Until the last bases are committed.
    Commit(Committed),
}

impl Assignment {
    pub(super) fn new(
        topic: Arc<str>,
        commits: Arc<Commits>,
        revoke_limit: Duration,
        commit_limit: Duration,
    ) -> Self {
        Self {
            topic,
            commits,
            revoke_limit,
            commit_limit,
            ours: BTreeSet::new(),
            reading: BTreeSet::new(),
            halted: BTreeSet::new(),
            readers: Vec::new(),
            leaving: None,
        }
    }

    /// Where a record belongs, or nothing when it must not be delivered: not started, given up, or
    /// read before.
    pub(super) fn expect(&mut self, partition: i32, offset: i64) -> Option<(Partition, u64, u64)> {
        let (partition, offset) = (Partition::try_from(partition).ok()?, u64::try_from(offset).ok()?);
        let reader = self.readers.get_mut(partition as usize)?.as_mut()?;
        if offset < reader.next {
            return None;
        }
        reader.next = offset + 1;
        Some((partition, reader.epoch, offset))
    }

    /// Begins to fetch, each partition exactly at its offset. One that is not ours any more is passed
    /// over: its change is on the way. So is one of a claim that is over.
    pub(super) fn start(
        &mut self,
        consumer: &BaseConsumer<Member>,
        inbox: &Inbox,
        starts: &[Start],
    ) -> KafkaResult<()> {
        let starts: Vec<&Start> = starts
            .iter()
            .filter(|start| self.ours.contains(&start.partition) && !self.is_stale(start))
            .collect();
        let mut fresh = TopicPartitionList::with_capacity(starts.len());
        for start in &starts {
            let (partition, offset) = (super::native(start.partition), offset(start.offset));
            if self.reading.contains(&start.partition) {
                // Unassigning and assigning anew could be taken for the answer to a revocation that
                // is on its way.
                inbox.discard(&[start.partition]);
                consumer.seek(&self.topic, partition, offset, self.commit_limit)?;
            } else {
                fresh.add_partition_offset(&self.topic, partition, offset)?;
            }
        }
        if fresh.count() > 0 {
            consumer.incremental_assign(&fresh)?;
        }
        for start in starts {
            let at = start.partition as usize;
            if self.readers.len() <= at {
                self.readers.resize(at + 1, None);
            }
            self.readers[at] = Some(Reader { epoch: start.epoch, next: start.offset });
            self.reading.insert(start.partition);
            self.commits.started(start.partition, start.epoch);
        }
        Ok(())
    }

    /// Of a claim that is over, while a later one reads already.
    fn is_stale(&self, start: &Start) -> bool {
        let reader = self.readers.get(start.partition as usize).and_then(Option::as_ref);
        reader.is_some_and(|reader| reader.epoch > start.epoch)
    }

    /// Serves what the group decided, one turn after the other.
    pub(super) fn serve(&mut self, consumer: &BaseConsumer<Member>, inbox: &Arc<Inbox>) {
        loop {
            if let Some(leaving) = self.leaving.take()
                && let Some(leaving) = self.proceed(consumer, leaving)
            {
                self.leaving = Some(leaving);
                return;
            }
            match consumer.context().turn() {
                None => return,
                Some(Turn::Assigned(partitions)) => self.assigned(consumer, inbox, partitions),
                Some(Turn::Revoked { partitions, lost: true }) => self.lost(consumer, inbox, &partitions),
                Some(Turn::Revoked { partitions, lost: false }) => self.revoking(inbox, partitions),
            }
        }
    }

    /// Stops or resumes fetching: of paused partitions of which enough is ahead, and of all when
    /// `stalled`.
    pub(super) fn halt(&mut self, consumer: &BaseConsumer<Member>, inbox: &Inbox, stalled: bool) {
        let wanted = if stalled { self.reading.clone() } else { inbox.to_halt(&self.halted, &self.reading) };
        if wanted == self.halted {
            return;
        }
        let stop: Vec<_> = wanted.difference(&self.halted).copied().collect();
        let go_on: Vec<_> = self.halted.difference(&wanted).copied().collect();
        let done = consumer.pause(&self.list(&stop)).and_then(|()| consumer.resume(&self.list(&go_on)));
        match done {
            Ok(()) => self.halted = wanted,
            Err(error) => tracing::warn!(topic = &*self.topic, %error, "kafka: pausing failed; trying again"),
        }
    }

    /// Ends a revocation that nobody will wait for any more, so that the consumer can be dropped.
    pub(super) fn give_up(&mut self, consumer: &BaseConsumer<Member>) {
        if let Some(Leaving { partitions, .. }) = self.leaving.take() {
            self.let_go(consumer, &partitions);
        }
    }

    fn assigned(&mut self, consumer: &BaseConsumer<Member>, inbox: &Inbox, partitions: Vec<Partition>) {
        // Acknowledged empty: fetched is only what `start` names.
        if let Err(cause) = consumer.incremental_assign(&TopicPartitionList::new()) {
            tracing::warn!(topic = &*self.topic, error = %cause, "kafka: acknowledging an assignment failed");
        }
        self.ours.extend(&partitions);
        if !partitions.is_empty() {
            inbox.assigned(partitions);
        }
    }

    fn lost(&mut self, consumer: &BaseConsumer<Member>, inbox: &Inbox, partitions: &[Partition]) {
        self.close(partitions);
        self.commits.stopped(partitions);
        inbox.lost(partitions);
        self.let_go(consumer, partitions);
    }

    fn revoking(&mut self, inbox: &Arc<Inbox>, partitions: Vec<Partition>) {
        self.close(&partitions);
        let (tell, answer) = sync_channel(1);
        let nudged = Arc::clone(inbox);
        inbox.revoking(
            &partitions,
            Handback::new(move |bases| {
                drop(tell.try_send(bases));
                nudged.nudge();
            }),
        );
        let deadline = Instant::now() + self.revoke_limit;
        self.leaving = Some(Leaving { partitions, deadline, stage: Stage::Answer(answer) });
    }

    /// One step of a revocation; `None` when it is over.
    fn proceed(&mut self, consumer: &BaseConsumer<Member>, leaving: Leaving) -> Option<Leaving> {
        let Leaving { partitions, deadline, stage } = leaving;
        let late = Instant::now() >= deadline;
        match stage {
            Stage::Answer(answer) => {
                let bases = match answer.try_recv() {
                    Ok(bases) => bases,
                    Err(TryRecvError::Empty) if !late => {
                        return Some(Leaving { partitions, deadline, stage: Stage::Answer(answer) });
                    }
                    Err(TryRecvError::Disconnected) => Vec::new(),
                    Err(TryRecvError::Empty) => {
                        tracing::warn!(
                            topic = &*self.topic,
                            ?partitions,
                            "kafka: no handback within revoke_limit"
                        );
                        Vec::new()
                    }
                };
                let Some(committed) = self.commits.request_last(&partitions, &bases) else {
                    self.let_go(consumer, &partitions);
                    return None;
                };
                let deadline = Instant::now() + self.commit_limit;
                self.proceed(consumer, Leaving { partitions, deadline, stage: Stage::Commit(committed) })
            }
            Stage::Commit(mut committed) => {
                if matches!(committed.try_recv(), Err(Pending::Empty)) && !late {
                    return Some(Leaving { partitions, deadline, stage: Stage::Commit(committed) });
                }
                self.let_go(consumer, &partitions);
                None
            }
        }
    }

    /// Nothing more is delivered of these, though they are still fetched.
    fn close(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            self.ours.remove(partition);
            if let Some(reader) = self.readers.get_mut(*partition as usize) {
                *reader = None;
            }
        }
    }

    /// Unassigns; this is the call the group waits for, so it comes also when the list is empty. A
    /// pause would outlast it in librdkafka, so it is taken back first.
    fn let_go(&mut self, consumer: &BaseConsumer<Member>, partitions: &[Partition]) {
        self.commits.stopped(partitions);
        let fetched: Vec<_> = partitions.iter().copied().filter(|p| self.reading.remove(p)).collect();
        let paused: Vec<_> = partitions.iter().copied().filter(|p| self.halted.remove(p)).collect();
        let done = consumer.resume(&self.list(&paused));
        if let Err(error) = done.and_then(|()| consumer.incremental_unassign(&self.list(&fetched))) {
            tracing::warn!(topic = &*self.topic, ?partitions, %error, "kafka: letting go failed");
        }
    }

    fn list(&self, partitions: &[Partition]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(&self.topic, super::native(*partition));
        }
        list
    }
}

fn offset(next: u64) -> Offset {
    i64::try_from(next).map_or(Offset::Invalid, Offset::Offset)
}
