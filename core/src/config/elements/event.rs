//! `[subscription.NAME.event]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Locator;
use crate::config::Findings;

/// Where the facts of an event are found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EventConfig {
    /// What an event without configured places is taken for.
    pub format: Format,

    /// The identity by which duplicates are known: `broker`, `header:NAME` or
    /// `payload:/json/pointer`. Left out: the CloudEvents `id`, else `broker`. A broker that numbers
    /// its events by position can't know a producer's duplicates.
    pub id: Option<Locator>,

    /// The ordering key: `broker`, `header:NAME` or `payload:/json/pointer`. Left out: `broker`.
    pub key: Option<Locator>,

    /// The kind that chooses the handler: `header:NAME`, `payload:/json/pointer`, or `const:KIND` for
    /// a source whose events have one kind. Left out: the CloudEvents `type`; an event without one
    /// is of unknown kind.
    pub kind: Option<Locator>,

    /// The event's number within its key: `header:NAME` or `payload:/json/pointer`. Left out: events
    /// have no numbers.
    pub sequence: Option<Locator>,
}

/// How the broker's bytes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// As a CloudEvent, binary or structured, where its headers say that it is one; else as plain.
    #[default]
    Auto,
    /// As a CloudEvent, binary or structured; anything else becomes a dead letter.
    Cloudevents,
    /// As a payload with headers, whatever the headers say.
    Plain,
}

impl EventConfig {
    pub(super) fn check(&self, found: &mut Findings) {
        let mut refuse = |key: &str, value: &Option<Locator>, remedy: &str| {
            if let Some(value) = value {
                found.wrong(key, format!("can't be `{value}`; write {remedy}"));
            }
        };
        let is_const = |value: &&Locator| matches!(value, Locator::Const(_));
        let is_broker = |value: &&Locator| matches!(value, Locator::Broker);
        let anywhere = "`broker`, `header:NAME` or `payload:/json/pointer`";
        let inside = "`header:NAME` or `payload:/json/pointer`";
        refuse("id", &self.id.as_ref().filter(is_const).cloned(), anywhere);
        refuse("key", &self.key.as_ref().filter(is_const).cloned(), anywhere);
        refuse("kind", &self.kind.as_ref().filter(is_broker).cloned(), &format!("{inside}, or `const:KIND`"));
        let nowhere = |value: &&Locator| is_const(value) || is_broker(value);
        refuse("sequence", &self.sequence.as_ref().filter(nowhere).cloned(), inside);
    }
}
