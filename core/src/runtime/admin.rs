//! What an operator asks and does.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::broker::Partition;
use crate::error::Error;
use crate::store::{DeadQuery, Parked, ParkedId, ReadFrom, ReleaseAnswer, Reposition, Scope, Store};

/// The operator's view of a store. Works from any process: what changes an event is written as a request
/// that the owner of its key carries out (rule P3).
#[derive(Clone)]
pub struct Admin {
    /// One for each database, in the configured order.
    stores: Vec<Arc<dyn Store>>,
}

impl Admin {
    /// An operator's view of a store that no runtime of this process uses.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self::over(vec![store])
    }

    /// The same of a store whose keys are spread over several databases, in the configured order.
    #[must_use]
    pub fn over(stores: Vec<Arc<dyn Store>>) -> Self {
        Self { stores }
    }

    /// A view of each database alone, in the configured order: what one says while another is away.
    #[must_use]
    pub fn databases(&self) -> Vec<Self> {
        self.stores.iter().cloned().map(Self::new).collect()
    }

    /// Dead letters of a subscription's group, in the order in which they were parked; at most `limit`
    /// (1,000 at the most) after the one named. Of several databases, one after the other.
    ///
    /// # Errors
    /// What the store says.
    pub async fn dead_letters(
        &self,
        group: &str,
        after: Option<ParkedId>,
        limit: usize,
    ) -> Result<Vec<Parked>, Error> {
        let limit = limit.min(PAGE_MAX);
        let mut found = Vec::new();
        let mut after = after;
        let mut unknown = None;
        for (at, store) in self.stores.iter().enumerate() {
            let query =
                DeadQuery { subscription: group.into(), after: after.clone(), limit: limit - found.len() };
            match store.dead_letters(query).await {
                Ok(page) => {
                    // It was this one's; those behind it are listed from their beginning.
                    (after, unknown) = (None, None);
                    found.extend(page);
                }
                Err(error) if after.is_some() && !error.is_transient() => unknown = Some(error),
                Err(error) => return Err(self.of(at, error)),
            }
            if found.len() >= limit {
                break;
            }
        }
        unknown.map_or(Ok(found), Err)
    }

    /// Asks the owner of a dead letter's key to handle it again. It is gone from the list when it
    /// succeeds, and back with one more attempt when it does not. Every database is asked: should two of them have a
    /// letter of this name, both are released.
    ///
    /// # Errors
    /// What the store says. Of several databases: what the first says that can't be asked, where no other has the letter.
    pub async fn release(&self, id: ParkedId) -> Result<ReleaseAnswer, Error> {
        let (mut said, mut unasked) = (ReleaseAnswer::Missing, None);
        for (at, store) in self.stores.iter().enumerate() {
            match store.request_release(id.clone()).await {
                Ok(ReleaseAnswer::Requested) => said = ReleaseAnswer::Requested,
                Ok(ReleaseAnswer::Missing) => {}
                Err(error) => drop(unasked.get_or_insert(self.of(at, error))),
            }
        }
        match unasked {
            Some(error) if said == ReleaseAnswer::Missing => Err(error),
            _ => Ok(said),
        }
    }

    /// Makes a group read one partition of a source (`None`: all of them) from elsewhere, in a new
    /// generation: the remedy for a halted partition, and the way to read again what was read before.
    /// Gives the partitions it found; none means that nobody ever read that scope.
    ///
    /// - `ReadFrom::Offset(n)` accepts the log as it is and goes on at `n`: after records expired before
    ///   they were handled, `n` is the first that is still there.
    /// - `ReadFrom::Earliest` takes the log as a new one, from its beginning: after it was recreated.
    /// - `ReadFrom::Latest` passes over everything that is there.
    ///
    /// Position, witness, and the attempts of unfinished events are forgotten; nothing that runs now will
    /// commit. What must be known to handle an event once stays: with the ledger by id, what was finished
    /// is a duplicate when it is read again; with the ledger by position it is handled again. Dead letters
    /// stay. An id that is made from a record's place names the generation, so that another record at the
    /// same place is another event.
    ///
    /// Of several databases each is told. One that is away is an error: say it again when it is back.
    ///
    /// The workers need no restart: who has the partition hears of it by its next renewal, a third of
    /// `runtime.session` away at the most, and begins again there.
    ///
    /// # Errors
    /// What the store says.
    pub async fn reposition(
        &self,
        scope: Scope,
        partition: Option<Partition>,
        to: ReadFrom,
    ) -> Result<Vec<Partition>, Error> {
        let mut found = BTreeSet::new();
        for (at, store) in self.stores.iter().enumerate() {
            let order = Reposition { scope: scope.clone(), partition, to };
            found.extend(store.reposition(order).await.map_err(|error| self.of(at, error))?);
        }
        Ok(found.into_iter().collect())
    }

    fn of(&self, at: usize, error: Error) -> Error {
        match self.stores.len() {
            1 => error,
            n => error.context(format!("database {} of {n}", at + 1)),
        }
    }
}

/// A page of dead letters is no longer.
const PAGE_MAX: usize = 1000;
