//! Every event has one effect, and every effect an event.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Breach, Finding, History};
use crate::workload::Numbered;

pub(super) fn check(history: &History) -> Vec<Finding> {
    let mut findings = Vec::new();
    let published: HashSet<String> = history.published.iter().map(|published| published.event.id()).collect();
    let started: HashSet<&str> =
        history.lives.values().flat_map(|life| &life.turns).map(|turn| turn.id.as_str()).collect();
    let mut done: HashMap<&str, u32> = HashMap::new();
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for effect in &history.effects {
        let times = done.entry(&effect.id).or_default();
        *times += 1;
        if *times > 1 {
            let about = format!("{} has effect {times}, by {}", effect.id, effect.worker);
            findings.push(Finding::new(Breach::Doubled, about));
        }
        match Numbered::of(&effect.id).filter(|_| published.contains(&effect.id)) {
            Some(Numbered { key, number }) => {
                let last = last.entry(key).or_default();
                *last = number.max(*last);
            }
            None => {
                findings.push(Finding::new(Breach::Doubled, format!("{} was never published", effect.id)))
            }
        }
        if !started.contains(effect.id.as_str()) {
            findings.push(Finding::new(Breach::Evidence, format!("nobody wrote of beginning {}", effect.id)));
        }
    }
    for dead in &history.dead {
        findings.push(Finding::new(Breach::Lost, format!("{dead} is a dead letter")));
    }
    for event in history.published.iter().map(|published| &published.event) {
        let id = event.id();
        if done.contains_key(id.as_str()) {
            continue;
        }
        let passed = last.get(&event.key).is_some_and(|last| *last > event.number);
        findings.push(match passed {
            true => Finding::new(Breach::Lost, format!("{id} has no effect, a later one of its key has")),
            false => Finding::new(Breach::Stuck, format!("{id} has no effect yet")),
        });
    }
    for (pid, life) in &history.lives {
        let torn = life.torn.iter().map(|line| format!("a line of {pid}: {line}"));
        findings.extend(torn.map(|about| Finding::new(Breach::Evidence, about)));
    }
    findings
}
