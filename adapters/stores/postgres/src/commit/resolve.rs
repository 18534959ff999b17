//! After an unknown answer: what of a group is durable.

use keylane::Error;
use keylane::store::Facts as _;
use keylane::store::{Admission, AttemptRow, CommitEvent, CommitGroup, Course, Fate, Verdict};

use super::attempt::Attempt;
use super::facts::Facts;
use super::stop::Stop;
use crate::arrays::Holds;
use crate::database::Link;
use crate::numbers::signed;
use crate::{PostgresStore, claim, id, parking};

/// U1: the own session's row is locked first. That waits out the lost transaction, which may still be running; only
/// then is anything read.
pub(crate) async fn resolve(store: &PostgresStore, group: &CommitGroup) -> Result<Vec<Fate>, Error> {
    let holds = Holds::of(store, group).await?;
    let course = Course::new(group);
    let failed = std::collections::BTreeMap::new();
    let units = 0..group.units.len();
    let attempt = Attempt { store, course: &course, holds: &holds, units, failed: &failed, writing: None };
    let mut link = store.database.commits().await?;
    let fates = read(&attempt, &mut link).await;
    link.undo().await;
    fates.map_err(|stop| match stop {
        Stop::Error(error) | Stop::Collided(error) => error,
        _ => Error::new(keylane::ErrorKind::Store, "could not read what became of a commit; ask again"),
    })
}

async fn read(attempt: &Attempt<'_>, link: &mut Link<'_>) -> Result<Vec<Fate>, Stop> {
    link.begin().await?;
    let sql = attempt.store.database.sql("SELECT id FROM {keylane}.sessions WHERE id = $1 FOR UPDATE");
    let locked = sql.query().bind(attempt.course.group.session.0).execute(&mut **link).await;
    locked.map_err(|error| Stop::of(link, "could not lock the session", error))?;
    let facts = Facts::read(attempt, link, false).await?;
    let mut fates = Vec::new();
    for (number, event) in attempt.course.group.events().enumerate() {
        fates.push(fate(attempt, link, &facts, number, event).await?);
    }
    Ok(fates)
}

async fn fate(
    attempt: &Attempt<'_>,
    link: &mut Link<'_>,
    facts: &Facts,
    number: usize,
    event: &CommitEvent,
) -> Result<Fate, Stop> {
    let durable = match &event.verdict {
        Verdict::Tried(row) | Verdict::Started(row) => is_kept(attempt, link, event, row).await?,
        // Its row is gone, and this run took it.
        Verdict::Finish if event.unpark.is_some() => !facts.unparked.contains_key(&number),
        // Parked is no finish of this event's, and a finish no parking: another did that.
        Verdict::Finish => facts.standing(number, event) == Admission::Finished,
        Verdict::Park(parked) => match facts.find(attempt, link, event, &parked.parked_id()).await? {
            Some(place) => {
                let row = parking::load(&attempt.store.database, link, place).await?;
                row.as_ref() == Some(&**parked)
            }
            None => false,
        },
    };
    if durable {
        return Ok(Fate::Committed);
    }
    let standing = match event.is_note() && event.unpark.is_none() {
        true => Admission::Fresh,
        false => facts.standing(number, event),
    };
    Ok(match standing {
        Admission::Finished | Admission::Parked => Fate::Duplicate,
        Admission::Conflict => Fate::Conflict,
        Admission::Fresh | Admission::Tried(_) if facts.held[event.hold] => Fate::Behind,
        // Not durable, and never to be.
        Admission::Fresh | Admission::Tried(_) => Fate::Excluded,
    })
}

async fn is_kept(
    attempt: &Attempt<'_>,
    link: &mut Link<'_>,
    event: &CommitEvent,
    row: &AttemptRow,
) -> Result<bool, Stop> {
    let partition = attempt.holds.partition[event.hold];
    let sql = match partition {
        Some(_) => {
            "SELECT * FROM {keylane}.attempts
             WHERE scope = $1 AND partition = $2 AND generation = $3 AND \"offset\" = $4 AND id = $5"
        }
        None => {
            "SELECT * FROM {keylane}.tries
             WHERE scope = $1 AND $2::bigint IS NULL AND generation = $3 AND \"offset\" = $4 AND id = $5"
        }
    };
    let kept = attempt
        .store
        .database
        .sql(sql)
        .query()
        .bind(attempt.holds.scope[event.hold])
        .bind(partition)
        .bind(signed(row.generation))
        .bind(signed(row.offset))
        .bind(id::key(&row.id))
        .fetch_optional(&mut **link)
        .await;
    let kept = kept.map_err(|error| Stop::of(link, "could not read attempts", error))?;
    Ok(kept.as_ref().map(claim::attempt).transpose()?.as_ref() == Some(row))
}
