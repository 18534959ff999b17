//! The routes as the runtime uses them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{AnyHandler, StoreNeed};
use crate::text::Text;

/// One route: a handler and how it wants to be run.
#[derive(Clone)]
pub struct Route {
    /// The handler with the service's middleware around it.
    pub handler: Arc<dyn AnyHandler>,
    /// The most items a call may have, for a batch handler; `None`: one event a call.
    pub batch_max: Option<usize>,
    /// Each call wants a task of its own.
    pub spawned: bool,
    /// The limit in time of a call, in place of the subscription's.
    pub timeout: Option<Duration>,
}

/// A subscription's routes by kind.
#[derive(Debug)]
pub struct RouteTable {
    /// Sorted by kind; of a kind routed twice, which is a mistake, the first.
    kinds: Vec<(Text, Route)>,
    all: Option<Route>,
    stores: Vec<(StoreNeed, String)>,
    mistakes: Vec<String>,
}

impl RouteTable {
    pub(super) fn new(mistakes: Vec<String>) -> Self {
        Self { kinds: Vec::new(), all: None, stores: Vec::new(), mistakes }
    }

    /// The route for events of this kind; `None`: what the subscription does with unknown kinds.
    #[must_use]
    pub fn lookup(&self, kind: &Text) -> Option<&Route> {
        // No hashing: there are few kinds, they come from code, and a stranger's kind is only compared.
        match self.find(kind) {
            Ok(at) => Some(&self.kinds[at].1),
            Err(_) => self.all.as_ref(),
        }
    }

    /// What is wrong with the routes, each a lowercase fragment; a runtime with any is not built.
    #[must_use]
    pub fn mistakes(&self) -> &[String] {
        &self.mistakes
    }

    /// The stores that handlers write to, each with the route that does, for messages.
    pub fn stores_needed(&self) -> impl Iterator<Item = (StoreNeed, &str)> {
        self.stores.iter().map(|(store, route)| (*store, route.as_str()))
    }

    /// The kinds that have a route of their own, sorted.
    pub fn kinds(&self) -> impl ExactSizeIterator<Item = &Text> {
        self.kinds.iter().map(|(kind, _)| kind)
    }

    pub(super) fn need(&mut self, store: StoreNeed, route: String) {
        self.stores.push((store, route));
    }

    pub(super) fn put(&mut self, kind: Option<Text>, route: Route) {
        match kind {
            None => {
                self.all.get_or_insert(route);
            }
            Some(kind) => {
                if let Err(at) = self.find(&kind) {
                    self.kinds.insert(at, (kind, route));
                }
            }
        }
    }

    fn find(&self, kind: &Text) -> Result<usize, usize> {
        self.kinds.binary_search_by(|(known, _)| known.as_bytes().cmp(kind.as_bytes()))
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("batch_max", &self.batch_max)
            .field("spawned", &self.spawned)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
