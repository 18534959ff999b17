//! The positions that are stored, as far as this handle knows: by them a group is judged before it is sent.
//!
//! Each position has a version, which grows with every write. A plain commit says by which version it was judged; if
//! the stored one is another, nothing is written and the longer way reads the truth.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use keylane::broker::Partition;
use keylane::store::{ClaimRef, CommitGroup};
use keylane::watermark::{WINDOW_MAX, Watermark};

use super::end::End;
use crate::arrays::Holds;

/// At most one for each partition that was ever claimed here.
#[derive(Debug, Default)]
pub(crate) struct Positions(Mutex<BTreeMap<(i32, Partition), Stored>>);

#[derive(Debug, Clone)]
struct Stored {
    epoch: u64,
    version: i64,
    base: u64,
    sparse: Vec<u8>,
}

impl Positions {
    /// The version of a claim's stored position, and what it covers.
    pub(super) fn of(&self, scope: i32, claim: &ClaimRef) -> Option<(i64, Watermark)> {
        let place = (scope, claim.partition);
        let stored = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&place).cloned()?;
        let watermark = Watermark::restore(stored.base, &stored.sparse, WINDOW_MAX).ok()?;
        (stored.epoch == claim.epoch).then_some((stored.version, watermark))
    }

    /// Notes what a commit wrote.
    pub(super) fn note(&self, group: &CommitGroup, holds: &Holds, end: &End) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, claim, position) in &end.positions {
            let place = (holds.scope[*at], claim.partition);
            let version = end.done.written.iter().zip(&end.done.versions).find(|(written, _)| *written == at);
            match version {
                Some((_, version)) => {
                    let (epoch, version, base) = (claim.epoch, *version, position.base);
                    known.insert(place, Stored { epoch, version, base, sparse: position.sparse.clone() });
                }
                None => drop(known.remove(&place)),
            }
        }
        debug_assert!(end.positions.len() <= group.holds.len(), "one position a claim");
    }
}
