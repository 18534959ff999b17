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
use lapin::Acker;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use tokio::sync::{mpsc, oneshot};

use super::inbox::{Inbox, Word, queue_of};
use super::window::Due;

/// Calls of `settle` that may wait.
pub(super) const CALLS: usize = 64;

/// How long a finished delivery is held back for one before it that still runs.
const HELD_FOR: Duration = Duration::from_millis(50);

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
    /// Finished deliveries that may be held back.
    pub(super) held_max: usize,
    /// How long telling may take.
    pub(super) limit: Duration,
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
                    self.tell(Vec::new(), 0).await;
                    continue;
                }
            };
            let Some(call) = call else { return };
            self.serve(call).await;
        }
    }

    /// This call and all that wait behind it: together they make longer prefixes.
    async fn serve(&mut self, first: Call) {
        let (mut held_max, mut words, mut tellings) = (self.held_max, Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(Call { batch, answer }) = next {
            if batch.is_empty() {
                held_max = 0;
            }
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
        let dead = self.tell(words, held_max).await;
        for Telling { answer, told, mut lost } in tellings {
            lost.extend(told.into_iter().filter(|ticket| dead.contains(&queue_of(*ticket))));
            // Whoever asked may have gone.
            drop(answer.send(lost));
        }
    }

    /// Says these words, then what is due. The queues of which the broker could not be told come back: their channel is
    /// dead, and with it all that it delivered.
    async fn tell(&self, words: Vec<(usize, Word)>, held_max: usize) -> Vec<usize> {
        let due = self.inbox.due(held_max);
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
        match self.env.timeout("settling deliveries of rabbitmq", self.limit, telling).await {
            Ok(dead) => dead,
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
