//! A transaction: the lock on the database, and a journal by which what it wrote is undone.

use bytes::Bytes;
use tokio::sync::OwnedMutexGuard;

use super::lease::{LeaseRow, Tried};
use super::parking::Row;
use super::state::{Place, State};
use crate::broker::Partition;
use crate::env::Timestamp;
use crate::event::PayloadHash;
use crate::handler::Failure;
use crate::store::{AttemptRow, ClaimRef, CommitEvent, Hold, LeaseKey, Parked, ParkedId, Position, Scope};
use crate::text::Text;

/// The transaction that commits an event: what `Tx<Memory>` derefs to.
///
/// Tables come into being by their first row. Whoever drops it before it was hardened undoes it.
pub struct MemoryTx {
    state: OwnedMutexGuard<State>,
    now: Timestamp,
    journal: Vec<Undo>,
    refusals: Vec<String>,
}

/// How to take one write back.
enum Undo {
    Ledger(Scope, Text),
    Position(Scope, Partition, Option<Position>),
    Attempt(Place, Option<AttemptRow>),
    Try((Scope, Text), Option<Tried>),
    Lease(LeaseKey, Option<LeaseRow>),
    Parked(ParkedId),
    Unparked(Box<Row>),
    Appended(String),
    Set(String, Bytes, Option<Bytes>),
}

/// A point to go back to (a savepoint).
#[derive(Clone, Copy)]
pub(super) struct Savepoint {
    journal: usize,
    refusals: usize,
}

impl MemoryTx {
    /// Appends a row to a table.
    pub fn append(&mut self, table: &str, row: impl Into<Bytes>) {
        self.state.tables.append(table, row.into());
        self.journal.push(Undo::Appended(table.to_owned()));
    }

    /// Sets a value of a table.
    pub fn put(&mut self, table: &str, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.set(table, key.into(), Some(value.into()));
    }

    /// Removes a value of a table.
    pub fn remove(&mut self, table: &str, key: impl Into<Bytes>) {
        self.set(table, key.into(), None);
    }

    /// The value of a key, with what this transaction wrote.
    #[must_use]
    pub fn read(&self, table: &str, key: impl AsRef<[u8]>) -> Option<Bytes> {
        self.state.tables.read(table, key.as_ref()).cloned()
    }

    /// The rows of a table, with what this transaction wrote.
    #[must_use]
    pub fn rows(&self, table: &str) -> &[Bytes] {
        self.state.tables.rows(table)
    }

    /// Lets the commit fail and say `why`, as a deferred constraint does (rule C4).
    pub fn refuse_at_commit(&mut self, why: impl Into<String>) {
        self.refusals.push(why.into());
    }

    fn set(&mut self, table: &str, key: Bytes, value: Option<Bytes>) {
        let before = self.state.tables.set(table, key.clone(), value);
        self.journal.push(Undo::Set(table.to_owned(), key, before));
    }
}

/// What the commit writes.
impl MemoryTx {
    pub(super) fn begin(state: OwnedMutexGuard<State>, now: Timestamp) -> Self {
        Self { state, now, journal: Vec::new(), refusals: Vec::new() }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn savepoint(&self) -> Savepoint {
        Savepoint { journal: self.journal.len(), refusals: self.refusals.len() }
    }

    pub(super) fn roll_back(&mut self, to: Savepoint) {
        self.refusals.truncate(to.refusals);
        while self.journal.len() > to.journal {
            if let Some(undo) = self.journal.pop() {
                undo.apply(&mut self.state);
            }
        }
    }

    /// Makes everything durable, or says what a deferred constraint has against it.
    pub(super) fn harden(&mut self) -> Result<(), Failure> {
        if let Some(why) = self.refusals.first() {
            return Err(Failure::new(why.clone()));
        }
        self.journal.clear();
        Ok(())
    }

    /// The unique key is the arbiter (rule C2): a row that is there already stays as it is.
    pub(super) fn ledger(&mut self, scope: &Scope, id: &Text, payload: PayloadHash) {
        let ledger = self.state.ledgers.entry(scope.clone()).or_default();
        if ledger.insert(id, payload, self.now) {
            self.journal.push(Undo::Ledger(scope.clone(), id.clone()));
        }
    }

    pub(super) fn position(&mut self, claim: &ClaimRef, position: Position) {
        let (scope, partition) = (claim.scope.clone(), claim.partition);
        if let Some(row) = self.state.claims.get_mut(&(scope.clone(), partition)) {
            let before = row.position.replace(position);
            self.journal.push(Undo::Position(scope, partition, before));
        }
    }

    pub(super) fn attempt(&mut self, hold: &Hold, row: AttemptRow) {
        let Some(claim) = hold.claim() else {
            let name = (hold.scope().clone(), row.id.clone());
            let before = self.state.tries.insert(name.clone(), Tried { row, written: self.now });
            return self.journal.push(Undo::Try(name, before));
        };
        let place = (claim.scope.clone(), claim.partition, row.generation, row.offset);
        let before = self.state.attempts.insert(place.clone(), row);
        self.journal.push(Undo::Attempt(place, before));
    }

    pub(super) fn forget_attempt(&mut self, hold: &Hold, event: &CommitEvent) {
        let Some(claim) = hold.claim() else {
            let name = (hold.scope().clone(), event.id.clone());
            if let Some(before) = self.state.tries.remove(&name) {
                self.journal.push(Undo::Try(name, Some(before)));
            }
            return;
        };
        if self.state.attempts.is_empty() {
            return;
        }
        // What ran from the parking table did so under that name.
        let present = || self.state.row(claim).map_or(0, |row| row.generation);
        let generation = event.unpark.as_ref().map_or_else(present, |parked| parked.generation);
        let place = (claim.scope.clone(), claim.partition, generation, event.offset);
        if let Some(before) = self.state.attempts.remove(&place) {
            self.journal.push(Undo::Attempt(place, Some(before)));
        }
    }

    /// A lease that this transaction's session holds.
    pub(super) fn give_back(&mut self, key: &LeaseKey, marks: u32) {
        let before = self.state.leases.get(key).cloned();
        self.state.give_back(key, marks, self.now);
        self.journal.push(Undo::Lease(key.clone(), before));
    }

    pub(super) fn park(&mut self, parked: Parked) {
        self.journal.push(Undo::Parked(parked.parked_id()));
        self.state.parking.park(parked);
    }

    pub(super) fn unpark(&mut self, id: &ParkedId) {
        if let Some(row) = self.state.parking.take(id) {
            self.journal.push(Undo::Unparked(Box::new(row)));
        }
    }
}

impl Undo {
    fn apply(self, state: &mut State) {
        match self {
            Self::Ledger(scope, id) => {
                if let Some(ledger) = state.ledgers.get_mut(&scope) {
                    ledger.remove(&id);
                }
            }
            Self::Position(scope, partition, before) => {
                if let Some(row) = state.claims.get_mut(&(scope, partition)) {
                    row.position = before;
                }
            }
            Self::Attempt(place, Some(before)) => drop(state.attempts.insert(place, before)),
            Self::Attempt(place, None) => drop(state.attempts.remove(&place)),
            Self::Try(name, Some(before)) => drop(state.tries.insert(name, before)),
            Self::Try(name, None) => drop(state.tries.remove(&name)),
            Self::Lease(key, Some(before)) => drop(state.leases.insert(key, before)),
            Self::Lease(key, None) => drop(state.leases.remove(&key)),
            Self::Parked(id) => drop(state.parking.take(&id)),
            Self::Unparked(row) => state.parking.restore(*row),
            Self::Appended(table) => state.tables.pop(&table),
            Self::Set(table, key, before) => drop(state.tables.set(&table, key, before)),
        }
    }
}

impl Drop for MemoryTx {
    /// A transaction that ends without having been hardened was never there.
    fn drop(&mut self) {
        self.roll_back(Savepoint { journal: 0, refusals: 0 });
    }
}

impl std::fmt::Debug for MemoryTx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryTx")
    }
}
