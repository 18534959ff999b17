//! `lanes`: our dispatcher against a mutex-per-key map with a task a message. The handler does nothing.
//!
//! Both arms get the same events and call the same kind of handler, a boxed future. Both hash with the
//! same fast hash. Neither reads a broker or writes a store.

use std::collections::HashMap;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};

use ahash::RandomState;
use keylane::lanes::{Item, Lanes};
use tokio::sync::Semaphore;

use crate::keys::{self, Spread};
use crate::measure::Stretch;
use crate::report::{Measured, Report, Target};
use crate::rounds::{Arm, against_first};
use crate::{Broken, Plan};

const EVENTS: u64 = 1_000_000;
const KEYS: u32 = 10_000;
/// How many events are in flight: what is pulled at once, and what the other arm may have as tasks.
const IN_FLIGHT: usize = 1024;

pub(crate) fn run(plan: &Plan) -> Result<(), Broken> {
    let mut report = Report::new("lanes", Target::AtLeast(8.0));
    let names: Vec<Arc<str>> = (0..KEYS).map(|key| keys::name(key).into()).collect();
    for spread in &plan.spreads {
        let events = events(*spread, &names, plan.events.unwrap_or(EVENTS));
        let arms =
            vec![Arm::new("mutex_per_key", || mutex_per_key(&events)), Arm::new("lanes", || lanes(&events))];
        against_first(&mut report, *spread, plan.rounds, arms)?;
    }
    report.end()
}

#[derive(Clone)]
struct Event {
    key: Arc<str>,
    number: u64,
}

type Handled = Pin<Box<dyn Future<Output = ()> + Send>>;

fn handle(event: Event) -> Handled {
    Box::pin(async move {
        black_box(event.number);
    })
}

fn events(spread: Spread, names: &[Arc<str>], events: u64) -> Vec<Event> {
    let drawn = keys::draw(spread, u32::try_from(names.len()).unwrap_or(u32::MAX), events);
    (0..).zip(drawn).map(|(number, key)| Event { key: names[key as usize].clone(), number }).collect()
}

struct Queued {
    hash: u64,
    event: Event,
}

impl Item for Queued {
    fn hash(&self) -> u64 {
        self.hash
    }

    fn bytes(&self) -> usize {
        self.event.key.len()
    }
}

/// What a shard does: a batch into the lanes, turns until none is ready, each handler polled where it stands.
fn lanes(events: &[Event]) -> Result<Measured, Broken> {
    let hasher = RandomState::with_seeds(1, 2, 3, 4);
    let mut lanes = Lanes::new(IN_FLIGHT);
    let mut context = Context::from_waker(Waker::noop());
    let mut handled = 0_u64;
    let stretch = Stretch::begin();
    for batch in events.chunks(IN_FLIGHT) {
        for event in batch {
            let hash = hasher.hash_one(&*event.key);
            lanes.push(Queued { hash, event: event.clone() });
        }
        while let Some((lane, queued)) = lanes.next() {
            let mut call = handle(queued.event);
            if call.as_mut().poll(&mut context).is_pending() {
                return Err("a handler that does nothing has nothing to wait for".into());
            }
            lanes.finish(lane);
            handled += 1;
        }
    }
    Ok(Measured::new(handled, stretch.end()))
}

type Locks = Mutex<HashMap<Arc<str>, Arc<tokio::sync::Mutex<()>>, RandomState>>;

/// What one finds everywhere: a task a message, which locks its key's mutex. The mutexes stay in the map,
/// which costs this arm memory and saves it time.
fn mutex_per_key(events: &[Event]) -> Result<Measured, Broken> {
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    let locks: Arc<Locks> = Arc::new(Mutex::new(HashMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4))));
    let permits = Arc::new(Semaphore::new(IN_FLIGHT));
    let all = u32::try_from(IN_FLIGHT)?;
    runtime.block_on(async {
        let stretch = Stretch::begin();
        for event in events {
            let permit = permits.clone().acquire_owned().await?;
            let (event, locks) = (event.clone(), locks.clone());
            tokio::spawn(async move {
                let lock = lock_of(&locks, &event.key);
                let held = lock.lock().await;
                handle(event).await;
                drop(held);
                drop(permit);
            });
        }
        drop(permits.acquire_many(all).await?);
        Ok(Measured::new(events.len() as u64, stretch.end()))
    })
}

fn lock_of(locks: &Locks, key: &Arc<str>) -> Arc<tokio::sync::Mutex<()>> {
    locks.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default().clone()
}
