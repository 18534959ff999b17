//! Group commit: one transaction for many events, and what is done when it can't be one.
//!
//! The common way is a single pass without savepoints ([`pass`]): fence, look, rows in bulk, effects,
//! positions, commit. Where an effect fails, the transaction is rolled back and replayed with a
//! savepoint a unit, so that only the guilty unit fails (rule C3). Where the commit itself fails, the
//! group is halved until the culprit is alone (rule C4). SQLite locks the file and not rows, so no
//! order of keys is needed against deadlock (rule C7).

mod effects;
mod facts;
mod pass;
mod resolve;
mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use keylane::store::{ClaimRef, CommitGroup, Committed, Course, Fate, LeaseRef};
use keylane::{Error, ErrorKind, Failure};

pub(crate) use resolve::resolve;

use crate::SqliteStore;
use crate::database::CommitError;
use pass::{Mode, Ran};

pub(crate) async fn commit(store: &SqliteStore, group: &CommitGroup) -> Result<Committed, Error> {
    let mut course = Course::new(group);
    let mut told = Told::default();
    let mut given_back = BTreeSet::new();
    let whole = 0..group.units.len();
    let mut todo = vec![whole];
    let mut failed = BTreeMap::new();
    while let Some(units) = todo.pop() {
        match transact(store, &course, units.clone(), &mut failed).await {
            Ok(Answer::Committed { fates, told: newest }) => {
                course.adopt(&units, fates);
                // A later part finds those gone that an earlier one gave back.
                given_back.extend(newest.given_back.iter().copied());
                told = newest;
            }
            Ok(Answer::Refused(failure)) => match units.len() {
                0 => return Err(refused_without_events(&failure)),
                1 => course.fail(units.start, &failure),
                // C4: the left half first, because later events of a key follow from earlier ones.
                half => {
                    let middle = units.start + half / 2;
                    todo.push(middle..units.end);
                    todo.push(units.start..middle);
                }
            },
            // S3: what did not fit the time of one transaction gets another.
            Ok(Answer::Late(unit)) => {
                todo.push(unit..units.end);
                todo.push(units.start..unit);
            }
            Err(error) if course.has_begun() => return Err(half_done(error)),
            Err(error) => return Err(error),
        }
    }
    if told.waits && !given_back.is_empty() {
        store.database.leases().notify_waiters();
    }
    let mut written: Vec<usize> = told.claims.into_iter().chain(given_back).collect();
    written.sort_unstable();
    Ok(Committed { fates: course.fates, written, wanted: told.wanted, contended: told.contended })
}

/// What one transaction says beside its fates; claims and leases by their number in the group.
#[derive(Default)]
pub(crate) struct Told {
    /// Those of which a position was written.
    claims: Vec<usize>,
    given_back: Vec<usize>,
    wanted: Vec<ClaimRef>,
    contended: Vec<LeaseRef>,
    /// Somebody waits for a lease.
    waits: bool,
}

/// The answer to one transaction.
enum Answer {
    Committed {
        fates: Vec<Fate>,
        told: Told,
    },
    /// The commit itself failed by a constraint; nothing was written.
    Refused(Failure),
    /// The time was up at this unit, not the first with effects; nothing was written.
    Late(usize),
}

/// Commits some of the group's units, with as many tries as there are units that must be left out.
/// Those are noted in `failed`.
async fn transact(
    store: &SqliteStore,
    course: &Course<'_>,
    units: Range<usize>,
    failed: &mut BTreeMap<usize, Failure>,
) -> Result<Answer, Error> {
    let mut mode = Mode::Together;
    loop {
        let mut writer = store.database.write().await?;
        let ran = pass::run(store, &mut writer, course, units.clone(), mode, failed).await;
        match ran {
            Ok(Ran::Through { fates, told }) => match writer.commit().await {
                Ok(()) => return Ok(Answer::Committed { fates, told }),
                Err(CommitError::Constraint(error)) => return Ok(Answer::Refused(error.into())),
                Err(CommitError::Store(error)) => return Err(error),
            },
            Ok(Ran::Failed) => writer.rollback().await,
            Ok(Ran::Broken(unit, failure)) => {
                writer.rollback().await;
                failed.insert(unit, failure);
            }
            Ok(Ran::Late(unit)) => {
                writer.rollback().await;
                return Ok(Answer::Late(unit));
            }
            Err(error) => {
                writer.rollback().await;
                return Err(error);
            }
        }
        mode = Mode::Savepoints;
    }
}

/// Some of the group is durable, so that it must not be committed again as it is.
fn half_done(error: Error) -> Error {
    Error::new(ErrorKind::Unknown, "a commit was halved, and only its first part is written")
        .with_source(error)
}

fn refused_without_events(failure: &Failure) -> Error {
    Error::new(ErrorKind::Store, format!("positions alone can't be committed: {failure}"))
}
