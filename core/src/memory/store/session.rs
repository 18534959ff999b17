//! Sessions: registered once, renewed by a plain update, ended by deletion (rules S1 and S4).

use std::time::Duration;

use super::state::{ClaimRow, SessionRow, State};
use crate::env::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::store::{ClaimRef, NewSession, Parked, Renewed, Scope, SessionId};

impl State {
    pub(super) fn register(&mut self, session: NewSession, now: Timestamp) -> Result<(), Error> {
        // S1: an id is never used again, so that a fence once passed stays passed.
        if !self.used.insert(session.id) {
            let what = format!("session {} was registered before; draw a new id", session.id);
            return Err(Error::new(ErrorKind::SessionLost, what));
        }
        let NewSession { id, worker, lifetime } = session;
        self.sessions.insert(id, SessionRow { worker, lifetime, expires: now + lifetime });
        Ok(())
    }

    pub(super) fn renew(
        &mut self,
        session: SessionId,
        leased: &[Scope],
        now: Timestamp,
    ) -> Result<Renewed, Error> {
        // S1: an update of a row that is there, never an insert. A session past its expiry that nobody
        // took over lives on: the row is the fence, not the worker's clock.
        if mutant!("s1-renewal-revives") && !self.sessions.contains_key(&session) {
            let lifetime = Duration::from_secs(3);
            self.sessions.insert(session, SessionRow { worker: String::new(), lifetime, expires: now });
        }
        let row = self.sessions.get_mut(&session).ok_or_else(|| lost(session))?;
        row.expires = now + row.lifetime;
        Ok(Renewed {
            wanted: self.wanted(session),
            contended: self.contended(session),
            repositioned: self.claims_of(session, |row| row.repositioned),
            released: self.released(session, leased),
        })
    }

    /// The fence of admit, commit and resolve (rule C1).
    pub(super) fn check_session(&self, session: SessionId) -> Result<(), Error> {
        let there = self.sessions.contains_key(&session) || mutant!("c1-session-ignored");
        if there { Ok(()) } else { Err(lost(session)) }
    }

    /// S3: how long a transaction of this session may be open; the same fence.
    pub(super) fn transaction_limit(&self, session: SessionId) -> Result<Duration, Error> {
        if mutant!("c1-session-ignored") {
            return Ok(Duration::from_secs(1));
        }
        self.sessions.get(&session).map(|row| row.lifetime / 3).ok_or_else(|| lost(session))
    }

    pub(super) fn close_session(&mut self, session: SessionId) {
        if self.sessions.remove(&session).is_none() {
            return;
        }
        for row in self.claims.values_mut().filter(|row| row.owner == Some(session)) {
            row.owner = None;
            // Rule T1: what was not given back before was not ended in order.
            row.unclean = true;
            row.wanted_since = None;
            row.repositioned = false;
        }
        self.forget_waiting();
    }

    /// Claims of this session that another wants (rule S5).
    pub(super) fn wanted(&self, session: SessionId) -> Vec<ClaimRef> {
        self.claims_of(session, |row| row.wanted_since.is_some())
    }

    fn claims_of(&self, session: SessionId, which: impl Fn(&ClaimRow) -> bool) -> Vec<ClaimRef> {
        let owned = self.claims.iter().filter(|(_, row)| row.owner == Some(session) && which(row));
        let named = owned.map(|((scope, partition), row)| ClaimRef {
            scope: scope.clone(),
            partition: *partition,
            epoch: row.epoch,
        });
        named.collect()
    }

    /// Requested releases go to who holds the partition, or to all who may take the key's lease (rule P3).
    fn released(&self, session: SessionId, leased: &[Scope]) -> Vec<Parked> {
        let requested = self.parking.requested();
        let owned = requested.filter(|row| {
            let place = (row.scope.clone(), row.partition);
            leased.contains(&row.scope)
                || self.claims.get(&place).is_some_and(|claim| claim.owner == Some(session))
        });
        owned.cloned().collect()
    }
}

pub(super) fn lost(session: SessionId) -> Error {
    Error::new(ErrorKind::SessionLost, format!("session {session} is gone; start a new one"))
}
