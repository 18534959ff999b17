//! `[defaults]` under a subscription.

use super::catalog::Catalog;
use super::node::{Node, Table};

/// Spreads `[defaults]` over every subscription below `root`. A table of a broker's kind reaches only
/// the subscriptions of that kind.
pub(super) fn spread(root: &mut Table, catalog: &Catalog) {
    let Some(defaults) = root.get("defaults").and_then(Node::as_table).cloned() else { return };
    let brokers = root.get("broker").and_then(Node::as_table).cloned().unwrap_or_default();
    let subscriptions = root.get_mut("subscription").and_then(Node::as_table_mut);
    let is_kind = |key: &str| catalog.brokers.contains_key(key);
    for subscription in subscriptions.into_iter().flat_map(|table| table.values_mut()) {
        if let Some(table) = subscription.as_table_mut() {
            fill(table, &defaults, &|key| !is_kind(key));
            if let Some(kind) = kind_of(table, &brokers) {
                fill(table, &defaults, &|key| key == kind);
            }
        }
    }
}

/// Gives `table` what it does not say itself, of the keys that `wanted` names, tables within tables.
/// Values keep the place where they stand in `[defaults]`.
fn fill(table: &mut Table, defaults: &Table, wanted: &dyn Fn(&str) -> bool) {
    for (key, value) in defaults.iter().filter(|(key, _)| wanted(key)) {
        match table.get_mut(key) {
            None => {
                table.insert(key.clone(), value.clone());
            }
            // What the subscription says stands, also where it is of another type: the walk tells.
            Some(own) => {
                if let (Some(own), Some(value)) = (own.as_table_mut(), value.as_table()) {
                    fill(own, value, &|_| true);
                }
            }
        }
    }
}

/// The kind of the broker that a subscription reads: the one it names, or the only one there is.
fn kind_of(subscription: &Table, brokers: &Table) -> Option<String> {
    let asked = subscription.get("broker").and_then(Node::as_text);
    let broker = match asked {
        Some(name) => brokers.get(name),
        None if brokers.len() == 1 => brokers.values().next(),
        None => None,
    };
    broker.and_then(Node::as_table)?.keys().next().cloned()
}
