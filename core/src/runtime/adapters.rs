//! The one erased boundary of each adapter trait.

use std::any::TypeId;
use std::sync::Arc;

use crate::broker::{Broker, BrokerAdapter};
use crate::config::{Catalog, Section};
use crate::env::{BoxFuture, Env};
use crate::error::Error;
use crate::store::{Store, StoreAdapter};

/// A [`BrokerAdapter`] of any kind.
pub(crate) trait AnyBroker: Send + Sync {
    fn kind(&self) -> &'static str;
    fn enter(&self, catalog: Catalog) -> Catalog;
    fn connect<'a>(
        &'a self,
        section: &'a Section,
        env: &'a Env,
    ) -> BoxFuture<'a, Result<Arc<dyn Broker>, Error>>;
}

impl<A: BrokerAdapter> AnyBroker for A {
    fn kind(&self) -> &'static str {
        A::KIND
    }

    fn enter(&self, catalog: Catalog) -> Catalog {
        catalog.broker::<A::Config, A::Subscription>(A::KIND)
    }

    fn connect<'a>(
        &'a self,
        section: &'a Section,
        env: &'a Env,
    ) -> BoxFuture<'a, Result<Arc<dyn Broker>, Error>> {
        Box::pin(async move { BrokerAdapter::connect(self, section.read()?, env).await })
    }
}

/// A [`StoreAdapter`] of any kind.
pub(crate) trait AnyStore: Send + Sync {
    fn kind(&self) -> &'static str;
    /// What handlers name in `Effects<S>`.
    fn connection_type(&self) -> TypeId;
    fn enter(&self, catalog: Catalog) -> Catalog;
    /// One store for each home.
    fn open<'a>(
        &'a self,
        section: &'a Section,
        env: &'a Env,
    ) -> BoxFuture<'a, Result<Vec<Arc<dyn Store>>, Error>>;
}

impl<A: StoreAdapter> AnyStore for A {
    fn kind(&self) -> &'static str {
        A::KIND
    }

    fn connection_type(&self) -> TypeId {
        TypeId::of::<A>()
    }

    fn enter(&self, catalog: Catalog) -> Catalog {
        catalog.store::<A::Config>(A::KIND)
    }

    fn open<'a>(
        &'a self,
        section: &'a Section,
        env: &'a Env,
    ) -> BoxFuture<'a, Result<Vec<Arc<dyn Store>>, Error>> {
        Box::pin(async move { StoreAdapter::open_all(self, section.read()?, env).await })
    }
}
