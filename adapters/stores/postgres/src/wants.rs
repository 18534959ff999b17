//! What others want of a session, as our functions tell it: claims and leases in JSON, usually none.

use bytes::Bytes;
use keylane::store::{ClaimRef, LeaseKey, LeaseRef};
use keylane::{Error, ErrorKind};
use serde::de::DeserializeOwned;

use crate::PostgresStore;
use crate::numbers::{partition, unsigned};

/// Claims: `[[scope, partition, epoch], …]`.
pub(crate) async fn claims(store: &PostgresStore, told: Option<String>) -> Result<Vec<ClaimRef>, Error> {
    let mut claims = Vec::new();
    for (scope, at, epoch) in list::<(i32, i64, i64)>(told)? {
        let scope = store.scopes.scope(&store.database, scope).await?;
        claims.push(ClaimRef { scope, partition: partition(at)?, epoch: unsigned(epoch) });
    }
    Ok(claims)
}

/// Leases: `[[scope, hexadecimal key, token], …]`.
pub(crate) async fn leases(store: &PostgresStore, told: Option<String>) -> Result<Vec<LeaseRef>, Error> {
    let mut leases = Vec::new();
    for (scope, key, token) in list::<(i32, String, i64)>(told)? {
        let scope = store.scopes.scope(&store.database, scope).await?;
        leases.push(LeaseRef { lease: LeaseKey { scope, key: from_hex(&key)? }, token: unsigned(token) });
    }
    Ok(leases)
}

/// A list in JSON; none at all is an empty one.
pub(crate) fn list<T: DeserializeOwned>(told: Option<String>) -> Result<Vec<T>, Error> {
    let Some(told) = told else { return Ok(Vec::new()) };
    serde_json::from_str(&told).map_err(|error| {
        Error::new(ErrorKind::Corrupt, "an answer of the database can't be read").with_source(error)
    })
}

/// What `encode(.., 'hex')` wrote.
pub(crate) fn from_hex(text: &str) -> Result<Bytes, Error> {
    let pair = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(pair).collect();
    bytes
        .map(Bytes::from)
        .ok_or_else(|| Error::new(ErrorKind::Corrupt, "an answer of the database is no hexadecimal"))
}
