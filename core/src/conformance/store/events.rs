//! Events, dead letters and writes, each in a line.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::Harness;
use super::stage::billing;
use crate::conformance::Gate;
use crate::env::{Env, Timestamp};
use crate::event::{PayloadHash, Record};
use crate::handler::Failure;
use crate::store::{AttemptRow, CommitEvent, Death, Effect, EffectFn, Parked, ParkedId, Reason, Verdict};
use crate::text::Text;

/// The payload of an event in the checks is made from its id.
pub(super) fn payload(id: &str) -> PayloadHash {
    PayloadHash::of(format!("payload of {id}").as_bytes())
}

/// An event that finished, its key the same as its id.
pub(super) fn finish(offset: u64, id: &str) -> CommitEvent {
    CommitEvent {
        hold: 0,
        offset,
        id: Text::from(id),
        key: Bytes::copy_from_slice(id.as_bytes()),
        ledger: Some(payload(id)),
        unpark: None,
        verdict: Verdict::Finish,
    }
}

pub(super) fn keyed(offset: u64, id: &str, key: &'static str) -> CommitEvent {
    CommitEvent { key: Bytes::from_static(key.as_bytes()), ..finish(offset, id) }
}

pub(super) fn with_payload(event: CommitEvent, payload: &str) -> CommitEvent {
    CommitEvent { ledger: Some(PayloadHash::of(payload.as_bytes())), ..event }
}

/// An event whose ledger is its position.
pub(super) fn by_position(offset: u64) -> CommitEvent {
    CommitEvent { ledger: None, ..finish(offset, &format!("orders/0/{offset}")) }
}

pub(super) fn tried(offset: u64, id: &str, attempts: u32) -> CommitEvent {
    CommitEvent { verdict: Verdict::Tried(attempt_row(offset, id, attempts)), ..finish(offset, id) }
}

pub(super) fn attempt_row(offset: u64, id: &str, attempts: u32) -> AttemptRow {
    AttemptRow {
        generation: 0,
        offset,
        id: Text::from(id),
        attempts,
        crashes: 0,
        started_by: None,
        first_at: Timestamp::from_millis(1_700_000_000_123),
        failure: format!("try {attempts} of {id}"),
    }
}

pub(super) fn park(parked: Parked) -> CommitEvent {
    CommitEvent {
        key: parked.key.clone(),
        ledger: Some(parked.payload),
        verdict: Verdict::Park(Box::new(parked.clone())),
        ..finish(parked.offset, &parked.id)
    }
}

/// The run of a released dead letter.
pub(super) fn unpark(event: CommitEvent, row: ParkedId) -> CommitEvent {
    CommitEvent { unpark: Some(row), ..event }
}

/// A dead letter with something to lose in every field.
pub(super) fn dead(partition: u32, offset: u64, id: &str) -> Parked {
    Parked {
        scope: billing(),
        partition,
        generation: 0,
        offset,
        id: Text::from(id),
        key: Bytes::copy_from_slice(id.as_bytes()),
        kind: Text::from_static("order.paid"),
        sequence: Some(7),
        record: record(id),
        payload: payload(id),
        reason: Reason::Dead(Death::Exhausted),
        attempts: 8,
        crashes: 1,
        failures: vec!["no receipt".to_owned(), "connection refused".to_owned()],
        first_at: Timestamp::from_millis(1_700_000_000_001),
        parked_at: Timestamp::from_millis(1_700_000_000_000 + i64::try_from(offset).unwrap_or(0)),
        worker: "a".to_owned(),
    }
}

fn record(id: &str) -> Record {
    let mut record = Record::new(format!("payload of {id}")).with_key(vec![0, 255, 10]);
    for value in ["first", "second", ""] {
        record = record.with_header("repeated", value);
    }
    record = record.with_header("no text", vec![0xFF, 0]);
    record.time = Some(Timestamp::from_millis(1_699_999_999_999));
    record.id = Some(Text::from("broker-id"));
    record
}

/// A write of a row.
pub(super) fn insert<H: Harness>(name: &'static str, text: &str) -> Effect {
    let text = text.to_owned();
    effect::<H>(Arc::new(move |mut tx| {
        let text = text.clone();
        Box::pin(async move {
            H::insert(&mut tx, name, &text).await?;
            tx.done()
        })
    }))
}

/// A write of a row that waits in the transaction before it ends.
pub(super) fn insert_at<H: Harness>(name: &'static str, text: &'static str, gate: &Gate) -> Effect {
    let gate = gate.clone();
    effect::<H>(Arc::new(move |mut tx| {
        let gate = gate.clone();
        Box::pin(async move {
            H::insert(&mut tx, name, text).await?;
            gate.pass().await;
            tx.done()
        })
    }))
}

/// A write of a row that counts its runs and takes so long.
pub(super) fn insert_for<H: Harness>(
    name: &'static str,
    text: &str,
    runs: &Arc<AtomicUsize>,
    env: &Env,
    time: Duration,
) -> Effect {
    let (text, runs, env) = (text.to_owned(), runs.clone(), env.clone());
    effect::<H>(Arc::new(move |mut tx| {
        let (text, runs, env) = (text.clone(), runs.clone(), env.clone());
        Box::pin(async move {
            runs.fetch_add(1, Ordering::SeqCst);
            H::insert(&mut tx, name, &text).await?;
            env.sleep(time).await;
            tx.done()
        })
    }))
}

/// A write of a row that then never ends.
pub(super) fn insert_for_ever<H: Harness>(name: &'static str) -> Effect {
    effect::<H>(Arc::new(move |mut tx| {
        Box::pin(async move {
            H::insert(&mut tx, name, "never to be seen").await?;
            std::future::pending().await
        })
    }))
}

/// A write of a row that then fails.
pub(super) fn insert_and_fail<H: Harness>(name: &'static str, failure: Failure) -> Effect {
    effect::<H>(Arc::new(move |mut tx| {
        let failure = failure.clone();
        Box::pin(async move {
            H::insert(&mut tx, name, "never to be seen").await?;
            Err(failure)
        })
    }))
}

/// A write of a row that then panics.
pub(super) fn insert_and_panic<H: Harness>(name: &'static str) -> Effect {
    effect::<H>(Arc::new(move |mut tx| {
        Box::pin(async move {
            H::insert(&mut tx, name, "never to be seen").await?;
            panic!("a write that panics, as the check wants it")
        })
    }))
}

/// A write of a row that only the commit refuses.
pub(super) fn insert_and_refuse<H: Harness>(name: &'static str) -> Effect {
    effect::<H>(Arc::new(move |mut tx| {
        Box::pin(async move {
            H::insert(&mut tx, name, "never to be seen").await?;
            H::refuse_at_commit(&mut tx).await?;
            tx.done()
        })
    }))
}

fn effect<H: Harness>(run: EffectFn<H::Adapter>) -> Effect {
    Effect::new::<H::Adapter>(run)
}

/// A UUIDv7 that says it is from `millis` after 1970.
pub(super) fn uuid_of(millis: u64) -> String {
    let id: Uuid = uuid::Builder::from_unix_timestamp_millis(millis, &[7; 10]).into_uuid();
    id.to_string()
}
