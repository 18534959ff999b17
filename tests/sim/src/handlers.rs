//! The service under simulation: one handler for single events, one for batches, with the same manners.

use std::time::Duration;

use bytes::Bytes;
use keylane::event::Meta;
use keylane::memory::Memory;
use keylane::{Batch, Context, Effects, Env, Failure, RawEvent, Routes, State, Tx, route};

use crate::event::Event;
use crate::faults::Calm;
use crate::history::History;
use crate::mix::Mix;
use crate::world::Node;

/// What a worker's handlers know.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) mix: Mix,
    pub(crate) history: History,
    pub(crate) memory: Memory,
    pub(crate) node: Node,
    pub(crate) env: Env,
    pub(crate) calm: Calm,
}

impl Service {
    pub(crate) fn routes(self) -> Routes {
        let routes = Routes::new();
        let routes = match (self.mix.batch, self.mix.spawned) {
            (false, false) => routes.on("tick", single),
            (false, true) => routes.on("tick", route(single).spawned()),
            (true, false) => routes.on_batch("tick", route(several).at_most(5)),
            (true, true) => routes.on_batch("tick", route(several).at_most(5).spawned()),
        };
        routes.with_state(self)
    }

    /// What is committed of a key, as this handler sees it.
    async fn look(&self, event: Event) {
        let stored = self.memory.read("last", event.key_text()).await;
        let seen = stored.and_then(|text| number(&text)).unwrap_or(0);
        self.history.saw(self.node.number(), event, seen);
    }

    async fn pause(&self) {
        let max = u64::try_from(self.mix.pause_max.as_micros()).unwrap_or(u64::MAX);
        self.env.sleep(Duration::from_micros(self.env.random() % max)).await;
    }

    fn hits(&self, thousandths: u64) -> bool {
        thousandths > 0 && !self.calm.is() && self.env.random() % 1000 < thousandths
    }

    /// What befalls the whole call.
    async fn ordeal(&self, events: &[Event]) {
        if events.iter().any(|event| self.mix.is_fatal(*event)) {
            self.history.killed(self.node.number(), events[0]);
            self.node.crash_after(1);
        }
        if self.hits(self.mix.handler_hangs) {
            events.iter().for_each(|event| self.history.failed(*event));
            self.env.sleep(Duration::from_secs(3600)).await;
        }
        if self.hits(self.mix.handler_panics) {
            events.iter().for_each(|event| self.history.failed(*event));
            std::panic::panic_any(PANIC);
        }
    }

    /// Some of what can't be handled can be, once an operator had a look.
    fn is_mended(&self, event: Event) -> bool {
        !event.number.is_multiple_of(2) && self.history.seen().released.contains(&event)
    }

    /// How the try ends, before anything is written.
    fn verdict(&self, event: Event) -> Result<(), Failure> {
        let failure = if self.mix.is_poison(event) && !self.is_mended(event) {
            let never = Failure::new("simulated: never");
            if event.number.is_multiple_of(2) { never.permanent() } else { never }
        } else if self.hits(self.mix.handler_fails / 3) {
            // No attempt: the event is not to blame.
            return Err(Failure::new("simulated: something it needs is away").unavailable());
        } else if self.hits(self.mix.handler_fails) {
            Failure::new("simulated: a transient failure")
        } else {
            return Ok(());
        };
        self.history.failed(event);
        Err(failure)
    }

    fn record(&self, fx: &mut Effects<Memory>, events: Vec<Event>) {
        let service = self.clone();
        fx.commit_with(
            (service, events),
            async |mut tx: Tx<Memory>, (service, events): (Self, Vec<Event>)| {
                for event in events {
                    tx.append("effects", event.to_string());
                    let last = tx.read("last", event.key_text()).and_then(|last| number(&last));
                    // What an operator released comes late, and takes nothing back.
                    tx.put("last", event.key_text(), event.number.max(last.unwrap_or(0)).to_string());
                    if service.hits(service.mix.effect_fails) {
                        service.history.failed(event);
                        return Err(Failure::new("simulated: a write failed"));
                    }
                    if service.hits(service.mix.commit_fails) {
                        service.history.failed(event);
                        tx.refuse_at_commit("simulated: a deferred constraint");
                    }
                    if service.hits(service.mix.effect_hangs) {
                        service.history.failed(event);
                        service.env.sleep(Duration::from_secs(3600)).await;
                    }
                }
                tx.done()
            },
        );
    }
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// What a simulated panic carries: a hook tells it from a real one.
pub(crate) const PANIC: &str = "simulated: a panic";

fn event_of(meta: &Meta, payload: &[u8]) -> Event {
    let key = meta.key_text().unwrap_or_default();
    Event::of(key.as_bytes(), payload).expect("keys are k and a number, payloads a number")
}

async fn single(
    event: RawEvent,
    State(service): State<Service>,
    mut fx: Effects<Memory>,
    cx: Context,
) -> Result<(), Failure> {
    let event = event_of(event.meta(), &event);
    let run = service.history.begin(service.node.number(), &[(event, cx.attempt())]);
    service.look(event).await;
    service.ordeal(&[event]).await;
    service.pause().await;
    service.verdict(event)?;
    service.record(&mut fx, vec![event]);
    run.ends();
    Ok(())
}

async fn several(
    batch: Batch<Bytes, keylane::Raw>,
    State(service): State<Service>,
    mut fx: Effects<Memory>,
) -> Result<(), Failure> {
    let events: Vec<Event> = batch.iter().map(|item| event_of(item.meta(), &item)).collect();
    let tries: Vec<_> = events.iter().copied().zip(batch.iter().map(|item| item.attempt())).collect();
    let run = service.history.begin(service.node.number(), &tries);
    for (at, event) in events.iter().enumerate() {
        // The others of its key are before it in the same transaction.
        if !events[..at].iter().any(|before| before.key == event.key) {
            service.look(*event).await;
        }
    }
    service.ordeal(&events).await;
    service.pause().await;
    for (item, event) in batch.iter().zip(&events) {
        if let Err(failure) = service.verdict(*event) {
            batch.fail(item, failure);
        }
    }
    service.record(&mut fx, events);
    run.ends();
    Ok(())
}
