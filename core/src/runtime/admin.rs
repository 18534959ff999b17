//! What an operator asks and does.

use std::sync::Arc;

use crate::broker::Partition;
use crate::error::Error;
use crate::store::{DeadQuery, Parked, ParkedId, ReadFrom, ReleaseAnswer, Reposition, Scope, Store};

/// The operator's view of a store. Works from any process: what changes an event is written as a request
/// that the owner of its key carries out (rule P3).
#[derive(Clone)]
pub struct Admin(Arc<dyn Store>);

impl Admin {
    /// An operator's view of a store that no runtime of this process uses.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    /// Dead letters of a subscription's group, in the order in which they were parked; at most `limit`
    /// (1,000 at the most) after the one named.
    ///
    /// # Errors
    /// What the store says.
    pub async fn dead_letters(
        &self,
        group: &str,
        after: Option<ParkedId>,
        limit: usize,
    ) -> Result<Vec<Parked>, Error> {
        self.0.dead_letters(DeadQuery { subscription: group.into(), after, limit }).await
    }

    /// Asks the owner of a dead letter's key to handle it again. It is gone from the list when it
    /// succeeds, and back with one more attempt when it does not.
    ///
    /// # Errors
    /// What the store says.
    pub async fn release(&self, id: ParkedId) -> Result<ReleaseAnswer, Error> {
        self.0.request_release(id).await
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
        self.0.reposition(Reposition { scope, partition, to }).await
    }
}
