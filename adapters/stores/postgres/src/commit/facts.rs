//! What a commit must know before it writes, on the longer way: whose the holds are, and which events are new.
//!
//! Holds and parked rows are locked, so that what is read of them stays true until the transaction ends. Ids are not:
//! where another transaction finishes one after the look, the ledger's key says so when it is inserted, and the
//! transaction is done again.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use keylane::event::PayloadHash;
use keylane::store::Facts as _;
use keylane::store::{Admission, CommitEvent, CommitGroup, ParkedId, Verdict};
use keylane::watermark::{WINDOW_MAX, Watermark};
use keylane::{Error, ErrorKind};
use sqlx::Row;
use uuid::Uuid;

use super::attempt::Attempt;
use super::plain::bind_holds;
use super::stop::Stop;
use crate::admit::{Known, place};
use crate::arrays::{Holds, index};
use crate::database::Link;
use crate::numbers::{signed, unsigned};
use crate::{id, parking};

/// What is known of holds and events.
pub(crate) struct Facts {
    /// C1: this session holds it, as of that grant.
    pub(crate) held: Vec<bool>,
    pub(crate) scope: Vec<i32>,
    /// Of claims whose position is the ledger: what it says.
    pub(crate) finished: Vec<Option<Watermark>>,
    /// Of the events asked for, by their number in the group; the others are new.
    standing: BTreeMap<usize, Admission>,
    /// The parked rows that events run, by the event's number.
    pub(crate) unparked: BTreeMap<usize, i64>,
    pub(crate) lifetime: Duration,
}

impl keylane::store::Facts for Facts {
    fn is_held(&self, hold: usize) -> bool {
        self.held[hold]
    }

    fn scope(&self, hold: usize) -> Option<i64> {
        Some(self.scope[hold].into())
    }

    fn finished(&self, hold: usize) -> Option<&Watermark> {
        self.finished[hold].as_ref()
    }

    fn known(&self, number: usize) -> Option<&Admission> {
        self.standing.get(&number)
    }

    fn unparked(&self, number: usize) -> Option<i64> {
        self.unparked.get(&number).copied()
    }
}

impl Facts {
    /// All is as it should be.
    pub(crate) fn assumed(holds: &Holds) -> Self {
        let count = holds.scope.len();
        Self {
            held: vec![true; count],
            scope: holds.scope.clone(),
            finished: (0..count).map(|_| None).collect(),
            standing: BTreeMap::new(),
            unparked: BTreeMap::new(),
            lifetime: Duration::ZERO,
        }
    }

    /// Locks and reads all that concerns the events of the attempt; `guard`: writes of handlers follow.
    pub(super) async fn read(attempt: &Attempt<'_>, link: &mut Link<'_>, guard: bool) -> Result<Self, Stop> {
        let numbers = attempt.course.events_of_all(&attempt.units);
        let mut facts = Self::assumed(attempt.holds);
        facts.fence(attempt, link, guard).await?;
        facts.read_positions(attempt, link, &numbers).await?;
        facts.look_up(attempt, link, &numbers).await?;
        facts.look_at_places(attempt, link, &numbers).await?;
        Ok(facts)
    }

    async fn fence(&mut self, attempt: &Attempt<'_>, link: &mut Link<'_>, guard: bool) -> Result<(), Stop> {
        let sql = "SELECT lifetime_us, held FROM {keylane}.fence($1, $2, $3, $4, $5, $6)";
        let sql = attempt.store.database.sql(sql);
        let row = bind_holds(sql.query(), attempt).bind(guard).fetch_one(&mut **link).await;
        let row = row.map_err(|error| Stop::of(link, "could not check the session", error))?;
        self.held = row.get::<Option<_>, _>("held").unwrap_or_default();
        self.lifetime = Duration::from_micros(row.get::<i64, _>("lifetime_us").unsigned_abs());
        Ok(())
    }

    /// Without a ledger row the position is the ledger.
    async fn read_positions(
        &mut self,
        attempt: &Attempt<'_>,
        link: &mut Link<'_>,
        numbers: &Range<usize>,
    ) -> Result<(), Stop> {
        let group = attempt.course.group;
        let mut events = group.events().skip(numbers.start).take(numbers.len());
        if !events.any(|event| is_by_position(group, event)) {
            return Ok(());
        }
        let sql = attempt.store.database.sql(
            "SELECT e.at::int, c.base, c.sparse FROM unnest($1::int[], $2::bigint[]) WITH ORDINALITY e (scope, partition, at)
             JOIN {keylane}.claims c ON c.scope = e.scope AND c.partition = e.partition WHERE c.base IS NOT NULL",
        );
        let rows = sql
            .query()
            .bind(&attempt.holds.scope)
            .bind(&attempt.holds.partition)
            .fetch_all(&mut **link)
            .await;
        let rows = rows.map_err(|error| Stop::of(link, "could not read positions", error))?;
        for row in rows {
            let sparse: Option<Vec<u8>> = row.get("sparse");
            let finished = watermark(unsigned(row.get("base")), &sparse.unwrap_or_default())?;
            if let Some(place) = self.finished.get_mut(index(row.get("at"))) {
                *place = Some(finished);
            }
        }
        Ok(())
    }

    /// By id, in bulk: in every place where an id can be (rules L1, P1).
    async fn look_up(
        &mut self,
        attempt: &Attempt<'_>,
        link: &mut Link<'_>,
        numbers: &Range<usize>,
    ) -> Result<(), Stop> {
        let events = attempt.course.group.events().enumerate().skip(numbers.start).take(numbers.len());
        let asked: Vec<(usize, &CommitEvent, PayloadHash)> = events
            .filter(|(_, event)| event.unpark.is_none() && !event.is_note())
            .filter_map(|(number, event)| Some((number, event, event.ledger?)))
            .collect();
        if asked.is_empty() {
            return Ok(());
        }
        let scopes: Vec<i32> = asked.iter().map(|(_, event, _)| self.scope[event.hold]).collect();
        let ids: Vec<id::Key> = asked.iter().map(|(_, event, _)| id::key(&event.id)).collect();
        let times: Vec<Option<i64>> = ids.iter().map(|id| id::time(id)).collect();
        let sql = attempt.store.database.sql(
            "SELECT k.at, k.hash, false AS parked FROM {keylane}.ledger_known($1, $2, $3, true) k
             UNION ALL
             SELECT e.at::int, p.payload_hash, true FROM unnest($1, $2) WITH ORDINALITY e (scope, id, at)
             JOIN {keylane}.parked p ON p.scope = e.scope AND p.id = e.id",
        );
        let rows = sql.query().bind(scopes).bind(ids).bind(times).fetch_all(&mut **link).await;
        let rows = rows.map_err(|error| Stop::of(link, "could not look up events", error))?;
        let mut known = vec![Known::default(); asked.len()];
        for row in rows {
            let at = place(row.get::<i32, _>("at").into());
            if let (Some(known), Some((.., payload))) = (known.get_mut(at), asked.get(at)) {
                known
                    .add(row.get("parked"), PayloadHash(row.get::<Uuid, _>("hash").into_bytes()) == *payload);
            }
        }
        for ((number, event, _), known) in asked.into_iter().zip(known) {
            let conflict = event.is_conflict_letter();
            let standing = if conflict { known.admission_of_conflict() } else { known.admission() };
            self.standing.insert(number, standing);
        }
        Ok(())
    }

    /// By place, one by one: parking and running what was parked are rare.
    async fn look_at_places(
        &mut self,
        attempt: &Attempt<'_>,
        link: &mut Link<'_>,
        numbers: &Range<usize>,
    ) -> Result<(), Stop> {
        let events = attempt.course.group.events().enumerate().skip(numbers.start).take(numbers.len());
        for (number, event) in events {
            if let Some(id) = &event.unpark {
                if let Some(place) = self.find(attempt, link, event, id).await? {
                    self.unparked.insert(number, place);
                }
            } else if let Verdict::Park(letter) = &event.verdict
                && self.standing(number, event) == Admission::Fresh
                && self.find(attempt, link, event, &letter.parked_id()).await?.is_some()
            {
                self.standing.insert(number, Admission::Parked);
            }
        }
        Ok(())
    }

    pub(super) async fn find(
        &self,
        attempt: &Attempt<'_>,
        link: &mut Link<'_>,
        event: &CommitEvent,
        id: &ParkedId,
    ) -> Result<Option<i64>, Error> {
        debug_assert_eq!(
            *attempt.course.group.holds[event.hold].scope(),
            id.scope,
            "parked where it was read"
        );
        parking::find(&attempt.store.database, link, self.scope[event.hold], id).await
    }
}

/// Without a ledger row the position is the ledger; a lease has none.
pub(crate) fn is_by_position(group: &CommitGroup, event: &CommitEvent) -> bool {
    event.ledger.is_none() && event.unpark.is_none() && group.holds[event.hold].claim().is_some()
}

fn watermark(base: u64, sparse: &[u8]) -> Result<Watermark, Error> {
    Watermark::restore(base, sparse, WINDOW_MAX).map_err(|error| {
        let what = format!("a stored position above offset {} can't be read", signed(base));
        Error::new(ErrorKind::Corrupt, what).with_source(error)
    })
}
