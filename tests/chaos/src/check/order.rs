//! Effects of a key stand in the order of its numbers, and so do the first beginnings of its events; fencing
//! tokens of a key never go back.

use std::collections::HashMap;

use super::promise::Promises;
use super::{Breach, Finding, History};
use crate::clock::Nanos;
use crate::workload::Numbered;

pub(super) fn check(history: &History, promises: &Promises) -> Vec<Finding> {
    let mut findings = tokens(history);
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
    sorted.sort_unstable_by(|a, b| (a.0, a.1.number).cmp(&(b.0, b.1.number)));
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

fn tokens(history: &History) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut greatest: HashMap<String, u64> = HashMap::new();
    for effect in &history.effects {
        let Some(Numbered { key, .. }) = Numbered::of(&effect.id) else { continue };
        let greatest = greatest.entry(key).or_default();
        if effect.token < *greatest {
            let about = format!("{} was written under {} after {greatest}", effect.id, effect.token);
            findings.push(Finding::new(Breach::Token, about));
        }
        *greatest = effect.token.max(*greatest);
    }
    findings
}
