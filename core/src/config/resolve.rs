//! From sound tables to the parts of a [`Config`]: which store, which brokers, which subscriptions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::document::{Document, join};
use super::elements::{RuntimeConfig, SubscriptionConfig};
use super::node::{Node, Place, Table};
use super::problem::Problems;
use super::section::Section;
use super::walk::Walk;
use super::{Adapter, Catalog, Subscription, nearest};

/// Names of brokers and subscriptions are stored and shown everywhere, so they are short and plain.
const NAME_MAX: usize = 100;

/// What all of the resolving needs to know.
pub(super) struct Resolve<'a> {
    pub(super) document: &'a Arc<Document>,
    pub(super) catalog: &'a Catalog,
    pub(super) problems: &'a mut Problems,
    /// The path of the configuration in the file: empty, or such as `keylane`.
    pub(super) path: String,
    pub(super) place: Place,
}

impl Resolve<'_> {
    pub(super) fn runtime(&mut self, root: &Table) -> RuntimeConfig {
        let path = join(&self.path, "runtime");
        let section = root.get("runtime").and_then(|node| self.section(node, path)).unwrap_or_default();
        section.take(self.problems).unwrap_or_default()
    }

    pub(super) fn store(&mut self, root: &Table) -> Option<Adapter> {
        let path = join(&self.path, "store");
        let kinds: Vec<_> = self.catalog.stores.keys().map(String::as_str).collect();
        let Some(node) = root.get("store") else {
            if self.problems.touch(&path) {
                return None;
            }
            let tables = kinds.iter().map(|kind| format!("[{}]", join(&path, kind))).collect::<Vec<_>>();
            let remedy = nearest::any_of(tables.iter().map(String::as_str));
            self.report(&self.place.clone(), &path, format!("is missing; add {remedy}"));
            return None;
        };
        let adapter = self.adapter(node, path, &kinds)?;
        self.catalog.stores[&adapter.kind].probe(&adapter.section, self.problems);
        Some(adapter)
    }

    pub(super) fn brokers(&mut self, root: &Table) -> BTreeMap<String, Adapter> {
        let path = join(&self.path, "broker");
        let kinds: Vec<_> = self.catalog.brokers.keys().map(String::as_str).collect();
        let mut brokers = BTreeMap::new();
        for (name, node) in self.named(root, "broker", &path) {
            if let Some(adapter) = self.adapter(node, join(&path, &name), &kinds) {
                self.catalog.brokers[&adapter.kind].broker.probe(&adapter.section, self.problems);
                brokers.insert(name, adapter);
            }
        }
        if brokers.is_empty() && !self.problems.touch(&path) {
            let what =
                format!("is missing; add `[{}.main.KIND]`, KIND being {}", path, nearest::any_of(kinds));
            self.report(&self.place.clone(), &path, what);
        }
        brokers
    }

    pub(super) fn subscriptions(
        &mut self,
        root: &Table,
        brokers: &BTreeMap<String, Adapter>,
    ) -> BTreeMap<String, Subscription> {
        let path = join(&self.path, "subscription");
        let mut subscriptions = BTreeMap::new();
        for (name, node) in self.named(root, "subscription", &path) {
            if let Some(subscription) = self.subscription(&name, node, join(&path, &name), brokers) {
                subscriptions.insert(name, subscription);
            }
        }
        subscriptions
    }

    fn subscription(
        &mut self,
        name: &str,
        node: &Node,
        path: String,
        brokers: &BTreeMap<String, Adapter>,
    ) -> Option<Subscription> {
        let mut own = node.as_table()?.clone();
        let mut adapters = Table::new();
        for kind in self.catalog.brokers.keys() {
            adapters.extend(own.remove(kind).map(|node| (kind.clone(), node)));
        }
        let asked = own.get("broker").and_then(Node::as_text).map(str::to_owned);
        let section = Section::new(self.document.clone(), path.clone(), node.place.clone(), own);
        let config: Option<SubscriptionConfig> = section.take(self.problems);
        let (broker, kind) = self.broker_of(&section, asked.as_deref(), brokers)?;
        for (other, node) in adapters.iter().filter(|(other, _)| **other != kind) {
            let what = format!("the broker `{broker}` is of kind `{kind}`; its keys stand in `{kind}`");
            self.report(&node.place, &join(&path, other), what);
        }
        let adapter = self.adapter_keys(&kind, adapters.get(&kind), node, &path)?;
        Some(Subscription { name: name.to_owned(), broker, config: config?, adapter, section })
    }

    /// The adapter's keys of the subscription at `node`, as if their table were always there.
    fn adapter_keys(&mut self, kind: &str, keys: Option<&Node>, node: &Node, path: &str) -> Option<Section> {
        let shape = self.catalog.brokers[kind].subscription;
        let path = join(path, kind);
        let section = match keys {
            Some(keys) => self.section(keys, path)?,
            None => {
                let broken = BTreeSet::new();
                let mut walk = Walk { document: self.document, broken: &broken, problems: self.problems };
                walk.table(&mut Table::new(), &node.place, &path, &shape.schema());
                Section::new(self.document.clone(), path, node.place.clone(), Table::new())
            }
        };
        shape.probe(&section, self.problems);
        Some(section)
    }

    /// The broker's name and kind: the one asked for, or the only one there is.
    fn broker_of(
        &mut self,
        section: &Section,
        asked: Option<&str>,
        brokers: &BTreeMap<String, Adapter>,
    ) -> Option<(String, String)> {
        let names = || brokers.keys().map(String::as_str);
        let broker = match asked {
            Some(name) => brokers.get_key_value(name),
            None if brokers.len() == 1 => brokers.first_key_value(),
            None => None,
        };
        let path = join(&self.path, "broker");
        let told = self.problems.touch(&asked.map_or(path.clone(), |name| join(&path, name)));
        if broker.is_none() && !brokers.is_empty() && !told {
            let what = match asked {
                Some(name) => format!("there is no broker `{name}`; {}", nearest::remedy(name, names())),
                None => format!("is missing, and there are several; write {}", nearest::any_of(names())),
            };
            section.find_wrong("broker", &what, self.problems);
        }
        broker.map(|(name, adapter)| (name.clone(), adapter.kind.clone()))
    }

    /// The one table of a kind in `node`.
    fn adapter(&mut self, node: &Node, path: String, kinds: &[&str]) -> Option<Adapter> {
        let table = node.as_table()?;
        let mut found = table.iter();
        match (found.next(), found.next()) {
            (Some((kind, node)), None) => {
                let kind = kind.clone();
                let section = self.section(node, join(&path, &kind))?;
                Some(Adapter { kind, section })
            }
            (None, _) => {
                if !self.problems.touch(&path) {
                    let what =
                        format!("names no kind; write {} under it", nearest::any_of(kinds.iter().copied()));
                    self.report(&node.place, &path, what);
                }
                None
            }
            (Some((first, _)), Some((second, node))) => {
                let what = format!("has `{}` and `{}`; keep one", first, second);
                self.report(&node.place, &path, what);
                None
            }
        }
    }

    /// The tables under `key`, each with its name; names that can't be used are reported.
    fn named<'t>(&mut self, root: &'t Table, key: &str, path: &str) -> Vec<(String, &'t Node)> {
        let mut named = Vec::new();
        for (name, node) in root.get(key).and_then(Node::as_table).into_iter().flatten() {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(is_plain) {
                let what =
                    format!("can't be a name; write 1 to {NAME_MAX} ASCII letters, digits, `-`, `_` and `.`");
                self.report(&node.key, &join(path, name), what);
            } else {
                named.push((name.clone(), node));
            }
        }
        named
    }

    fn section(&self, node: &Node, path: String) -> Option<Section> {
        Some(Section::new(self.document.clone(), path, node.place.clone(), node.as_table()?.clone()))
    }

    fn report(&mut self, place: &Place, path: &str, what: String) {
        self.problems.push(self.document.problem(place, path, what));
    }
}
