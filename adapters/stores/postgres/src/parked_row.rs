//! A parked event as a row, and back.

use bytes::Bytes;
use keylane::env::Timestamp;
use keylane::event::{Headers, PayloadHash, Record};
use keylane::store::{Death, Parked, Reason, Scope};
use keylane::{Error, ErrorKind};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::id;
use crate::numbers::{partition, small, unsigned};

/// What a row is read from, with its scope's names.
pub(crate) const FROM: &str = "SELECT s.subscription, s.broker, s.source, p.*
    FROM {keylane}.parked p JOIN {keylane}.scopes s ON s.id = p.scope";

pub(crate) fn read(row: &PgRow) -> Result<Parked, Error> {
    Ok(Parked {
        scope: Scope {
            subscription: row.get::<String, _>("subscription").into(),
            broker: row.get::<String, _>("broker").into(),
            source: row.get::<String, _>("source").into(),
        },
        partition: partition(row.get("partition"))?,
        generation: unsigned(row.get("generation")),
        offset: unsigned(row.get("offset")),
        id: id::id(row.get("id"))?,
        key: row.get::<Vec<u8>, _>("key").into(),
        kind: id::text(row.get("kind"))?,
        sequence: row.get::<Option<i64>, _>("sequence").map(unsigned),
        record: record(row)?,
        payload: PayloadHash(row.get::<Uuid, _>("payload_hash").into_bytes()),
        reason: reason(row)?,
        attempts: small(row.get("attempts"))?,
        crashes: small(row.get("crashes"))?,
        failures: serde_json::from_str(row.get("failures"))
            .map_err(|error| corrupt("a list").with_source(error))?,
        first_at: Timestamp::from_micros(row.get("first_us")),
        parked_at: Timestamp::from_micros(row.get("parked_us")),
        worker: row.get("worker"),
    })
}

fn record(row: &PgRow) -> Result<Record, Error> {
    Ok(Record {
        key: row.get::<Option<Vec<u8>>, _>("record_key").map(Bytes::from),
        headers: Headers::from_bytes(row.get::<Vec<u8>, _>("record_headers").into())?,
        payload: row.get::<Vec<u8>, _>("record_payload").into(),
        time: row.get::<Option<i64>, _>("record_us").map(Timestamp::from_micros),
        id: row.get::<Option<Vec<u8>>, _>("record_id").map(id::text).transpose()?,
    })
}

/// The names under which a reason is stored.
pub(crate) fn reason_names(reason: Reason) -> Result<(&'static str, Option<&'static str>), Error> {
    match reason {
        Reason::Dead(death) => Ok(("dead", Some(death.name()))),
        _ => Err(Error::new(
            ErrorKind::Unsupported,
            "this release of the postgres store can't park for that reason",
        )),
    }
}

fn reason(row: &PgRow) -> Result<Reason, Error> {
    let (reason, death): (String, Option<String>) = (row.get("reason"), row.get("death"));
    let death = death.as_deref().and_then(Death::from_name).filter(|_| reason == "dead");
    death.map(Reason::Dead).ok_or_else(|| corrupt(&format!("the reason \"{reason}\"")))
}

fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{what} in the parking table can't be read"))
}
