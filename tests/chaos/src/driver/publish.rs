//! Publishes the workload at a steady pace.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use keylane::{Error, ErrorKind};

use crate::broker::BrokerSide;
use crate::check::Published;
use crate::clock::{Nanos, nanos, now};
use crate::workload::Workload;

/// Between two parts.
const BEAT: Duration = Duration::from_millis(100);
/// The most that is published at once, after an outage.
const PART_MAX: u64 = 500;
/// How long the broker may be away.
const AWAY_MAX: Duration = Duration::from_secs(120);

/// What the driver tells the publisher.
#[derive(Debug, Default)]
pub(super) struct Signs {
    /// When the time of the faults began; 0 before.
    pub(super) began: AtomicU64,
    /// Nothing more is wanted.
    pub(super) over: AtomicBool,
}

/// Publishes all of it until `lasts` after the time of the faults began, or what there is when it is told that it is
/// over; before that begins, at the same pace, half of it at most. A part that was not confirmed whole is published
/// again, in its order and under its ids, before anything after it.
pub(super) async fn publish(
    broker: Arc<dyn BrokerSide>,
    seed: u64,
    events: u64,
    lasts: Duration,
    signs: Arc<Signs>,
) -> Result<Vec<Published>, Error> {
    let publisher = broker.publisher().await?;
    let warming = now();
    let mut before = None;
    let mut workload = Workload::new(seed, events);
    let mut published = Vec::new();
    while (published.len() as u64) < events && !signs.over.load(Ordering::Relaxed) {
        let due = match signs.began.load(Ordering::Relaxed) {
            0 => share(events, now() - warming, lasts).min(events / 2),
            began => {
                let before = *before.get_or_insert(published.len() as u64);
                before + share(events - before, now() - began, lasts)
            }
        };
        let wanted = due.saturating_sub(published.len() as u64).min(PART_MAX);
        let part: Vec<_> = workload.by_ref().take(wanted as usize).collect();
        let away = now() + nanos(AWAY_MAX);
        let mut sent = now();
        while !part.is_empty() {
            let answers = publisher.publish(part.iter().map(|event| broker.outgoing(event)).collect()).await;
            let Some(error) = answers.into_iter().find_map(Result::err) else { break };
            if now() > away {
                return Err(Error::new(ErrorKind::Broker, "the broker did not come back").with_source(error));
            }
            tokio::time::sleep(BEAT * 4).await;
            sent = now();
        }
        published.extend(part.into_iter().map(|event| Published { event, at: sent }));
        if wanted < PART_MAX {
            tokio::time::sleep(BEAT).await;
        }
    }
    publisher.close().await;
    Ok(published)
}

/// What is due of so many after so long.
fn share(events: u64, passed: Nanos, lasts: Duration) -> u64 {
    let due = u128::from(events) * u128::from(passed) / u128::from(nanos(lasts).max(1));
    u64::try_from(due).unwrap_or(events).min(events)
}
