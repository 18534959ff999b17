//! The producer: publishes the workload once, going on where an earlier run was stopped.
//!
//! What was published is noted after the broker has confirmed it. A kill in between publishes some
//! records again, under the ids they had: the consumer's ledger knows them. That is all that a producer
//! has to do for exactly-once effects: keep one id per event.

use std::time::Duration;

use keylane::{Class, Error};

use crate::run;
use crate::service::Service;
use crate::workload;

/// Records that are published together.
const TOGETHER: usize = 100;
/// How often a part is tried,
const TRIES_MAX: u32 = 60;
/// and how long after each other.
const PAUSE: Duration = Duration::from_millis(500);

/// Publishes what is not published yet, no faster than `pace` events a second.
pub(crate) async fn publish(service: &Service, pace: Option<u32>) -> Result<(), Error> {
    let plan = workload::plan(u64::from(service.run.seed), service.run.orders);
    let mut published = run::published(&service.database).await?;
    let publisher = service.topic.publisher().await?;
    // With a pace, ten parts a second.
    let together = pace.map_or(TOGETHER, |pace| TOGETHER.min(pace as usize / 10));
    let mut beat =
        pace.map(|pace| tokio::time::interval(Duration::from_secs_f64(together as f64 / f64::from(pace))));
    for part in plan[published as usize..].chunks(together) {
        if let Some(beat) = &mut beat {
            beat.tick().await;
        }
        // All of them again, in their order: what arrived the first time is a duplicate.
        let done = until_done(async || {
            let batch = part.iter().map(|event| event.to(service.topic.name())).collect();
            publisher.publish(batch).await.into_iter().try_for_each(|published| published.map(drop))
        });
        done.await.map_err(|error| error.context("publishing the workload"))?;
        published += part.len() as u32;
        until_done(async || run::note_published(&service.database, published).await).await?;
    }
    publisher.close().await;
    Ok(())
}

/// Tries again for as long as it may pass: the broker is away, or others write to the file.
async fn until_done(attempt: impl AsyncFn() -> Result<(), Error>) -> Result<(), Error> {
    let mut tries = 1;
    loop {
        match attempt().await {
            Err(error) if error.class() == Class::Transient && tries < TRIES_MAX => tries += 1,
            ended => return ended,
        }
        tokio::time::sleep(PAUSE).await;
    }
}
