//! Admission: leases are taken, then it is read what is known of a batch; in one round trip.

use std::collections::BTreeMap;

use keylane::env::Timestamp;
use keylane::event::PayloadHash;
use keylane::store::{Admission, AdmitBatch, AdmitEvent, Admitted, AttemptRow, LeaseAnswer, SessionId};
use keylane::{Class, Error, ErrorKind};
use serde::Deserialize;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::PostgresStore;
use crate::numbers::{small, unsigned};
use crate::{id, lease, wants};

/// A key is part of an index, whose rows have a greatest length.
pub(crate) const KEY_MAX: usize = 2000;

/// A1: the function takes the leases first, and reads with newer snapshots.
pub(crate) async fn admit(store: &PostgresStore, batch: &AdmitBatch) -> Result<Admitted, Error> {
    if let Some(key) = batch.leases.iter().find(|key| key.len() > KEY_MAX) {
        return Err(too_long(key.len()));
    }
    let scope = store.scopes.number(&store.database, &batch.scope).await?;
    let ids: Vec<id::Key> = batch.events.iter().map(|event| id::key(&event.id)).collect();
    let times: Vec<Option<i64>> = ids.iter().map(|id| id::time(id)).collect();
    let ledger: Vec<bool> = batch.events.iter().map(|event| event.payload.is_some()).collect();
    let leased: Vec<bool> = batch.events.iter().map(|event| event.leased).collect();
    let keys: Vec<&[u8]> = batch.leases.iter().map(|key| &key[..]).collect();
    if let ([event], [Some(_)], []) = (&batch.events[..], &times[..], &keys[..])
        && event.payload.is_some()
        && is_new(store, batch.session, scope, &ids, &times).await
    {
        return Ok(Admitted { leases: Vec::new(), events: vec![Admission::Fresh] });
    }
    let mut link = store.database.work().await?;
    let admitted = async {
        link.begin_if_needed().await?;
        // Of the scope's own functions, in which the containers of its ledger are written down.
        let sql = format!("SELECT * FROM {{keylane}}.admit_{scope}($1, $2, $3, $4, $5, $6)");
        let sql = store.database.sql(&sql);
        let row = sql
            .query()
            .bind(batch.session.0)
            .bind(keys)
            .bind(&ids)
            .bind(times)
            .bind(ledger)
            .bind(leased)
            .fetch_one(&mut *link)
            .await;
        let row = row.map_err(|error| link.broke("could not admit events", error))?;
        let marks = lease::marks(store, &mut link, batch, scope, &unclean(batch, &row)).await?;
        Ok((row, marks))
    };
    let admitted = admitted.await;
    let (row, marks) = link.end(admitted).await?;
    Ok(Admitted { leases: answers(batch, &row, &marks)?, events: admissions(&batch.events, &row)? })
}

/// Whether a lone event is new, asked where the last writes were committed: after a rest two servers' processes would be
/// slower than one. False where that can't be, or is not seen at once.
async fn is_new(
    store: &PostgresStore,
    session: SessionId,
    scope: i32,
    ids: &[id::Key],
    times: &[Option<i64>],
) -> bool {
    let Some(mut link) = store.database.warm() else { return false };
    let sql = store.database.sql(&format!("SELECT {{keylane}}.is_new_{scope}($1, $2, $3)"));
    let asked = sql.scalar::<bool>().bind(session.0).bind(ids).bind(times).fetch_one(&mut *link).await;
    match asked {
        Ok(new) => {
            link.give();
            new
        }
        // The connection goes, and another one is asked.
        Err(error) => {
            link.note(&error);
            false
        }
    }
}

/// The keys that were granted with marks to be made.
fn unclean<'b>(batch: &'b AdmitBatch, row: &PgRow) -> Vec<&'b [u8]> {
    let uncleans: Vec<Option<bool>> = row.get::<Option<_>, _>("uncleans").unwrap_or_default();
    let keys = batch.leases.iter().zip(uncleans);
    keys.filter(|(_, unclean)| unclean.unwrap_or(false)).map(|(key, _)| &key[..]).collect()
}

fn answers(batch: &AdmitBatch, row: &PgRow, marks: &BTreeMap<i64, u32>) -> Result<Vec<LeaseAnswer>, Error> {
    let tokens: Vec<Option<i64>> = row.get::<Option<_>, _>("tokens").unwrap_or_default();
    let uncleans: Vec<Option<bool>> = row.get::<Option<_>, _>("uncleans").unwrap_or_default();
    if tokens.len() != batch.leases.len() {
        return Err(Error::new(
            ErrorKind::Corrupt,
            "the database answered for other leases than were asked for",
        ));
    }
    let answers = tokens.into_iter().zip(uncleans).map(|(token, unclean)| match token {
        Some(token) => {
            let known = marks.get(&token).copied();
            let marks = if unclean.unwrap_or(true) { known.unwrap_or(u32::MAX) } else { 0 };
            LeaseAnswer::Granted { token: unsigned(token), marks }
        }
        None => LeaseAnswer::Taken,
    });
    Ok(answers.collect())
}

fn admissions(events: &[AdmitEvent], row: &PgRow) -> Result<Vec<Admission>, Error> {
    let mut known = vec![Known::default(); events.len()];
    for (at, found) in pairs(row, "known_at", "known_hash") {
        if let (Some(known), Some(AdmitEvent { payload: Some(payload), .. })) =
            (known.get_mut(at), events.get(at))
        {
            known.add(false, found == *payload);
        }
    }
    for (at, found) in pairs(row, "letter_at", "letter_hash") {
        if let (Some(known), Some(event)) = (known.get_mut(at), events.get(at)) {
            // Without a ledger there is no payload to compare, and no conflict.
            known.add(true, event.payload.is_none_or(|payload| found == payload));
        }
    }
    let mut admissions: Vec<Admission> = known.into_iter().map(Known::admission).collect();
    for tried in wants::list::<Tried>(row.get("tries"))? {
        let at = place(tried.at);
        if let (Some(Admission::Fresh), Some(event)) = (admissions.get(at), events.get(at)) {
            admissions[at] = Admission::Tried(Box::new(tried.row(event)?));
        }
    }
    Ok(admissions)
}

/// Places, which our functions count from 1, with what was found there.
fn pairs(row: &PgRow, places: &str, hashes: &str) -> impl Iterator<Item = (usize, PayloadHash)> + use<> {
    let places: Vec<i32> = row.get::<Option<_>, _>(places).unwrap_or_default();
    let hashes: Vec<Uuid> = row.get::<Option<_>, _>(hashes).unwrap_or_default();
    places
        .into_iter()
        .map(|at| place(at.into()))
        .zip(hashes.into_iter().map(|hash| PayloadHash(hash.into_bytes())))
}

/// A place counted from 1, from 0; one that can't be is nobody's.
pub(crate) fn place(at: i64) -> usize {
    usize::try_from(at - 1).unwrap_or(usize::MAX)
}

/// Where an id was found, and whether with the same payload.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Known {
    finished: bool,
    parked: bool,
    other_payload: bool,
}

impl Known {
    pub(crate) fn add(&mut self, parked: bool, same: bool) {
        match (same, parked) {
            (false, _) => self.other_payload = true,
            (true, true) => self.parked = true,
            (true, false) => self.finished = true,
        }
    }

    /// For an event that is to be handled (rule L4).
    pub(crate) fn admission(self) -> Admission {
        if self.finished {
            Admission::Finished
        } else if self.parked {
            Admission::Parked
        } else if self.other_payload {
            Admission::Conflict
        } else {
            Admission::Fresh
        }
    }

    /// For a conflict on its way to the dead letters: its id is taken, and that is no news.
    pub(crate) fn admission_of_conflict(self) -> Admission {
        if self.parked { Admission::Parked } else { Admission::Fresh }
    }
}

/// A try of a leased event, as the function tells it.
#[derive(Deserialize)]
struct Tried {
    at: i64,
    generation: i64,
    offset: i64,
    attempts: i64,
    crashes: i64,
    started_by: Option<String>,
    first_us: i64,
    failure: String,
}

impl Tried {
    fn row(self, event: &AdmitEvent) -> Result<AttemptRow, Error> {
        Ok(AttemptRow {
            generation: unsigned(self.generation),
            offset: unsigned(self.offset),
            id: event.id.clone(),
            attempts: small(self.attempts)?,
            crashes: small(self.crashes)?,
            started_by: self.started_by.as_deref().map(session).transpose()?,
            first_at: Timestamp::from_micros(self.first_us),
            failure: id::text(wants::from_hex(&self.failure)?.into())?.to_string(),
        })
    }
}

fn session(id: &str) -> Result<SessionId, Error> {
    let id = Uuid::try_parse(id)
        .map_err(|error| Error::new(ErrorKind::Corrupt, "no session id").with_source(error))?;
    Ok(SessionId(id))
}

fn too_long(length: usize) -> Error {
    let what = format!(
        "a key of {length} bytes can't be leased, the postgres store takes {KEY_MAX}; lower limits.key_bytes_max"
    );
    Error::new(ErrorKind::Unsupported, what).with_class(Class::Permanent)
}
