//! What a commit must know before it writes: whose the claims and leases are, and which events are new.
//!
//! The transaction has the one write lock from its first statement, so that what is read here stays
//! true until it ends: a look is as good as the insert or delete that it foretells.

use std::collections::BTreeMap;
use std::ops::Range;

use keylane::store::Facts as _;
use keylane::store::{
    Admission, ClaimRef, CommitEvent, CommitGroup, HoldCommit, LeaseRef, Parked, SessionId, Verdict,
};
use keylane::watermark::{WINDOW_MAX, Watermark};
use keylane::{Error, ErrorKind};
use sqlx::{Row, SqliteConnection};

use crate::SqliteStore;
use crate::error::failed;
use crate::ledger::{self, Generations, hex, json};
use crate::look::{Sought, look};
use crate::scope::{signed, unsigned};
use crate::session::key;
use crate::{lease, parking};

/// A claim or lease of the group as the store sees it.
pub(crate) struct HoldFacts {
    /// `None`: never held by anyone.
    pub(crate) scope: Option<i64>,
    /// C1: this session holds it, in this epoch or under this token.
    pub(crate) held: bool,
    /// Where the position is the ledger: what it says.
    finished: Option<Watermark>,
}

/// What is known of holds and events.
pub(crate) struct Facts {
    pub(crate) holds: Vec<HoldFacts>,
    /// The ledger of each scope.
    pub(crate) ledgers: BTreeMap<i64, Generations>,
    /// Of the events asked for, by their number in the group.
    standing: BTreeMap<usize, Admission>,
    /// The parked rows that events run, by the event's number.
    pub(crate) unparked: BTreeMap<usize, i64>,
}

impl keylane::store::Facts for Facts {
    fn is_held(&self, hold: usize) -> bool {
        self.holds[hold].held
    }

    fn scope(&self, hold: usize) -> Option<i64> {
        self.holds[hold].scope
    }

    fn finished(&self, hold: usize) -> Option<&Watermark> {
        self.holds[hold].finished.as_ref()
    }

    fn known(&self, number: usize) -> Option<&Admission> {
        self.standing.get(&number)
    }

    fn unparked(&self, number: usize) -> Option<i64> {
        self.unparked.get(&number).copied()
    }
}

impl Facts {
    /// Reads all that concerns the events of `numbers`.
    pub(crate) async fn read(
        store: &SqliteStore,
        connection: &mut SqliteConnection,
        group: &CommitGroup,
        numbers: Range<usize>,
        parked: bool,
    ) -> Result<Self, Error> {
        let events: Vec<(usize, &CommitEvent)> =
            group.events().enumerate().skip(numbers.start).take(numbers.len()).collect();
        let by_position = events.iter().any(|(_, event)| is_by_position(group, event));
        let mut facts = Self {
            holds: holds(store, connection, group, by_position).await?,
            ledgers: BTreeMap::new(),
            standing: BTreeMap::new(),
            unparked: BTreeMap::new(),
        };
        facts.read_ledgers(connection, group).await?;
        facts.look_up(connection, &events).await?;
        for (number, event) in events {
            facts.look_at_places(store, connection, group, number, event, parked).await?;
        }
        Ok(facts)
    }

    async fn read_ledgers(
        &mut self,
        connection: &mut SqliteConnection,
        group: &CommitGroup,
    ) -> Result<(), Error> {
        for (hold, facts) in group.holds.iter().zip(&self.holds) {
            let Some(scope) = facts.scope.filter(|scope| !self.ledgers.contains_key(scope)) else { continue };
            if let Some(found) = ledger::generations(connection, &hold.scope().subscription).await? {
                self.ledgers.insert(scope, found);
            }
        }
        Ok(())
    }

    /// By id, in bulk, one statement a scope.
    async fn look_up(
        &mut self,
        connection: &mut SqliteConnection,
        events: &[(usize, &CommitEvent)],
    ) -> Result<(), Error> {
        for (scope, generations) in &self.ledgers {
            let of_scope = || {
                events.iter().filter(|(_, event)| {
                    event.unpark.is_none() && self.holds[event.hold].scope == Some(*scope)
                })
            };
            let (mut numbers, mut sought) = (Vec::new(), Vec::new());
            for (number, event) in of_scope() {
                if let Some(payload) = event.ledger {
                    numbers.push((*number, event.is_conflict_letter()));
                    sought.push(Sought { id: &event.id, payload: Some(payload) });
                }
            }
            let known = look(connection, *scope, &generations.all, &sought).await?;
            for ((number, conflict), known) in numbers.into_iter().zip(known) {
                let standing = if conflict { known.admission_of_conflict() } else { known.admission() };
                if standing != Admission::Fresh {
                    self.standing.insert(number, standing);
                }
            }
        }
        Ok(())
    }

    /// By place, one by one: parking and running what was parked are rare.
    async fn look_at_places(
        &mut self,
        store: &SqliteStore,
        connection: &mut SqliteConnection,
        group: &CommitGroup,
        number: usize,
        event: &CommitEvent,
        parked: bool,
    ) -> Result<(), Error> {
        if !parked {
            return Ok(());
        }
        if let Some(id) = &event.unpark {
            if let Some(place) = parking::find(store, connection, id).await? {
                self.unparked.insert(number, place);
            }
        } else if let Verdict::Park(letter) = &event.verdict {
            let at = self.standing(number, event);
            if at == Admission::Fresh && is_parked_there(store, connection, group, event, letter).await? {
                self.standing.insert(number, Admission::Parked);
            }
        }
        Ok(())
    }
}

async fn is_parked_there(
    store: &SqliteStore,
    connection: &mut SqliteConnection,
    group: &CommitGroup,
    event: &CommitEvent,
    letter: &Parked,
) -> Result<bool, Error> {
    debug_assert_eq!(*group.holds[event.hold].scope(), letter.scope, "parked where it was read");
    Ok(parking::find(store, connection, &letter.parked_id()).await?.is_some())
}

/// Without a ledger row the position is the ledger, where there is one.
fn is_by_position(group: &CommitGroup, event: &CommitEvent) -> bool {
    event.ledger.is_none() && event.unpark.is_none() && group.holds[event.hold].claim().is_some()
}

/// C1, S2: which of the group's claims and leases the session holds.
async fn holds(
    store: &SqliteStore,
    connection: &mut SqliteConnection,
    group: &CommitGroup,
    by_position: bool,
) -> Result<Vec<HoldFacts>, Error> {
    let mut holds = Vec::with_capacity(group.holds.len());
    let (mut claims, mut leases) = (Vec::new(), Vec::new());
    for (at, hold) in group.holds.iter().enumerate() {
        let scope = store.scopes.number(connection, hold.scope()).await?;
        match hold {
            HoldCommit::Claim(commit) => {
                let ClaimRef { partition, epoch, .. } = commit.claim;
                claims.push((scope, partition, signed(epoch), at));
            }
            HoldCommit::Lease(commit) => {
                let LeaseRef { lease, token } = &commit.lease;
                leases.push((scope, hex(&lease.key), signed(*token), at));
            }
        }
        holds.push(HoldFacts { scope, held: false, finished: None });
    }
    for at in lease::held(connection, group.session, &leases).await? {
        if let Some(lease) = holds.get_mut(at) {
            lease.held = true;
        }
    }
    for (at, base, sparse) in held_claims(connection, group.session, &claims, by_position).await? {
        let Some(claim) = holds.get_mut(at) else { continue };
        claim.held = true;
        claim.finished = base.map(|base| watermark(base, sparse.unwrap_or_default())).transpose()?;
    }
    Ok(holds)
}

type Held = (usize, Option<u64>, Option<Vec<u8>>);

/// Of claims by scope, partition, epoch and their number in the group.
async fn held_claims(
    connection: &mut SqliteConnection,
    session: SessionId,
    asked: &[(Option<i64>, u32, i64, usize)],
    by_position: bool,
) -> Result<Vec<Held>, Error> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "SELECT e.value ->> 3 AS at, c.base, CASE WHEN ?3 THEN c.sparse END AS sparse
         FROM json_each(?1) e CROSS JOIN keylane_claims c
            ON c.scope = e.value ->> 0 AND c.partition = e.value ->> 1
         WHERE c.epoch = e.value ->> 2 AND c.owner = ?2",
    )
    .bind(json(asked)?)
    .bind(key(session))
    .bind(by_position)
    .fetch_all(connection)
    .await
    .map_err(|error| failed("could not check claims", error))?;
    let held = rows.iter().map(|row| {
        let at = usize::try_from(row.get::<i64, _>("at")).unwrap_or(usize::MAX);
        let base = row.get::<Option<i64>, _>("base").filter(|_| by_position);
        (at, base.map(unsigned), row.get("sparse"))
    });
    Ok(held.collect())
}

fn watermark(base: u64, sparse: Vec<u8>) -> Result<Watermark, Error> {
    Watermark::restore(base, &sparse, WINDOW_MAX).map_err(|error| {
        let what = format!("a stored position above offset {} can't be read", signed(base));
        Error::new(ErrorKind::Corrupt, what).with_source(error)
    })
}
