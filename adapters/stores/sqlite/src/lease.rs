//! Leases: not yet in this store.

use keylane::store::{LeaseKey, LeaseRef, SessionId};
use keylane::{Error, ErrorKind};

use crate::SqliteStore;

pub(crate) async fn freed(_store: &SqliteStore, _session: SessionId) -> Result<Vec<LeaseKey>, Error> {
    Err(Error::new(ErrorKind::Unsupported, "leases in the sqlite store"))
}

pub(crate) async fn of_session(_store: &SqliteStore, _session: SessionId) -> Result<Vec<LeaseRef>, Error> {
    Ok(Vec::new())
}
