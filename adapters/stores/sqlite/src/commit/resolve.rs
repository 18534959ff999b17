//! After an unknown answer: what of a group is durable.

use keylane::Error;
use keylane::store::Facts as _;
use keylane::store::{Admission, AttemptRow, CommitEvent, CommitGroup, Fate, Verdict};
use sqlx::SqliteConnection;

use super::facts::Facts;
use crate::{SqliteStore, claim, parking, session, tries};

/// U1: the write lock is taken first. It waits out the lost transaction, which may still be running,
/// here or in another process; only then is anything read.
pub(crate) async fn resolve(store: &SqliteStore, group: &CommitGroup) -> Result<Vec<Fate>, Error> {
    let mut writer = store.database.write().await?;
    let fates = read(store, &mut writer, group).await;
    writer.rollback().await;
    fates
}

async fn read(
    store: &SqliteStore,
    connection: &mut SqliteConnection,
    group: &CommitGroup,
) -> Result<Vec<Fate>, Error> {
    session::check(connection, group.session).await?;
    let facts = Facts::read(store, connection, group, 0..group.events().count(), true).await?;
    let mut fates = Vec::new();
    for (number, event) in group.events().enumerate() {
        fates.push(fate(store, connection, group, &facts, number, event).await?);
    }
    Ok(fates)
}

async fn fate(
    store: &SqliteStore,
    connection: &mut SqliteConnection,
    group: &CommitGroup,
    facts: &Facts,
    number: usize,
    event: &CommitEvent,
) -> Result<Fate, Error> {
    let durable = match &event.verdict {
        Verdict::Tried(row) | Verdict::Started(row) => is_kept(connection, group, facts, event, row).await?,
        // Its row is gone, and this run took it.
        Verdict::Finish if event.unpark.is_some() => !facts.unparked.contains_key(&number),
        Verdict::Park(parked) if event.unpark.is_some() => match facts.unparked.get(&number) {
            Some(place) => parking::load(connection, *place).await?.as_ref() == Some(&**parked),
            None => false,
        },
        // Parked is no finish of this event's, and a finish no parking: another did that.
        Verdict::Finish => facts.standing(number, event) == Admission::Finished,
        Verdict::Park(parked) => match parking::find(store, connection, &parked.parked_id()).await? {
            Some(place) => parking::load(connection, place).await?.as_ref() == Some(&**parked),
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
        Admission::Fresh | Admission::Tried(_) if facts.holds[event.hold].held => Fate::Behind,
        // Not durable, and never to be.
        Admission::Fresh | Admission::Tried(_) => Fate::Excluded,
    })
}

async fn is_kept(
    connection: &mut SqliteConnection,
    group: &CommitGroup,
    facts: &Facts,
    event: &CommitEvent,
    row: &AttemptRow,
) -> Result<bool, Error> {
    let Some(scope) = facts.holds[event.hold].scope else { return Ok(false) };
    let Some(claim) = group.holds[event.hold].claim() else {
        return Ok(tries::find(connection, scope, &[row.id.as_str()]).await?.get(&0) == Some(row));
    };
    let partition = claim.claim.partition;
    let kept = claim::attempts(connection, scope, partition).await?;
    Ok(kept.iter().any(|kept| kept == row))
}
