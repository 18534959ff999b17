//! The service under simulation: one handler for single events, one for batches, with the same manners.

use std::time::Duration;

use keylane::event::Meta;
use keylane::memory::Memory;
use keylane::{Batch, Context, Effects, Env, Failure, RawEvent, Routes, State, Tx, route};

use super::history::{Event, History};
use super::mix::Mix;

/// What a worker's handlers know.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) mix: Mix,
    pub(super) history: History,
    pub(super) memory: Memory,
    pub(super) node: usize,
    pub(super) env: Env,
}

impl Service {
    pub(super) fn routes(self) -> Routes {
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
    async fn look(&self, event: &Event) {
        let stored = self.memory.read("last", event.key_text()).await;
        let seen = stored.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok()).unwrap_or(0);
        self.history.saw(self.node, *event, seen);
    }

    async fn pause(&self) {
        let max = u64::try_from(self.mix.pause_max.as_micros()).unwrap_or(u64::MAX);
        self.env.sleep(Duration::from_micros(self.env.random() % max)).await;
    }

    fn hits(&self, thousandths: u64) -> bool {
        thousandths > 0 && self.env.random() % 1000 < thousandths
    }

    /// How the try ends, before anything is written.
    fn verdict(&self, event: &Event) -> Result<(), Failure> {
        let failure = if self.mix.is_poison(event.key, event.number) {
            let never = Failure::new("simulated: never");
            if event.number.is_multiple_of(2) { never.permanent() } else { never }
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
                for event in &events {
                    tx.append("effects", event.to_string());
                    tx.put("last", event.key_text(), event.number.to_string());
                    if service.hits(service.mix.effect_fails) {
                        service.history.failed(event);
                        return Err(Failure::new("simulated: a write failed"));
                    }
                    if service.hits(service.mix.commit_fails) {
                        service.history.failed(event);
                        tx.refuse_at_commit("simulated: a deferred constraint");
                    }
                }
                tx.done()
            },
        );
    }
}

fn event_of(meta: &Meta, number: u64) -> Event {
    let key = meta.key_text().and_then(|key| key.strip_prefix('k')?.parse().ok());
    Event { key: key.expect("keys are k and a number"), number }
}

async fn single(
    event: RawEvent,
    State(service): State<Service>,
    mut fx: Effects<Memory>,
    cx: Context,
) -> Result<(), Failure> {
    let number: u64 = std::str::from_utf8(&event)?.parse()?;
    let event = event_of(event.meta(), number);
    let run = service.history.begin(service.node, &[(event, cx.attempt())]);
    service.look(&event).await;
    service.pause().await;
    service.verdict(&event)?;
    service.record(&mut fx, vec![event]);
    run.ends();
    Ok(())
}

async fn several(
    batch: Batch<u64>,
    State(service): State<Service>,
    mut fx: Effects<Memory>,
) -> Result<(), Failure> {
    let events: Vec<Event> = batch.iter().map(|item| event_of(item.meta(), *item)).collect();
    let tries: Vec<_> = events.iter().copied().zip(batch.iter().map(|item| item.attempt())).collect();
    let run = service.history.begin(service.node, &tries);
    for (at, event) in events.iter().enumerate() {
        // The others of its key are before it in the same transaction.
        if !events[..at].iter().any(|before| before.key == event.key) {
            service.look(event).await;
        }
    }
    service.pause().await;
    for (item, event) in batch.iter().zip(&events) {
        if let Err(failure) = service.verdict(event) {
            batch.fail(item, failure);
        }
    }
    service.record(&mut fx, events);
    run.ends();
    Ok(())
}
