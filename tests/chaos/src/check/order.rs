//! Effects of a key stand in the order of its numbers, and so do the first beginnings of its events; nothing
//! is written by a worker that was replaced.

use std::collections::HashMap;

use super::promise::Promises;
use super::{Breach, Finding, History};
use crate::clock::Nanos;
use crate::workload::Numbered;

pub(super) fn check(history: &History, promises: &Promises) -> Vec<Finding> {
    let mut findings = stale(history);
    if history.ordered {
        findings.extend(effects(history));
        findings.extend(starts(history, promises));
    }
    findings
}

fn effects(history: &History) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut last: HashMap<String, u64> = HashMap::new();
    for Numbered { key, number } in history.effects.iter().filter_map(|effect| Numbered::of(&effect.id)) {
        let last = last.entry(key.clone()).or_default();
        if number < *last {
            let about = format!("the effect of {key}.{number} stands behind that of {key}.{last}");
            findings.push(Finding::new(Breach::OutOfOrder, about));
        }
        *last = number.max(*last);
    }
    findings
}

/// The first beginning of each event, without those that no promise covered.
fn starts(history: &History, promises: &Promises) -> Vec<Finding> {
    let mut first: HashMap<&str, Nanos> = HashMap::new();
    for (pid, life) in &history.lives {
        for turn in life.turns.iter().filter(|turn| promises.until(*pid, turn.start).is_some()) {
            let first = first.entry(&turn.id).or_insert(Nanos::MAX);
            *first = turn.start.min(*first);
        }
    }
    let mut sorted: Vec<(Nanos, Numbered)> =
        first.into_iter().filter_map(|(id, at)| Some((at, Numbered::of(id)?))).collect();
    sorted.sort_unstable_by_key(|(at, event)| (*at, event.number));
    let mut findings = Vec::new();
    let mut last: HashMap<String, u64> = HashMap::new();
    for (_, Numbered { key, number }) in sorted {
        let last = last.entry(key.clone()).or_default();
        if number < *last {
            let about = format!("{key}.{number} was first begun after {key}.{last}");
            findings.push(Finding::new(Breach::OutOfOrder, about));
        }
        *last = number.max(*last);
    }
    findings
}

/// Whoever has a greater token had it before it began to run; what is written after that under a smaller one should
/// have been refused.
fn stale(history: &History) -> Vec<Finding> {
    let mut begun: HashMap<String, Vec<(Nanos, u64)>> = HashMap::new();
    for turn in history.lives.values().flat_map(|life| &life.turns) {
        let Some(Numbered { key, .. }) = Numbered::of(&turn.id) else { continue };
        begun.entry(key).or_default().push((turn.start, turn.token));
    }
    for runs in begun.values_mut() {
        runs.sort_unstable();
        // The greatest so far.
        let mut greatest = 0;
        for (_, token) in runs {
            greatest = greatest.max(*token);
            *token = greatest;
        }
    }
    let mut findings = Vec::new();
    for effect in &history.effects {
        let key = Numbered::of(&effect.id).map(|event| event.key).unwrap_or_default();
        let runs = begun.get(&key).map_or(&[][..], Vec::as_slice);
        let before = runs.partition_point(|(start, _)| *start < effect.at);
        if let Some((_, token)) = runs[..before].last().filter(|(_, token)| *token > effect.token) {
            let (id, own, worker) = (&effect.id, effect.token, effect.worker);
            let about = format!("{worker} wrote {id} under {own}, after its key was run under {token}");
            findings.push(Finding::new(Breach::Stale, about));
        }
    }
    findings
}
