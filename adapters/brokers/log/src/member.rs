//! A consumer's place in its group: signs of life, its share, and letting go in good order.
//!
//! One task per consumer, so that the member stays in the group while nobody pulls. Its own heartbeat
//! comes every third of the expiry; in between it looks whether the group's generation changed (a small
//! read), so that a new member has its share within a fraction of a second.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use keylane::broker::{Base, Partition};
use keylane::env::Instant;
use keylane::{Env, Error};
use keylane_sqlite::Database;
use tokio::sync::oneshot;

use crate::group::{Beat, Seat, beat, generation, release};
use crate::shared::Shared;

/// Between two looks at the group's generation.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Between two writes of committed bases; each costs a transaction.
const WRITE_EVERY: Duration = Duration::from_millis(500);

/// The task of one consumer.
pub(crate) struct Member {
    pub database: Arc<Database>,
    pub env: Env,
    pub seat: Seat,
    pub shared: Arc<Shared>,
    /// How long a handback may take before its partitions go without it.
    pub handback_max: Duration,
}

/// What it knows of its share.
struct Share {
    owned: BTreeSet<Partition>,
    generation: i64,
    next_beat: Instant,
    next_write: Instant,
    giving: Option<Giving>,
}

/// Partitions on their way to others; one such group at a time.
struct Giving {
    partitions: Vec<Partition>,
    stage: Stage,
}

enum Stage {
    /// The runtime was told and has until then.
    Asked(oneshot::Receiver<Vec<Base>>, Instant),
    /// It let go, or its time is up: these bases are to be written with the release.
    Answered(Vec<Base>),
}

enum Event {
    Leave,
    Answer(Vec<Base>),
    Overdue,
    Look,
}

impl Member {
    /// Runs until the consumer leaves, or its stream is gone.
    pub(crate) async fn run(self) {
        let now = self.env.now();
        let mut share =
            Share { owned: BTreeSet::new(), generation: 0, next_beat: now, next_write: now, giving: None };
        let mut event = Event::Look;
        loop {
            let done = match event {
                Event::Leave => break,
                Event::Answer(bases) => self.answered(&mut share, bases).await,
                Event::Overdue => self.overdue(&mut share).await,
                Event::Look => self.look(&mut share).await,
            };
            match done {
                Ok(()) => {}
                Err(error) if error.is_transient() => {
                    tracing::warn!(group = self.seat.name, %error, "a sign of life did not get through");
                }
                Err(error) => {
                    self.shared.fail(error);
                    return self.shared.has_left();
                }
            }
            event = self.next(&mut share).await;
        }
        let bases = self.shared.take_bases();
        if let Err(error) = release(&self.database, &self.seat, &bases, None).await {
            tracing::warn!(group = self.seat.name, %error, "could not leave the group; it goes on without us soon");
        }
        self.shared.has_left();
    }

    /// Waits, and does nothing else: whatever touches the database must not be dropped half-way.
    async fn next(&self, share: &mut Share) -> Event {
        let (answer, until) = match share.giving.as_mut().map(|giving| &mut giving.stage) {
            Some(Stage::Asked(answer, until)) => (Some(answer), Some(*until)),
            _ => (None, None),
        };
        // Leaving first; then an answer rather than its deadline; the pace last.
        tokio::select! { biased;
            () = self.shared.asked_to_leave() => Event::Leave,
            // Dropped unanswered means: nothing to commit.
            bases = async { answer.expect("polled only when there is one").await }, if until.is_some() => {
                Event::Answer(bases.unwrap_or_default())
            }
            () = self.env.sleep_until(until.unwrap_or_default()), if until.is_some() => Event::Overdue,
            () = self.env.sleep(LOOK_EVERY) => Event::Look,
        }
    }

    async fn look(&self, share: &mut Share) -> Result<(), Error> {
        if let Some(Giving { stage: Stage::Answered(bases), .. }) = &mut share.giving {
            let bases = std::mem::take(bases);
            self.release(share, bases).await?;
        }
        let now = self.env.now();
        if now >= share.next_write {
            share.next_write = now + WRITE_EVERY;
            self.write().await?;
        }
        if now >= share.next_beat || generation(&self.database, &self.seat).await? != share.generation {
            // Set before the beat: one that fails is repeated at the next look, not a third of an expiry later.
            share.next_beat = now;
            self.beat(share).await?;
            share.next_beat = now + self.seat.expiry / 3;
        }
        Ok(())
    }

    async fn beat(&self, share: &mut Share) -> Result<(), Error> {
        let Beat { joined, owned, moves, generation } =
            beat(&self.database, &self.seat, self.shared.is_behind()).await?;
        share.generation = generation;
        let lost: Vec<_> = share.owned.iter().copied().filter(|p| joined || !owned.contains(p)).collect();
        if !lost.is_empty() {
            tracing::warn!(group = self.seat.name, ?lost, "the group went on without this member");
            share.owned.retain(|p| !lost.contains(p));
            if share.giving.as_ref().is_some_and(|giving| giving.partitions.iter().any(|p| lost.contains(p)))
            {
                share.giving = None;
            }
            self.shared.lost(lost);
        }
        if !moves.take.is_empty() {
            share.owned.extend(&moves.take);
            self.shared.assigned(moves.take);
        }
        if !moves.give.is_empty() && share.giving.is_none() {
            let answer = self.shared.revoking(moves.give.clone());
            let until = self.env.now() + self.handback_max;
            share.giving = Some(Giving { partitions: moves.give, stage: Stage::Asked(answer, until) });
        }
        Ok(())
    }

    async fn answered(&self, share: &mut Share, handed_back: Vec<Base>) -> Result<(), Error> {
        let Some(giving) = &share.giving else { return Ok(()) };
        let bases = self.shared.last_bases(&giving.partitions, handed_back);
        self.release(share, bases).await
    }

    /// The runtime did not let go in time: it goes without it, and the runtime learns that it is too late.
    async fn overdue(&self, share: &mut Share) -> Result<(), Error> {
        let Some(giving) = &share.giving else { return Ok(()) };
        tracing::warn!(group = self.seat.name, partitions = ?giving.partitions, "no handback in time");
        let bases = self.shared.last_bases(&giving.partitions, Vec::new());
        self.shared.lost(giving.partitions.clone());
        self.release(share, bases).await
    }

    /// Lets go; where that fails it is tried again at the next look.
    async fn release(&self, share: &mut Share, bases: Vec<Base>) -> Result<(), Error> {
        let Some(giving) = &mut share.giving else { return Ok(()) };
        giving.stage = Stage::Answered(bases.clone());
        release(&self.database, &self.seat, &bases, Some(&giving.partitions)).await?;
        self.shared.let_go(&giving.partitions);
        share.owned.retain(|p| !giving.partitions.contains(p));
        share.giving = None;
        Ok(())
    }

    async fn write(&self) -> Result<(), Error> {
        let bases = self.shared.take_bases();
        if bases.is_empty() {
            return Ok(());
        }
        let written = release(&self.database, &self.seat, &bases, Some(&[])).await;
        if written.is_err() {
            self.shared.give_back(bases);
        }
        written
    }
}
