//! Group commit: one transaction for many events, and what is done when it can't be one.
//!
//! A group in which all is as expected is *plain* ([`plain`]): without effects it is one statement, which fails as a
//! whole where something is not as expected. Any other goes the longer way ([`pass`]): fence, look, judge, rows,
//! effects, positions. Effects run without savepoints; where one fails, the transaction is rolled back and replayed
//! with a savepoint a unit, so that only the guilty unit fails (rule C3). Where the commit itself fails, the group is
//! halved until the culprit is alone (rule C4).

mod attempt;
mod effects;
mod end;
mod facts;
mod pass;
mod plain;
mod positions;
mod resolve;
mod rows;
mod stop;

use std::collections::BTreeMap;

use keylane::store::{CommitGroup, Committed, Course};
use keylane::{Error, ErrorKind, Failure};

pub(crate) use positions::Positions;
pub(crate) use resolve::resolve;

use crate::arrays::Holds;
use crate::{PostgresStore, wants};
use attempt::{Answer, transact};
use end::Done;

pub(crate) async fn commit(store: &PostgresStore, group: &CommitGroup) -> Result<Committed, Error> {
    let holds = Holds::of(store, group).await?;
    let mut course = Course::new(group);
    let mut done = Done::default();
    let whole = 0..group.units.len();
    let mut todo = vec![whole];
    let mut failed = BTreeMap::new();
    while let Some(units) = todo.pop() {
        match transact(store, &course, &holds, units.clone(), &mut failed).await {
            Ok(Answer::Committed { fates, done: now }) => {
                course.adopt(&units, fates);
                done = now.after(done);
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
    // Claims are written, leases given back: no hold is among both.
    let mut written = done.written;
    written.extend(done.given);
    written.sort_unstable();
    Ok(Committed {
        written,
        wanted: wants::claims(store, done.claims).await?,
        contended: wants::leases(store, done.leases).await?,
        fates: course.fates,
    })
}

/// Some of the group is durable, so that it must not be committed again as it is.
fn half_done(error: Error) -> Error {
    Error::new(ErrorKind::Unknown, "a commit was taken apart, and only its first part is written")
        .with_source(error)
}

fn refused_without_events(failure: &Failure) -> Error {
    Error::new(ErrorKind::Store, format!("positions alone can't be committed: {failure}"))
}
