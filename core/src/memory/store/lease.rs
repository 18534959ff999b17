//! Leases: who may run a key, and who waits for it (rules A4, S7, S9).

use std::time::Duration;

use super::state::State;
use crate::env::Timestamp;
use crate::store::{AttemptRow, LeaseAnswer, LeaseKey, LeaseRef, Scope, SessionId};

/// A key's row; it exists only while somebody has the lease or waits for it, or is to make marks.
#[derive(Clone, Default)]
pub(super) struct LeaseRow {
    owner: Option<SessionId>,
    token: u64,
    /// So many of its next events are to be marked before they run (rule T1).
    marks: u32,
    /// When it was granted last.
    granted: Timestamp,
    /// In the order of their asking, each once, until they ask again and get it.
    waiting: Vec<SessionId>,
    /// Given back, and kept for the one that waited longest, until then.
    kept: Option<(SessionId, Timestamp)>,
}

/// What is known of a leased event that was tried.
#[derive(Clone)]
pub(super) struct Tried {
    pub(super) row: AttemptRow,
    pub(super) written: Timestamp,
}

impl LeaseRow {
    /// Nobody has it or waits for it, and there is nothing to tell to the next one.
    fn is_idle(&self) -> bool {
        self.owner.is_none() && self.waiting.is_empty() && self.marks == 0
    }
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
            self.token += u64::from(!mutant!("a4-token-reused"));
            if row.owner.is_some() {
                row.marks = u32::MAX;
            }
            row.owner = Some(session);
            row.token = self.token;
            row.granted = now;
            row.waiting.retain(|waiting| *waiting != session && self.sessions.contains_key(waiting));
            // S9: who was kept a lease for and did not come stands behind the others from now on.
            if let Some((late, _)) = row.kept.take()
                && let Some(at) = row.waiting.iter().position(|waiting| *waiting == late)
            {
                row.waiting[at..].rotate_left(1);
            }
            LeaseAnswer::Granted { token: row.token, marks: row.marks }
        };
        self.leases.insert(key.clone(), row);
        answer
    }

    pub(super) fn is_leased(&self, session: SessionId, lease: &LeaseRef) -> bool {
        let row = self.leases.get(&lease.lease);
        row.is_some_and(|row| {
            row.owner == Some(session) && (row.token == lease.token || mutant!("c1-token-ignored"))
        })
    }

    /// Gives a lease back that is held: it is kept for who waited longest and still lives. `marks` of those that it was
    /// granted with are left for the next one to make.
    pub(super) fn give_back(&mut self, key: &LeaseKey, marks: u32, now: Timestamp) {
        let Some(mut row) = self.leases.remove(key) else { return };
        row.waiting.retain(|session| self.sessions.contains_key(session));
        row.marks = row.marks.min(marks);
        row.owner = None;
        if row.is_idle() {
            return;
        }
        let living = |session: &SessionId| self.sessions.get(session).filter(|row| row.expires > now);
        let living_first = |session: &SessionId| Some((*session, living(session)?.lifetime));
        let first = if mutant!("s9-last-comes-first") {
            row.waiting.iter().rev().find_map(living_first)
        } else {
            row.waiting.iter().find_map(living_first)
        };
        let first = first.filter(|_| !mutant!("s9-not-kept"));
        row.kept = first.map(|(first, lifetime)| (first, now + lifetime / 3));
        self.leases.insert(key.clone(), row);
    }

    /// What this session waits for and may ask for now.
    pub(super) fn freed(&self, session: SessionId, now: Timestamp) -> Vec<LeaseKey> {
        let lives = |session| self.sessions.get(&session).is_some_and(|row| row.expires > now);
        let free = |row: &LeaseRow| match (row.owner, row.kept) {
            (Some(owner), _) => !lives(owner),
            (None, Some((first, until))) => first == session || now >= until || !lives(first),
            (None, None) => true,
        };
        let waited = self.leases.iter().filter(|(_, row)| row.waiting.contains(&session));
        waited.filter(|(_, row)| free(row)).map(|(key, _)| key.clone()).collect()
    }

    /// After sessions ended: they wait for nothing any more, and rows that nobody has or waits for go.
    pub(super) fn forget_waiting(&mut self) {
        let sessions = &self.sessions;
        self.leases.retain(|_, row| {
            row.waiting.retain(|session| sessions.contains_key(session));
            !row.is_idle()
        });
    }

    /// Leases whose owner is gone, or was the last one, and whom nobody asked for that long: their events don't come
    /// again. And tries of events that were not tried for that long.
    pub(super) fn sweep_leases(&mut self, subscription: &str, keep: Duration, now: Timestamp) {
        let sessions = &self.sessions;
        let meant = |scope: &Scope| *scope.subscription == *subscription;
        self.leases.retain(|key, row| {
            let gone = row.owner.is_none_or(|owner| !sessions.contains_key(&owner));
            !(meant(&key.scope) && gone && row.waiting.is_empty() && now.since(row.granted) >= keep)
        });
        self.tries.retain(|(scope, _), kept| !meant(scope) || now.since(kept.written) < keep);
    }

    pub(super) fn leases_of(&self, session: SessionId) -> Vec<LeaseRef> {
        let lives = self.sessions.contains_key(&session);
        self.leases_where(|row| lives && row.owner == Some(session))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::NewSession;

    fn session(state: &mut State, number: u128, lifetime: u64) -> SessionId {
        let id = SessionId(uuid::Uuid::from_u128(number));
        let lifetime = Duration::from_secs(lifetime);
        let new = NewSession { id, worker: "w".to_owned(), lifetime };
        state.register(new, Timestamp::default()).expect("a new session");
        id
    }

    #[test]
    fn s7_rows_that_nobody_has_or_waits_for_go() {
        let mut state = State::default();
        let scope = Scope { subscription: "s".into(), broker: "b".into(), source: "o".into() };
        let key = LeaseKey { scope, key: "k".into() };
        let now = Timestamp::default();
        let owner = session(&mut state, 1, 60);
        state.take_lease(owner, &key, now);
        state.give_back(&key, 0, now);
        assert!(state.leases.is_empty(), "given back, and nobody waits");

        let (waits, other) = (session(&mut state, 2, 6), session(&mut state, 3, 60));
        state.take_lease(owner, &key, now);
        state.take_lease(waits, &key, now);
        state.give_back(&key, 0, now);
        assert_eq!(state.leases.len(), 1, "kept for who waits");
        state.close_session(waits);
        assert!(state.leases.is_empty(), "who waited was closed");

        let waits = session(&mut state, 4, 6);
        state.take_lease(owner, &key, now);
        state.take_lease(waits, &key, now);
        let later = now + Duration::from_secs(7);
        state.give_back(&key, 0, later);
        assert!(state.alive(waits, later).is_none());
        assert!(state.leases.is_empty(), "who waited was taken over");

        state.take_lease(owner, &key, later);
        state.close_session(owner);
        state.sweep("s", Duration::from_secs(10), later);
        assert_eq!(state.leases.len(), 1, "its end was not clean, which the next one is to know");
        state.take_lease(other, &key, later);
        state.sweep("s", Duration::ZERO, later + Duration::from_secs(1));
        assert_eq!(state.leases.len(), 1, "it is held");
        state.close_session(other);
        state.sweep("s", Duration::from_secs(10), later + Duration::from_secs(10));
        assert!(state.leases.is_empty(), "nobody came back to it");
    }
}
