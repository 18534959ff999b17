//! Leases: who may run a key, and who waits for it (rules A4, S7, S9).

use super::state::State;
use crate::env::Timestamp;
use crate::store::{LeaseAnswer, LeaseKey, LeaseRef, SessionId};

/// A key's row; it exists only while somebody has the lease or waits for it.
#[derive(Clone, Default)]
pub(super) struct LeaseRow {
    owner: Option<SessionId>,
    token: u64,
    /// Who had it did not give it back.
    unclean: bool,
    /// In the order of their asking, each once.
    waiting: Vec<SessionId>,
    /// Given back, and kept for the one that waited longest, until then.
    kept: Option<(SessionId, Timestamp)>,
}

impl State {
    /// Takes a lease that is free, or waits for it.
    pub(super) fn take_lease(&mut self, session: SessionId, key: &LeaseKey, now: Timestamp) -> LeaseAnswer {
        let mut row = self.leases.remove(key).unwrap_or_default();
        let taken = match (row.owner, row.kept) {
            // Its owner asks again: an answer was lost, or its lane is gone. A new token voids both.
            (Some(owner), _) => owner != session && self.alive(owner, now).is_some(),
            (None, Some((first, until))) => {
                first != session && now < until && self.alive(first, now).is_some()
            }
            (None, None) => false,
        };
        let answer = if taken {
            if !row.waiting.contains(&session) {
                row.waiting.push(session);
            }
            LeaseAnswer::Taken
        } else {
            self.token += 1;
            row.unclean |= row.owner.is_some();
            row.owner = Some(session);
            row.token = self.token;
            row.kept = None;
            row.waiting.retain(|waiting| *waiting != session);
            LeaseAnswer::Granted { token: row.token, unclean: row.unclean }
        };
        self.leases.insert(key.clone(), row);
        answer
    }

    pub(super) fn is_leased(&self, session: SessionId, lease: &LeaseRef) -> bool {
        let row = self.leases.get(&lease.lease);
        row.is_some_and(|row| row.owner == Some(session) && row.token == lease.token)
    }

    /// Gives a lease back that is held: it is kept for who waited longest and still lives.
    pub(super) fn give_back(&mut self, key: &LeaseKey, now: Timestamp) {
        let Some(mut row) = self.leases.remove(key) else { return };
        let living = |session: &SessionId| self.sessions.get(session).filter(|row| row.expires > now);
        row.waiting.retain(|session| living(session).is_some());
        let Some(first) = row.waiting.first().copied() else { return };
        let lifetime = living(&first).map_or_else(Default::default, |session| session.lifetime);
        row.waiting.remove(0);
        row.owner = None;
        row.unclean = false;
        row.kept = Some((first, now + lifetime / 3));
        self.leases.insert(key.clone(), row);
    }

    /// What this session waits for and may ask for now.
    pub(super) fn freed(&self, session: SessionId, now: Timestamp) -> Vec<LeaseKey> {
        let lives = |session| self.sessions.get(&session).is_some_and(|row| row.expires > now);
        let free = |row: &LeaseRow| match (row.owner, row.kept) {
            (Some(owner), _) => !lives(owner) && row.waiting.contains(&session),
            (None, Some((first, _))) if first == session => true,
            (None, Some((first, until))) => row.waiting.contains(&session) && (now >= until || !lives(first)),
            (None, None) => row.waiting.contains(&session),
        };
        self.leases.iter().filter(|(_, row)| free(row)).map(|(key, _)| key.clone()).collect()
    }

    pub(super) fn leases_of(&self, session: SessionId) -> Vec<LeaseRef> {
        self.leases_where(|row| row.owner == Some(session))
    }

    /// Leases of this session that a living one waits for (rule S9).
    pub(super) fn contended(&self, session: SessionId) -> Vec<LeaseRef> {
        let lives = |waiting: &SessionId| self.sessions.contains_key(waiting);
        self.leases_where(|row| row.owner == Some(session) && row.waiting.iter().any(lives))
    }

    fn leases_where(&self, which: impl Fn(&LeaseRow) -> bool) -> Vec<LeaseRef> {
        let found = self.leases.iter().filter(|(_, row)| which(row));
        found.map(|(key, row)| LeaseRef { lease: key.clone(), token: row.token }).collect()
    }
}
