//! Recorded writes: when they count, and that they can be run again.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::store::{Effect, Tx, TxHome};

/// Runs all recorded writes on one connection, as a commit does; what stands there after.
fn commit(outcome: &Outcome) -> Result<Vec<String>, Failure> {
    let home = TxHome::<Notes>::default();
    let mut connection = Vec::new();
    for effect in &outcome.effects {
        let write = effect.for_store::<Notes>().expect("the write is for the notes");
        ready(write(home.lend(connection))).expect("the write waits for nothing")?;
        connection = home.take().expect("the connection came back");
    }
    Ok(connection)
}

async fn two_writes(event: Event<Paid>, mut fx: Effects<Notes>) -> Result<(), Failure> {
    fx.commit_with((event.cents, "eur".to_owned()), async |mut tx: Tx<Notes>, (cents, unit)| {
        tx.push(format!("{cents} {unit}"));
        "1".parse::<u32>()?;
        tx.done()
    });
    fx.commit_with((), async |mut tx: Tx<Notes>, ()| {
        tx.push("second".to_owned());
        tx.done()
    });
    if event.cents == 0 { Err(Failure::new("nothing to pay")) } else { Ok(()) }
}

#[test]
fn writes_are_recorded_in_order_and_can_run_again() {
    let outcome = run(Routes::new().all(two_writes), call("any", &[r#"{"cents": 5}"#]));
    assert!(outcome.is_done());
    // C4: effects may run more than once.
    for _ in 0..2 {
        assert_eq!(commit(&outcome), Ok(vec!["5 eur".to_owned(), "second".to_owned()]));
    }
}

#[test]
fn writes_of_a_failed_handler_are_forgotten() {
    let outcome = run(Routes::new().all(two_writes), call("any", &[r#"{"cents": 0}"#]));
    assert_eq!(failures(&outcome), [(0, "nothing to pay".to_owned())]);
    assert!(outcome.effects.is_empty());
}

#[test]
fn a_failed_write_gives_its_connection_back() {
    let handler = async |_: RawEvent, mut fx: Effects<Notes>| {
        fx.commit_with((), async |_: Tx<Notes>, ()| Err(Failure::new("no such table")));
    };
    let outcome = run(Routes::new().all(handler), call("any", &[""]));
    assert_eq!(commit(&outcome), Err(Failure::new("no such table")));
}

#[test]
fn statements_are_recorded_in_order_with_other_writes() {
    let handler = async |_: RawEvent, mut fx: Effects<Notes>| {
        fx.commit_statement("first");
        fx.commit_with((), async |tx: Tx<Notes>, ()| tx.done());
        fx.commit_statement("third");
    };
    let outcome = run(Routes::new().all(handler), call("any", &[""]));
    let stated: Vec<_> = outcome.effects.iter().map(Effect::as_statement::<Notes>).collect();
    assert_eq!(stated, [Some(&"first"), None, Some(&"third")]);
    let run_here: Vec<_> =
        outcome.effects.iter().map(|effect| effect.for_store::<Notes>().is_some()).collect();
    assert_eq!(run_here, [false, true, false]);
}

#[test]
fn a_write_after_the_end_is_dropped_and_said_so() {
    type Kept = Arc<std::sync::Mutex<Option<Effects<Notes>>>>;
    let kept = Kept::default();
    let keeps = async |State(kept): State<Kept>, fx: Effects<Notes>| {
        *kept.lock().expect("nobody panics with it") = Some(fx);
    };
    let outcome = run(Routes::new().all(keeps).with_state(kept.clone()), call("any", &[""]));
    let mut late = kept.lock().expect("nobody panics with it").take().expect("the handler kept it");
    let errors = Errors::default();
    tracing::subscriber::with_default(errors.clone(), || {
        late.commit_with((), async |tx: Tx<Notes>, ()| tx.done());
        late.commit_statement("late");
    });
    assert!(outcome.effects.is_empty());
    assert_eq!(errors.0.load(Ordering::Relaxed), 2);
}

/// Counts errors that were logged.
#[derive(Clone, Default)]
struct Errors(Arc<AtomicU32>);

impl tracing::Subscriber for Errors {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_handler_says_which_stores_it_needs() {
    async fn here(_: RawEvent, _: Effects<Notes>) {}
    async fn there(_: Batch<Paid>, _: Effects<Elsewhere>) {}
    let table = Routes::<()>::new()
        .on("order.paid", here)
        .all_batches(there)
        .on("order.sent", async |_: RawEvent| ())
        .build();
    let needed: Vec<_> = table.stores_needed().collect();
    assert_eq!(
        needed,
        [
            (StoreNeed::of::<Notes>(), "kind `order.paid`"),
            (StoreNeed::of::<Elsewhere>(), "the route for all kinds")
        ]
    );
}
