//! From the configuration to what the runtime needs to know, and the refusal of what a broker can't do.

use std::sync::Arc;
use std::time::Duration;

use super::settings::{BudgetSettings, LedgerMode, Settings, WorkerSettings};
use crate::broker::Capabilities;
use crate::config;
use crate::error::Error;
use crate::event::Rules;
use crate::middleware::chain::UnknownKind;
use crate::middleware::{OnExhausted, RetryPolicy};
use crate::store::Scope;

/// Offsets that a partition is read beyond its first unfinished event: while one event is retried, the others
/// of its partition go on for so long. Its bitmap takes 128 KiB when it is full, and next to nothing else.
const WINDOW: usize = crate::watermark::WINDOW_MAX;

/// How often a worker looks for ledger rows to forget.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// More tasks than this share nothing but overhead by default.
const SHARDS_DEFAULT_MAX: usize = 8;

pub(super) fn worker(runtime: &config::RuntimeConfig) -> WorkerSettings {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let shards = runtime.shards.map(|shards| usize::from(shards.get()));
    WorkerSettings {
        name: worker_name(),
        session: runtime.session.into(),
        grace: runtime.grace.into(),
        handover: runtime.handover_max.into(),
        drain: runtime.drain_max.into(),
        shards: shards.unwrap_or_else(|| (cores / 2).clamp(1, SHARDS_DEFAULT_MAX)),
        sweep_every: SWEEP_EVERY,
    }
}

/// Host and process: what an operator looks for.
fn worker_name() -> Arc<str> {
    let host = std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME"));
    format!("{}:{}", host.as_deref().unwrap_or("localhost"), std::process::id()).into()
}

/// # Errors
/// What is configured and the broker, or this version, can't do.
pub(super) fn subscription(
    subscription: &config::Subscription,
    can: &Capabilities,
) -> Result<Settings, Error> {
    let own = &subscription.config;
    refuse(subscription, can)?;
    let group: Arc<str> = subscription.group().into();
    let scope = Scope {
        subscription: group.clone(),
        broker: subscription.broker.as_str().into(),
        source: own.source.as_str().into(),
    };
    Ok(Settings {
        name: subscription.name.as_str().into(),
        group,
        scope,
        reset: own.start.0,
        concurrency: own.concurrency as usize,
        timeout: own.timeout.into(),
        retry: retry(&own.retry),
        unknown: match own.unknown_kind {
            config::UnknownKind::Dead => UnknownKind::Dead,
            config::UnknownKind::Skip => UnknownKind::Skip,
        },
        local: own.lock == config::Lock::Local,
        ledger: ledger(own),
        ahead: own.ahead,
        keep: own.ledger.keep.into(),
        budget: BudgetSettings {
            messages: own.messages_max() as usize,
            bytes: own.budget.bytes_max.as_usize(),
            per_key: own.per_key_max() as usize,
            waiting_messages: own.waiting_max() as usize,
            waiting_bytes: own.budget.waiting_bytes_max.as_usize(),
            window: WINDOW,
        },
        rules: Rules::of(&own.event, &own.limits),
        adapter: subscription.adapter.clone(),
    })
}

/// One worker has one session: under one scope two subscriptions would take each other's claims and leases.
pub(super) fn twice(subscription: &config::Subscription, other: &str) -> Error {
    let what = format!(
        "is {:?}, as is that of subscription {other:?}, which reads the same source of the same broker; give each a group \
         of its own, or handle all kinds in one subscription",
        subscription.group()
    );
    subscription.section.refuse("group", &what)
}

fn retry(retry: &config::RetryConfig) -> RetryPolicy {
    RetryPolicy {
        attempts_max: retry.attempts_max,
        delay: retry.delay.into(),
        delay_max: retry.delay_max.into(),
        on_exhausted: match retry.on_exhausted {
            Some(config::OnExhausted::Stop) => OnExhausted::Stop,
            // Left out, it is an unordered subscription: `check_order` refuses the others.
            Some(config::OnExhausted::Skip) | None => OnExhausted::Skip,
        },
        crashes_max: retry.crashes_max,
    }
}

fn ledger(own: &config::SubscriptionConfig) -> LedgerMode {
    match own.ledger.mode {
        config::LedgerMode::Id => LedgerMode::Id,
        config::LedgerMode::Position => LedgerMode::Position,
        config::LedgerMode::Off => LedgerMode::Off,
    }
}

fn refuse(subscription: &config::Subscription, can: &Capabilities) -> Result<(), Error> {
    let own = &subscription.config;
    let section = &subscription.section;
    let kind = can.kind;
    if own.lock == config::Lock::Local && can.partitions {
        let what = format!(
            "can't be `local` on {kind}: whole partitions are claimed, which costs nothing an event; leave it out"
        );
        return Err(section.refuse("lock", &what));
    }
    if own.ledger.mode == config::LedgerMode::Position && !can.partitions {
        let what = format!("can't be `position` on {kind}, which has no positions; write `id` or `off`");
        return Err(section.refuse("ledger.mode", &what));
    }
    if own.ledger.mode == config::LedgerMode::Off && can.partitions {
        let what = format!(
            "can't be `off` on {kind}: reading begins at the store's position; write `position`, which is nearly free"
        );
        return Err(section.refuse("ledger.mode", &what));
    }
    // Rule S8: claims serve only where the ordering key is the broker's own partition key.
    // Without partitions each key has a lease, wherever it is read from.
    if can.partitions && own.event.key.as_ref().is_some_and(|key| *key != config::Locator::Broker) {
        let what = "can't be read from the event on a broker with partitions yet: such a key would need leases beside \
                    claims; publish with it as the broker's key and leave this out";
        return Err(section.refuse("event.key", what));
    }
    if own.start.0 != crate::broker::Reset::Earliest && !can.seek {
        return Err(section.refuse("start", &format!("can't be chosen on {}; leave it out", can.kind)));
    }
    horizon(subscription, can)
}

/// A ledger that forgets before the broker does would let a late redelivery run twice.
fn horizon(subscription: &config::Subscription, can: &Capabilities) -> Result<(), Error> {
    let keep: Duration = subscription.config.ledger.keep.into();
    match can.redelivery_horizon {
        Some(horizon) if keep < horizon => Err(subscription.section.refuse(
            "ledger.keep",
            &format!(
                "is shorter than {horizon:?}, after which {} may deliver an event again; raise it",
                can.kind
            ),
        )),
        _ => Ok(()),
    }
}
