//! How long keys stood still because of a fault.
//!
//! Of a fault, the time that counts begins when it was injected, where others can take over (a worker is killed,
//! stopped, drained or cut off), or when it was over, where nobody can do anything before (a server is away, a
//! link is slow). An event is affected that was published before the next fault and had no effect at that time.
//! From then, or from its own publication if that was later, until its effect, its key stands still while no
//! handler runs for it and no effect of it is written: a slow handler is no outage, and neither is the queue of
//! a hot key that goes on. The recovery time of the fault is the longest such standstill. What the same figure
//! is without a fault stands beside it.

use std::collections::{BTreeMap, HashMap};

use super::{Happened, History};
use crate::clock::Nanos;
use crate::plan::Kind;
use crate::workload::Numbered;

/// Recovery times of a kind of fault, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// One for each fault, sorted.
    pub times: Vec<Nanos>,
}

impl Recovery {
    /// The time that so many in a hundred don't exceed.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Nanos {
        let at = (self.times.len() * percent).div_ceil(100).saturating_sub(1);
        self.times.get(at).copied().unwrap_or_default()
    }
}

/// An event that has its effect.
struct Waited<'a> {
    key: &'a str,
    published: Nanos,
    done: Nanos,
}

/// When something of a key went on: sorted spans that don't touch.
type Busy = HashMap<String, Vec<(Nanos, Nanos)>>;

/// A fault and when it was overcome.
pub(super) struct Recovered {
    kind: Kind,
    waited: Nanos,
    pub(super) at: Nanos,
    /// When the next one came.
    pub(super) next: Nanos,
}

/// Fault by fault; and the longest wait in the quiet time.
pub(super) fn of(history: &History) -> (Vec<Recovered>, Nanos) {
    let events = waited(history);
    let busy = busy(history);
    let longest = |from: Nanos, next: Nanos| {
        let until = events.partition_point(|event| event.published < next);
        let affected = events[..until].iter().filter(|event| event.done > from);
        affected.map(|event| standstill(event, from, &busy)).max().unwrap_or_default()
    };
    let recovered = |(nth, fault): (usize, &Happened)| {
        let from = if fault.kind.counts_from_its_end() { fault.until } else { fault.from };
        let next = history.faults.get(nth + 1).map_or(fault.from + history.gap, |next| next.from);
        let waited = longest(from, next);
        Recovered { kind: fault.kind, waited, at: from + waited, next }
    };
    let all = history.faults.iter().enumerate().map(recovered).collect();
    (all, longest(history.quiet.0, history.quiet.1))
}

/// By kind of fault.
pub(super) fn by_kind(recovered: &[Recovered]) -> BTreeMap<Kind, Recovery> {
    let mut by_kind: BTreeMap<Kind, Recovery> = BTreeMap::new();
    for fault in recovered {
        by_kind.entry(fault.kind).or_default().times.push(fault.waited);
    }
    for recovery in by_kind.values_mut() {
        recovery.times.sort_unstable();
    }
    by_kind
}

/// In the order of publication. What was never done is stuck or lost, and no matter of time.
fn waited(history: &History) -> Vec<Waited<'_>> {
    // The first effect counts.
    let mut done: HashMap<&str, Nanos> = HashMap::new();
    for effect in &history.effects {
        done.entry(&effect.id).or_insert(effect.at);
    }
    let mut events: Vec<Waited<'_>> = history
        .published
        .iter()
        .filter_map(|published| {
            let done = *done.get(published.event.id().as_str())?;
            Some(Waited { key: &published.event.key, published: published.at, done })
        })
        .collect();
    events.sort_by_key(|event| event.published);
    events
}

fn busy(history: &History) -> Busy {
    let mut busy: Busy = HashMap::new();
    for (&pid, life) in &history.lives {
        let death = history.deaths.get(&pid).copied().unwrap_or(Nanos::MAX);
        // A process that stands still works at nothing.
        let stops: Vec<&Happened> = history
            .faults
            .iter()
            .filter(|fault| fault.kind == Kind::Stop && fault.pid == Some(pid))
            .collect();
        for turn in &life.turns {
            let Some(Numbered { key, .. }) = Numbered::of(&turn.id) else { continue };
            let end = turn.end.map_or(death, |(at, _)| at.min(death));
            let stopped = stops.iter().find(|stop| (turn.start..end).contains(&stop.from));
            let end = stopped.map_or(end, |stop| stop.from);
            busy.entry(key).or_default().push((turn.start, end));
        }
    }
    for effect in &history.effects {
        let Some(Numbered { key, .. }) = Numbered::of(&effect.id) else { continue };
        busy.entry(key).or_default().push((effect.at, effect.at));
    }
    for spans in busy.values_mut() {
        spans.sort_unstable();
        spans.dedup_by(|next, last| {
            let touches = next.0 <= last.1;
            if touches {
                last.1 = last.1.max(next.1);
            }
            touches
        });
    }
    busy
}

/// How long at a time nothing of the event's key went on while it waited.
fn standstill(event: &Waited<'_>, from: Nanos, busy: &Busy) -> Nanos {
    let mut since = from.max(event.published);
    let spans = busy.get(event.key).map_or(&[][..], Vec::as_slice);
    let first = spans.partition_point(|(_, end)| *end <= since);
    let mut longest = 0;
    for (start, end) in spans[first..].iter().take_while(|(start, _)| *start < event.done) {
        longest = longest.max(start.saturating_sub(since));
        since = since.max(*end);
    }
    longest.max(event.done.saturating_sub(since))
}
