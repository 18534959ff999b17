//! Tokens, epochs, and whose turn it is.

use std::collections::BTreeMap;

use bytes::Bytes;
use keylane::broker::Partition;
use keylane::store::{Hold, LeaseAnswer, LeaseKey, SessionId};

/// Once nothing goes wrong any more, so many others may get a lease before one that waits for it: there are no
/// more workers than that, and each may have been in the line before.
const OVERTAKEN_MAX: u32 = 5;

#[derive(Default)]
pub(super) struct Holds {
    /// The last token of each key.
    granted: BTreeMap<LeaseKey, u64>,
    /// The token or epoch of each key's last effect.
    effects: BTreeMap<(Option<Partition>, Bytes), u64>,
    /// Each worker's session.
    sessions: BTreeMap<usize, SessionId>,
    /// Who waits for a key, and how often it was overtaken since all is calm.
    waiting: BTreeMap<LeaseKey, BTreeMap<SessionId, u32>>,
    calm: bool,
    /// How many effects a key had under one token while another worker waited for it (rule S9).
    turns: BTreeMap<Bytes, (u64, u32)>,
}

/// More than a key's turn, which is 64 events, and what is under way when it ends.
const TURNS_MAX: u32 = 128;

impl Holds {
    pub(super) fn registers(&mut self, node: usize, session: SessionId) {
        self.sessions.insert(node, session);
    }

    pub(super) fn sessions(&self) -> impl Iterator<Item = (usize, SessionId)> {
        self.sessions.iter().map(|(node, session)| (*node, *session))
    }

    pub(super) fn calm(&mut self) {
        self.calm = true;
        self.waiting.values_mut().flat_map(BTreeMap::values_mut).for_each(|times| *times = 0);
    }

    /// The store answered who asked for leases; what is wrong with that. `lives` says who is to be counted on.
    pub(super) fn answered(
        &mut self,
        session: SessionId,
        leases: Vec<(LeaseKey, LeaseAnswer)>,
        lives: impl Fn(SessionId) -> bool,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        for (key, answer) in leases {
            let name = String::from_utf8_lossy(&key.key).into_owned();
            let waiting = self.waiting.entry(key.clone()).or_default();
            match answer {
                LeaseAnswer::Taken => {
                    waiting.entry(session).or_default();
                }
                LeaseAnswer::Granted { token, .. } => {
                    let before = self.granted.insert(key, token);
                    if before.is_some_and(|before| before >= token) {
                        wrong.push(format!("{name} is granted with token {token} after {before:?}"));
                    }
                    waiting.remove(&session);
                    waiting.retain(|waits, _| lives(*waits));
                    for times in waiting.values_mut().filter(|_| self.calm) {
                        *times += 1;
                        if *times > OVERTAKEN_MAX {
                            wrong.push(format!("who waits for {name} was overtaken {times} times"));
                            *times = 0;
                        }
                    }
                }
            }
        }
        wrong
    }

    /// An effect of a key is durable. `lives` says who is to be counted on: of a session that was closed or
    /// taken over the key's owner is not told any more.
    pub(super) fn effect(
        &mut self,
        hold: &Hold,
        key: &Bytes,
        lives: impl Fn(SessionId) -> bool,
    ) -> Option<String> {
        let (partition, number) = match hold {
            Hold::Claim(claim) => (Some(claim.partition), claim.epoch),
            Hold::Lease(lease) => (None, lease.token),
        };
        let before = self.effects.insert((partition, key.clone()), number).unwrap_or(0);
        if let Hold::Lease(lease) = hold {
            let waiting = self.waiting.get(&lease.lease);
            let waited = waiting.is_some_and(|waiting| waiting.keys().any(|waits| lives(*waits)));
            let turns = self.turns.entry(key.clone()).or_default();
            let counts = waited && turns.0 == number && self.calm;
            *turns = (number, if counts { turns.1 + 1 } else { 0 });
            if turns.1 == TURNS_MAX {
                return Some(format!(
                    "{TURNS_MAX} effects of one key under one lease, while another worker waits"
                ));
            }
        }
        let name = String::from_utf8_lossy(key);
        (number < before).then(|| format!("{name} has an effect under {number}, after one under {before}"))
    }
}
