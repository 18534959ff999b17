//! What an operator asks and does.

use std::sync::Arc;

use crate::error::Error;
use crate::store::{DeadQuery, Parked, ParkedId, ReleaseAnswer, Store};

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
}
