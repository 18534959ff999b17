//! Committing positions: a thread of its own, because only a blocking commit says what became of it.
//!
//! Many requests that arrive while one commit is under way become the next one. The table of live
//! epochs stands under the same lock, so that nothing is committed of a partition that was given up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use keylane::Error;
use keylane::broker::{Base, Partition};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;

use super::member::Member;
use crate::error;

/// Shared by the polling thread, the committing thread and the consumer's handle.
#[derive(Debug, Default)]
pub(super) struct Commits {
    state: Mutex<State>,
    wanted: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The epoch under which each partition is read.
    live: BTreeMap<Partition, u64>,
    offsets: BTreeMap<Partition, u64>,
    waiting: Vec<Waiting>,
    ended: bool,
}

type Waiting = oneshot::Sender<KafkaResult<()>>;

/// Resolves when what was asked for is committed.
pub(super) type Committed = oneshot::Receiver<KafkaResult<()>>;

impl Commits {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn started(&self, partition: Partition, epoch: u64) {
        self.state().live.insert(partition, epoch);
    }

    /// From now on nothing of these is accepted.
    pub(super) fn stopped(&self, partitions: &[Partition]) {
        let mut state = self.state();
        for partition in partitions {
            state.live.remove(partition);
            state.offsets.remove(partition);
        }
    }

    /// Asks for these bases; those of another epoch than the partition's are left out. `None`: there
    /// was nothing to do.
    pub(super) fn request(&self, bases: &[Base]) -> Result<Option<Committed>, Error> {
        self.ask(&mut self.state(), bases)
    }

    /// The last bases of partitions that are given up; nothing of them is accepted after.
    pub(super) fn request_last(&self, partitions: &[Partition], bases: &[Base]) -> Option<Committed> {
        let mut state = self.state();
        let own: Vec<Base> =
            bases.iter().copied().filter(|base| partitions.contains(&base.partition)).collect();
        let committed = self.ask(&mut state, &own).ok().flatten();
        for partition in partitions {
            state.live.remove(partition);
        }
        committed
    }

    /// Ends the committing thread after the commit under way; whoever waits is told.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        state.waiting.clear();
        drop(state);
        self.wanted.notify_one();
    }

    fn ask(&self, state: &mut State, bases: &[Base]) -> Result<Option<Committed>, Error> {
        if state.ended {
            return Err(error::closed("kafka consumer"));
        }
        let mut any = false;
        for base in bases {
            if state.live.get(&base.partition) == Some(&base.epoch) {
                let offset = state.offsets.entry(base.partition).or_default();
                *offset = base.offset.max(*offset);
                any = true;
            }
        }
        if !any {
            return Ok(None);
        }
        let (answer, committed) = oneshot::channel();
        // Those who gave up waiting make room; the rest are callers in `commit`.
        state.waiting.retain(|waiting| !waiting.is_closed());
        state.waiting.push(answer);
        self.wanted.notify_one();
        Ok(Some(committed))
    }

    /// Waits for the next offsets to commit; `None` at the end.
    fn next(&self) -> Option<(BTreeMap<Partition, u64>, Vec<Waiting>)> {
        let state = self.state();
        let idle = |s: &mut State| !s.ended && s.offsets.is_empty() && s.waiting.is_empty();
        let mut state = self.wanted.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
        (!state.ended).then(|| (std::mem::take(&mut state.offsets), std::mem::take(&mut state.waiting)))
    }
}

/// The committing thread.
pub(super) fn run(commits: &Commits, consumer: &BaseConsumer<Member>, topic: &str) {
    while let Some((offsets, waiting)) = commits.next() {
        let result = commit(consumer, topic, &offsets);
        if let Err(cause) = &result {
            let partitions: BTreeSet<_> = offsets.keys().collect();
            tracing::warn!(topic, ?partitions, error = %cause, "kafka did not take the committed positions");
        }
        for answer in waiting {
            drop(answer.send(result.clone()));
        }
    }
}

/// The offset of a base is the next one to read, which is what a list takes as it is.
fn commit(
    consumer: &BaseConsumer<Member>,
    topic: &str,
    offsets: &BTreeMap<Partition, u64>,
) -> KafkaResult<()> {
    if offsets.is_empty() {
        return Ok(());
    }
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for (partition, offset) in offsets {
        let offset = i64::try_from(*offset).map_or(Offset::Invalid, Offset::Offset);
        list.add_partition_offset(topic, super::native(*partition), offset)?;
    }
    consumer.commit(&list, CommitMode::Sync)
}

/// What the committing thread said, as the runtime's error.
pub(super) fn outcome(
    topic: &str,
    said: Result<KafkaResult<()>, oneshot::error::RecvError>,
) -> Result<(), Error> {
    match said {
        Ok(Ok(())) => Ok(()),
        Ok(Err(cause)) => Err(error::error(format!("committing positions of {topic:?}"), cause)),
        Err(_) => Err(error::error(format!("committing positions of {topic:?}"), KafkaError::Canceled)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(partition: u32, epoch: u64, offset: u64) -> Base {
        Base { partition, epoch, offset }
    }

    #[test]
    fn stale_settle_is_harmless() {
        let commits = Commits::default();
        commits.started(0, 7);
        assert!(commits.request(&[base(0, 6, 10)]).unwrap().is_none());
        assert!(commits.request(&[base(1, 7, 10)]).unwrap().is_none());
        let both = [commits.request(&[base(0, 7, 10)]).unwrap(), commits.request(&[base(0, 7, 8)]).unwrap()];
        let (offsets, waiting) = commits.next().unwrap();
        assert_eq!((offsets.get(&0), waiting.len()), (Some(&10), both.iter().flatten().count()));
    }

    #[test]
    fn nothing_is_accepted_after_the_last_base() {
        let commits = Commits::default();
        commits.started(0, 7);
        commits.started(1, 7);
        assert!(commits.request_last(&[0], &[base(0, 7, 10), base(1, 7, 3)]).is_some());
        assert!(commits.request(&[base(0, 7, 9)]).unwrap().is_none());
        let (offsets, _) = commits.next().unwrap();
        assert_eq!(offsets.into_iter().collect::<Vec<_>>(), [(0, 10)]);
        assert!(commits.request(&[base(1, 7, 3)]).unwrap().is_some());
    }
}
