//! A parked event as a row, and back.

use bytes::Bytes;
use keylane::env::Timestamp;
use keylane::event::{Headers, PayloadHash, Record};
use keylane::store::{Death, Parked, Reason, Scope};
use keylane::text::Text;
use keylane::{Error, ErrorKind};
use serde::Deserialize;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::scope::unsigned;

/// What a row is read from, with its scope's names.
pub(crate) const COLUMNS: &str =
    "s.subscription, s.broker, s.source, p.partition, p.generation, p.offset, p.id, p.key, p.kind,
    p.sequence, p.payload_hash, p.reason, p.death, p.attempts, p.crashes, p.failures, p.first_us, p.parked_us,
    p.worker, p.record_key, p.record_headers, p.record_us, p.record_id, p.record_payload
    FROM keylane_parked p JOIN keylane_scopes s ON s.id = p.scope";

pub(crate) fn read(row: &SqliteRow) -> Result<Parked, Error> {
    Ok(Parked {
        scope: Scope {
            subscription: row.get::<String, _>("subscription").into(),
            broker: row.get::<String, _>("broker").into(),
            source: row.get::<String, _>("source").into(),
        },
        partition: row.get("partition"),
        generation: unsigned(row.get("generation")),
        offset: unsigned(row.get("offset")),
        id: text(row.get("id")),
        key: row.get::<Vec<u8>, _>("key").into(),
        kind: text(row.get("kind")),
        sequence: row.get::<Option<i64>, _>("sequence").map(unsigned),
        record: record(row)?,
        payload: payload_hash(row.get("payload_hash"))?,
        reason: reason(row)?,
        attempts: row.get("attempts"),
        crashes: row.get("crashes"),
        failures: from_json(row.get("failures"))?,
        first_at: Timestamp::from_micros(row.get("first_us")),
        parked_at: Timestamp::from_micros(row.get("parked_us")),
        worker: row.get("worker"),
    })
}

fn record(row: &SqliteRow) -> Result<Record, Error> {
    Ok(Record {
        key: row.get::<Option<Vec<u8>>, _>("record_key").map(Bytes::from),
        headers: Headers::from_bytes(row.get::<Vec<u8>, _>("record_headers").into())?,
        payload: row.get::<Vec<u8>, _>("record_payload").into(),
        time: row.get::<Option<i64>, _>("record_us").map(Timestamp::from_micros),
        id: row.get::<Option<String>, _>("record_id").map(Text::from),
    })
}

/// The names under which a reason is stored.
pub(crate) fn reason_names(reason: Reason) -> Result<(&'static str, Option<&'static str>), Error> {
    match reason {
        Reason::Dead(death) => Ok(("dead", Some(death.name()))),
        _ => Err(Error::new(
            ErrorKind::Unsupported,
            "this release of the sqlite store can't park for that reason",
        )),
    }
}

fn reason(row: &SqliteRow) -> Result<Reason, Error> {
    let (reason, death): (String, Option<String>) = (row.get("reason"), row.get("death"));
    let death = death.as_deref().and_then(Death::from_name).filter(|_| reason == "dead");
    death.map(Reason::Dead).ok_or_else(|| corrupt(&format!("the reason \"{reason}\"")))
}

fn payload_hash(bytes: Vec<u8>) -> Result<PayloadHash, Error> {
    bytes.try_into().map(PayloadHash).map_err(|_| corrupt("a payload hash"))
}

fn from_json<T: for<'a> Deserialize<'a>>(json: &str) -> Result<T, Error> {
    serde_json::from_str(json).map_err(|error| corrupt("a list").with_source(error))
}

fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{what} in the parking table can't be read"))
}

fn text(value: String) -> Text {
    Text::from(value)
}
