//! Configuration: one TOML file, strict keys, and every mistake told at once with its line.
//!
//! A [`Source`] is parsed once. `${…}` is put into string values; then one walk compares all keys
//! with the schemas of the components that the [`Catalog`] names; then `[defaults]` goes under each
//! subscription, and each table goes with its places to the [`Component`] that owns it. What is
//! wrong anywhere on that way is collected and becomes one [`Error`].
//!
//! A component owns its keys, docs, defaults and ranges in one place, its struct; [`reference()`] and
//! [`json_schema`] are made from it.

mod catalog;
mod component;
mod document;
mod elements;
mod fits;
#[doc(hidden)]
pub mod fuzz;
mod interpolate;
mod merge;
mod nearest;
mod node;
mod period;
mod problem;
mod reader;
mod reference;
mod resolve;
mod schema;
mod secret;
mod section;
mod size;
mod source;
#[cfg(test)]
mod tests;
mod walk;
mod written;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use catalog::Catalog;
pub use component::{Component, Findings, NoKeys, Shape};
pub use elements::*;
pub use interpolate::Lookup;
pub use period::Period;
pub use reference::{json_schema, reference};
pub use secret::Secret;
pub use section::Section;
pub use size::Size;
pub use source::Source;

use crate::error::Error;
use document::Document;
use node::{Place, Table};
use problem::Problems;
use resolve::Resolve;
use walk::Walk;

/// A sound configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[runtime]`.
    pub runtime: RuntimeConfig,
    /// `[store.KIND]`.
    pub store: Adapter,
    /// `[broker.NAME.KIND]`, by name.
    pub brokers: BTreeMap<String, Adapter>,
    /// `[subscription.NAME]`, by name.
    pub subscriptions: BTreeMap<String, Subscription>,
}

/// A store or broker that an adapter is to make.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// Which adapter.
    pub kind: String,
    /// What the adapter reads its [`Component`] from.
    pub section: Section,
}

/// A subscription.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// Its name, in the file and in the code.
    pub name: String,
    /// The broker's name.
    pub broker: String,
    /// The core's keys.
    pub config: SubscriptionConfig,
    /// The adapter's keys, `[subscription.NAME.KIND]`.
    pub adapter: Section,
    /// The core's keys with their places, to [refuse](Section::refuse) what the broker can't do.
    pub section: Section,
}

impl Config {
    /// Reads a configuration for the adapters in `catalog`, with variables by `env` and files from the
    /// disk.
    ///
    /// # Errors
    /// Everything that is wrong, each with file, line, column, key and what to write instead.
    pub fn parse(
        source: Source,
        catalog: &Catalog,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        Self::parse_with(source, catalog, &Lookup::new(env))
    }

    /// The same, with a say in where files come from.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_with(source: Source, catalog: &Catalog, lookup: &Lookup<'_>) -> Result<Self, Error> {
        let (mut document, root) = Document::parse(&source.name, &source.text)?;
        let mut problems = Problems::of(&source.name);
        let path = source.table.as_ref().map(|name| document::join("", name)).unwrap_or_default();
        let Some((mut root, place)) = own_table(root, source.table.as_deref()) else {
            let what = "is missing; add this table with the configuration in it";
            return Err(problems.alone(document.problem(&(0..0), &path, what)));
        };
        let broken = interpolate::interpolate(&mut root, &path, lookup, &mut document, &mut problems);
        let schema = catalog.schema();
        let mut walk = Walk { document: &document, broken: &broken, problems: &mut problems };
        // First the defaults: what is wrong with them is told once, where they stand.
        walk.key(&mut root, "defaults", &path, &schema);
        merge::spread(&mut root, catalog);
        walk.table(&mut root, &place, &path, &schema);

        let document = Arc::new(document);
        let mut resolve = Resolve { document: &document, catalog, problems: &mut problems, path, place };
        let runtime = resolve.runtime(&root);
        let store = resolve.store(&root);
        let brokers = resolve.brokers(&root);
        let subscriptions = resolve.subscriptions(&root, &brokers);
        problems.into_result()?;
        let store = store.expect("a missing store is a problem");
        Ok(Self { runtime, store, brokers, subscriptions })
    }

    /// Refuses every ordered subscription that does not say what happens to an event that has used up
    /// its attempts. Whether one is ordered only its broker knows.
    ///
    /// # Errors
    /// All such subscriptions, by line.
    pub fn check_order(&self, ordered: impl Fn(&Subscription) -> bool) -> Result<(), Error> {
        let mut problems = Problems::of(self.store.section.file());
        for subscription in self.subscriptions.values() {
            if let Some(what) = subscription.config.retry.order_fault(ordered(subscription)) {
                subscription.section.find_wrong("retry.on_exhausted", what, &mut problems);
            }
        }
        problems.into_result()
    }
}

impl Subscription {
    /// The consumers that share the source's events: as configured, else the subscription's name.
    #[must_use]
    pub fn group(&self) -> &str {
        self.config.group.as_deref().unwrap_or(&self.name)
    }
}

/// The table that the configuration stands in, with its place.
fn own_table(mut root: Table, name: Option<&str>) -> Option<(Table, Place)> {
    let Some(name) = name else { return Some((root, 0..0)) };
    let mut node = root.remove(name)?;
    let table = std::mem::take(node.as_table_mut()?);
    Some((table, node.place))
}
