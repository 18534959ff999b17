//! Tells the broker what became of deliveries, in a task of its own.
//!
//! Of its own, because the words of one channel have an order that decides what they mean: an acknowledgement of all up to
//! a tag takes along what should have been given back by a word that was never sent. A caller may stop waiting at any
//! time; this task does not.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use keylane::Env;
use keylane::delivery::Settled;
use keylane::env::Instant;
use lapin::Acker;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use tokio::sync::{mpsc, oneshot, watch};

use super::inbox::{Inbox, Word, queue_of};
use super::window::Due;

/// Calls of `settle` that may wait.
pub(super) const CALLS: usize = 64;

/// How long a finished delivery is held back for one before it that still runs, while nothing else is settled.
const HELD_FOR: Duration = Duration::from_millis(50);

/// The same while other deliveries are settled all the time: each may be the one that it waits for.
const HELD_LONGEST: Duration = Duration::from_secs(1);

/// What became of a batch. An empty one tells what is held back.
pub(super) struct Call {
    pub(super) batch: Vec<Settled>,
    /// The tickets that the broker doesn't know any more.
    pub(super) answer: oneshot::Sender<Vec<u64>>,
}

pub(super) struct Settler {
    pub(super) env: Env,
    pub(super) inbox: Arc<Inbox>,
    pub(super) calls: mpsc::Receiver<Call>,
    /// How long telling may take.
    pub(super) limit: Duration,
    /// Since when something has been held back all the time.
    pub(super) held_since: Option<Instant>,
}

/// One call's tickets that the broker is being told of.
struct Telling {
    answer: oneshot::Sender<Vec<u64>>,
    told: Vec<u64>,
    lost: Vec<u64>,
}

impl Settler {
    /// Until nobody can call any more.
    pub(super) async fn run(mut self) {
        loop {
            let timer = self.env.sleep(HELD_FOR);
            // Biased: what is held back is told by the next call as well.
            let call = tokio::select! { biased;
                call = self.calls.recv() => call,
                () = timer, if self.inbox.holds() => {
                    let mut ends = self.inbox.ends();
                    self.tell(Vec::new(), true, &mut ends).await;
                    continue;
                }
            };
            let Some(call) = call else { return };
            self.serve(call).await;
        }
    }

    /// This call and all that wait behind it: together they make longer prefixes.
    async fn serve(&mut self, first: Call) {
        let mut ends = self.inbox.ends();
        let (mut all, mut words, mut tellings) = (self.held_for_long(), Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(Call { batch, answer }) = next {
            all |= batch.is_empty();
            let mut telling = Telling { answer, told: Vec::with_capacity(batch.len()), lost: Vec::new() };
            for Settled { ticket, settlement } in batch {
                match self.inbox.settle(ticket.number(), settlement) {
                    Ok(word) => {
                        words.extend(word.map(|word| (queue_of(ticket.number()), word)));
                        telling.told.push(ticket.number());
                    }
                    Err(()) => telling.lost.push(ticket.number()),
                }
            }
            tellings.push(telling);
            next = if tellings.len() < CALLS { self.calls.try_recv().ok() } else { None };
        }
        let dead = self.tell(words, all, &mut ends).await;
        for Telling { answer, told, mut lost } in tellings {
            lost.extend(told.into_iter().filter(|ticket| dead.contains(&queue_of(*ticket))));
            // Whoever asked may have gone.
            drop(answer.send(lost));
        }
    }

    fn held_for_long(&self) -> bool {
        self.held_since.is_some_and(|since| self.env.now().since(since) >= HELD_LONGEST)
    }

    /// Says these words, then what is due. The queues of which the broker could not be told come back: their channel is
    /// dead, and with it all that it delivered.
    async fn tell(
        &mut self,
        words: Vec<(usize, Word)>,
        all: bool,
        ends: &mut watch::Receiver<u64>,
    ) -> Vec<usize> {
        let due = self.inbox.due(all);
        self.held_since = match self.held_since.filter(|_| !all) {
            _ if !self.inbox.holds() => None,
            since => since.or_else(|| Some(self.env.now())),
        };
        let queues =
            due.iter().map(|(queue, _)| *queue).chain(words.iter().map(|(queue, _)| *queue)).collect();
        let telling = async {
            let mut dead: Vec<usize> = join_all(words.into_iter().map(|(queue, word)| say(queue, word)))
                .await
                .into_iter()
                .flatten()
                .collect();
            dead.extend(
                join_all(due.into_iter().map(|(queue, due)| acknowledge(queue, due)))
                    .await
                    .into_iter()
                    .flatten(),
            );
            dead
        };
        // Biased: what could be told was told. A word that was under way when its connection ended is never answered.
        let telling = async {
            tokio::select! { biased;
                dead = telling => Some(dead),
                _ = ends.changed() => None,
            }
        };
        match self.env.timeout("settling deliveries of rabbitmq", self.limit, telling).await {
            Ok(Some(dead)) => dead,
            Ok(None) => queues,
            Err(error) => {
                tracing::warn!(%error, "rabbitmq: settlements are lost; their deliveries come again");
                queues
            }
        }
    }
}

/// `Some`: the queue, if its channel is dead.
async fn say(queue: usize, word: Word) -> Option<usize> {
    let said = match word {
        Word::GiveBack(acker) => acker.nack(BasicNackOptions { requeue: true, multiple: false }).await,
        Word::Reject(acker) => acker.reject(BasicRejectOptions { requeue: false }).await,
    };
    (!matches!(said, Ok(true))).then_some(queue)
}

/// `Ok(false)` is no success: the channel is gone.
async fn acknowledge(queue: usize, due: Due<Acker>) -> Option<usize> {
    let ack =
        async |acker: Acker, multiple| matches!(acker.ack(BasicAckOptions { multiple }).await, Ok(true));
    let single = join_all(due.single.into_iter().map(|acker| ack(acker, false))).await;
    let mut alive = single.into_iter().all(|alive| alive);
    if let Some(acker) = due.up_to {
        alive &= ack(acker, true).await;
    }
    (!alive).then_some(queue)
}

#[cfg(test)]
mod tests {
    use keylane::broker::Pulled;
    use keylane::delivery::{Delivery, Settlement};
    use keylane::event::Record;

    use super::super::inbox::Arrival;
    use super::*;

    /// An inbox with so many deliveries of one queue, and the right to settle each of them at the broker.
    fn full(count: u64, held_max: usize) -> (Arc<Inbox>, Vec<Delivery>, Vec<Acker>) {
        let inbox = Arc::new(Inbox::default());
        inbox.open(1, held_max);
        let mock = |tag| lapin::message::Delivery::mock(tag, "".into(), "".into(), false, Vec::new()).acker;
        let ackers: Vec<Acker> = (1..=count).map(mock).collect();
        let arrival = |acker| Arrival { queue: 0, record: Record::new(""), attempt: None, acker };
        inbox.put(ackers.iter().cloned().map(arrival).collect());
        match inbox.take(1_000) {
            Some(Ok(Pulled::Deliveries(deliveries))) => (inbox, deliveries, ackers),
            other => panic!("{other:?}"),
        }
    }

    async fn settle(inbox: &Arc<Inbox>, batch: Vec<Settled>) -> Vec<u64> {
        let (calls, queue) = mpsc::channel(1);
        let limit = Duration::from_secs(60);
        let env = Env::tokio();
        let settler = Settler { env, inbox: Arc::clone(inbox), calls: queue, limit, held_since: None };
        let (answer, lost) = oneshot::channel();
        calls.send(Call { batch, answer }).await.expect("the settler listens");
        drop(calls);
        settler.run().await;
        lost.await.expect("an answer")
    }

    #[tokio::test]
    async fn what_a_dead_channel_can_not_be_told_is_lost() {
        for settlement in [Settlement::Ack, Settlement::Release, Settlement::Reject] {
            let (inbox, deliveries, ackers) = full(2, 0);
            // A spent acker answers `Ok(false)`, as one of a dead channel does.
            for acker in &ackers {
                assert!(acker.ack(BasicAckOptions::default()).await.expect("a mock"));
            }
            let settled = deliveries.into_iter().map(|delivery| delivery.settle(settlement)).collect();
            assert_eq!(settle(&inbox, settled).await.len(), 2, "{settlement:?}");
        }
    }

    #[tokio::test]
    async fn a_prefix_is_one_word_and_the_rest_is_told_by_itself() {
        let (inbox, deliveries, ackers) = full(5, 0);
        let finished = deliveries.into_iter().filter(|delivery| delivery.place.offset != 2);
        let settled = finished.map(|delivery| delivery.settle(Settlement::Ack)).collect();
        assert_eq!(settle(&inbox, settled).await, [0; 0]);
        let said: Vec<bool> = ackers.iter().map(|acker| !acker.usable()).collect();
        // The second one's word took the first along; nothing was said of the third, which is open.
        assert_eq!(said, [false, true, false, true, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_an_open_delivery_is_told_in_time_whatever_else_is_settled() {
        let (inbox, mut deliveries, ackers) = full(200, 1_000);
        // The first one runs on.
        let _open = deliveries.remove(0);
        let (calls, queue) = mpsc::channel(1);
        let limit = Duration::from_secs(60);
        let settler = Settler { env: Env::tokio(), inbox, calls: queue, limit, held_since: None };
        let settling = tokio::spawn(settler.run());
        let mut told_at = None;
        for (count, delivery) in deliveries.into_iter().enumerate() {
            let (answer, lost) = oneshot::channel();
            let batch = vec![delivery.settle(Settlement::Ack)];
            calls.send(Call { batch, answer }).await.expect("the settler listens");
            assert_eq!(lost.await.expect("an answer"), [0; 0]);
            if !ackers[1].usable() {
                told_at.get_or_insert(count);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(
            told_at.is_some_and(|count| (50..=100).contains(&count)),
            "{told_at:?}, ten milliseconds apart"
        );
        assert!(ackers[0].usable(), "nobody said anything of the first one");
        drop(calls);
        settling.await.expect("it ends with its callers");
    }
}
