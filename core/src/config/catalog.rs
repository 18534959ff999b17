//! What is valid where: the core's own keys and those of the adapters that the service names.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::component::{Component, Shape, schema_of};
use super::elements::{RuntimeConfig, SubscriptionConfig};
use super::schema;

/// The adapters of a service by kind, with the shapes of their keys.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    pub(super) stores: BTreeMap<String, Shape>,
    pub(super) brokers: BTreeMap<String, BrokerShapes>,
}

/// The two tables that a broker's adapter owns.
#[derive(Debug, Clone, Copy)]
pub(super) struct BrokerShapes {
    /// `[broker.NAME.KIND]`.
    pub(super) broker: Shape,
    /// `[subscription.NAME.KIND]`.
    pub(super) subscription: Shape,
}

impl Catalog {
    /// A catalog without adapters.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a kind of store, `[store.KIND]`.
    #[must_use]
    pub fn store<T: Component>(mut self, kind: &str) -> Self {
        self.stores.insert(kind.to_owned(), Shape::of::<T>());
        self
    }

    /// Adds a kind of broker: `B` is `[broker.NAME.KIND]`, `S` is `[subscription.NAME.KIND]`, of which
    /// [`NoKeys`](super::NoKeys) says that there is nothing in it.
    ///
    /// # Panics
    /// When the kind has the name of a subscription's own key, such as `retry`.
    #[must_use]
    pub fn broker<B: Component, S: Component>(mut self, kind: &str) -> Self {
        let own = schema_of::<SubscriptionConfig>();
        assert!(
            schema::of_key(&own, kind).is_none(),
            "a broker's kind can't be `{kind}`, a subscription's key"
        );
        let shapes = BrokerShapes { broker: Shape::of::<B>(), subscription: Shape::of::<S>() };
        self.brokers.insert(kind.to_owned(), shapes);
        self
    }

    /// The schema of the whole file.
    pub(super) fn schema(&self) -> Value {
        let stores = self.stores.iter().map(|(kind, shape)| (kind, shape.schema()));
        let brokers = self.brokers.iter().map(|(kind, shapes)| (kind, shapes.broker.schema()));
        let mut defaults = self.subscription();
        if let Value::Object(map) = &mut defaults {
            map.remove("required");
            map.insert("description".to_owned(), DEFAULTS.into());
        }
        table(
            "",
            [
                ("runtime", schema_of::<RuntimeConfig>()),
                ("store", kinds(STORE, "store kind", stores)),
                ("broker", named(BROKERS, kinds(BROKER, "broker kind", brokers))),
                ("subscription", named(SUBSCRIPTIONS, self.subscription())),
                ("defaults", defaults),
            ],
        )
    }

    /// The core's keys of a subscription, and one table for each kind of broker.
    fn subscription(&self) -> Value {
        let mut own = schema_of::<SubscriptionConfig>();
        if let Some(Value::Object(keys)) = own.get_mut("properties") {
            for (kind, shapes) in &self.brokers {
                keys.insert(kind.clone(), shapes.subscription.schema());
            }
        }
        own
    }
}

const STORE: &str = "Where everything durable is kept. Exactly one store, of one kind.";
const BROKERS: &str = "The brokers, each under a name of your choice.";
const BROKER: &str = "A broker, under a name of your choice. Exactly one kind.";
const SUBSCRIPTIONS: &str = "The subscriptions, each under the name it has in the code.";
const DEFAULTS: &str = "What several subscriptions share: every key of a subscription may stand here, and holds for \
                        each subscription that does not say otherwise, key by key. A table of a broker's kind holds \
                        for subscriptions of that kind.";

fn table<'a>(description: &str, keys: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let keys: Map<_, _> = keys.into_iter().map(|(key, schema)| (key.to_owned(), schema)).collect();
    json!({ "description": description, "type": "object", "properties": keys, "additionalProperties": false })
}

fn kinds<'a>(description: &str, noun: &str, kinds: impl Iterator<Item = (&'a String, Value)>) -> Value {
    let mut table = table(description, kinds.map(|(kind, schema)| (kind.as_str(), schema)));
    table["x-noun"] = noun.into();
    table["minProperties"] = 1.into();
    table["maxProperties"] = 1.into();
    table
}

fn named(description: &str, each: Value) -> Value {
    json!({ "description": description, "type": "object", "additionalProperties": each })
}
