//! One consumer shared by several homes (rule S10).
//!
//! A *home* is one database, with a worker of its own over it: session, promise, claims, leases, positions. All homes
//! of a process read a subscription's source through one member of the broker's group: a [`Spread`] pulls from it and
//! gives each home, through its [`Share`], the events whose key hashes there. To its worker a share is a consumer like
//! any other. In reading order:
//!
//! - `home` says where an event belongs;
//! - `readers` is what is known of partitions: one `reader` each, a position in the log that all homes are served from,
//!   with a `seat` for each home; `lines` is the same for brokers without partitions;
//! - `pump` pulls, `share` is what a worker sees, `mail` what it is told before deliveries, `handback` joins the answers
//!   to a revocation.
//!
//! A home that is slow or away stops nobody: what it does not take is left out, and read again for it later.

mod handback;
mod home;
mod lines;
mod mail;
mod pump;
mod reader;
mod readers;
mod seat;
mod share;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::broker::Consumer;
use crate::env::{Env, Instant};
use crate::event::Decoder;
use handback::Revocation;
pub(crate) use home::fnv;
use lines::Lines;
use mail::Mail;
use readers::Readers;
pub(crate) use seat::Passed;
pub(crate) use share::Share;

pub(crate) struct Spread {
    env: Env,
    real: Arc<dyn Consumer>,
    decoder: Decoder,
    homes: Vec<Post>,
    state: Mutex<State>,
    /// Held while the broker is told how far partitions are finished.
    telling: tokio::sync::Mutex<()>,
    /// Wakes the task that pulls.
    stirred: Notify,
    /// Cancelled when nothing more is to be pulled.
    stopped: CancellationToken,
}

/// Wakes a home's worker.
#[derive(Default)]
struct Post {
    arrived: Notify,
    passed: Notify,
}

struct State {
    mail: Vec<Mail>,
    kind: Kind,
    /// What not all homes have answered yet, since when.
    revoking: Vec<(Instant, Revocation)>,
}

enum Kind {
    Partitions(Readers),
    Each(Lines),
}

/// What may wait for one home's worker to take it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    /// Deliveries without room that are kept for a while before they go back to a broker without partitions.
    pub(crate) kept: usize,
}

/// How long giving back may take that no worker took.
const BACK_WITHIN: Duration = Duration::from_secs(1);

impl Spread {
    /// Shares a consumer among `homes`, of which each has this room.
    pub(crate) fn new(
        env: Env,
        real: Arc<dyn Consumer>,
        decoder: Decoder,
        homes: usize,
        room: Room,
    ) -> Arc<Self> {
        let can = real.capabilities();
        let kind = if can.partitions {
            Kind::Partitions(Readers::new(homes, room))
        } else {
            Kind::Each(Lines::new(homes, room, can.ordered))
        };
        Arc::new(Self {
            env,
            real,
            decoder,
            homes: (0..homes).map(|_| Post::default()).collect(),
            state: Mutex::new(State {
                mail: (0..homes).map(|_| Mail::default()).collect(),
                kind,
                revoking: Vec::new(),
            }),
            telling: tokio::sync::Mutex::new(()),
            stirred: Notify::new(),
            stopped: CancellationToken::new(),
        })
    }

    /// What each home's worker reads by.
    pub(crate) fn shares(self: &Arc<Self>) -> Vec<Arc<Share>> {
        (0..self.homes.len()).map(|home| Arc::new(Share::new(self.clone(), home))).collect()
    }

    /// Begins to pull.
    pub(crate) fn begin(self: &Arc<Self>) {
        self.env.spawn("spread", pump::run(self.clone()));
    }

    /// Pulls nothing more. What no worker took goes back to the broker.
    pub(crate) async fn stop(&self) {
        self.stopped.cancel();
        let left = match &mut self.state().kind {
            Kind::Partitions(_) => Vec::new(),
            Kind::Each(lines) => lines.empty(),
        };
        if left.is_empty() {
            return;
        }
        // Bounded: the drain of the workers begins behind it.
        let settled = self.env.timeout("giving back what was not begun", BACK_WITHIN, self.real.settle(left));
        if let Err(error) = settled.await.and_then(|settled| settled) {
            tracing::debug!(%error, "what was not begun comes again when the connection ends");
        }
    }

    /// Leaves the broker's group.
    pub(crate) async fn close(&self, within: Duration) {
        self.stopped.cancel();
        self.real.close(within).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, home: usize) {
        self.homes[home].arrived.notify_one();
        self.homes[home].passed.notify_one();
    }

    fn wake_all(&self) {
        (0..self.homes.len()).for_each(|home| self.wake(home));
    }
}
