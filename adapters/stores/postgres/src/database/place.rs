//! Which of several databases one is (rule S10): each says so itself, and a list that says otherwise is refused.

use keylane::{Error, ErrorKind};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use super::Database;
use crate::error::failed;

/// Place `at`, counted from 0, `of` so many of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    at: i32,
    of: i32,
    set: Uuid,
}

/// What a database says of itself.
#[derive(Debug, Clone, Copy)]
struct Said {
    place: Place,
    /// Its whole set was there once.
    whole: bool,
}

const READ: &str = "SELECT place, places, set_id, whole FROM {keylane}.place";

/// Compares the list with what its databases say, writes it down where they are new, and lets each check its further
/// connections by it.
///
/// # Errors
/// A database that is not what its place in the list says. One that is away, unless others know it to be of the list.
pub(crate) async fn settle(databases: &[Database], away: Vec<(usize, Error)>) -> Result<(), Error> {
    let of = databases.len();
    if !away.is_empty() {
        return settle_without(databases, away).await;
    }
    let mut said = ask_all(databases, |_| false).await?;
    if gap(&said).is_some() {
        // Another worker may be writing them, in order: what it wrote before the one that was seen is there by now.
        said = ask_all(databases, |_| false).await?;
    }
    let set = said.iter().flatten().next().map_or_else(|| databases[0].env.uuid(), |said| said.place.set);
    // Before anything is written.
    check(&said, set)?;
    if let Some(at) = gap(&said) {
        return Err(refused(at, of, FORGOT));
    }
    let mut set = set;
    for at in 0..of {
        if said[at].is_some() {
            continue;
        }
        let place = Place { at: number(at), of: number(of), set };
        let written = write(&databases[at], place).await.map_err(|error| named(at, of, error))?;
        let Some(written) = written else { return Err(refused(at, of, ALONE)) };
        said[at] = Some(written);
        // Another worker may have been first.
        if at == 0 {
            set = written.place.set;
        }
        check(&said, set)?;
    }
    note_whole(databases, &said).await?;
    remember(databases, set);
    Ok(())
}

/// The same while some are away: then no place is written. Those that are there must all have been written, and know the
/// others; whether each of those is what its place says it is asked once it is back, by its first connection.
async fn settle_without(databases: &[Database], mut away: Vec<(usize, Error)>) -> Result<(), Error> {
    let of = databases.len();
    let is_away = |at: usize| away.iter().any(|(away, _)| *away == at);
    let said = ask_all(databases, is_away).await?;
    let known = said.iter().flatten().next().map(|said| said.place.set);
    if let Some(set) = known {
        check(&said, set)?;
    }
    // They were written in order, and know when all were.
    let is_whole = said.iter().flatten().any(|said| said.whole);
    let written = if is_whole { Some(of - 1) } else { said.iter().rposition(Option::is_some) };
    let all_known =
        (0..of).all(|at| said[at].is_some() || (is_away(at) && written.is_some_and(|last| at <= last)));
    match known {
        Some(set) if all_known => {
            note_whole(databases, &said).await?;
            remember(databases, set);
        }
        _ => {
            let (at, error) = away.swap_remove(0);
            return Err(named(at, of, error).context("all databases have to be there at the first start"));
        }
    }
    for (at, error) in away {
        tracing::warn!(%error, "{} is away; its keys wait until it is back", name(at, of));
    }
    Ok(())
}

/// All were written: one that says nothing from now on has lost what it knew.
async fn note_whole(databases: &[Database], said: &[Option<Said>]) -> Result<(), Error> {
    let of = databases.len();
    for (at, database) in databases.iter().enumerate() {
        if of > 1 && said[at].is_some_and(|said| !said.whole) {
            let noted = run(database, "UPDATE {keylane}.place SET whole = true").await;
            noted.map_err(|error| named(at, of, error))?;
        }
    }
    Ok(())
}

/// Each is held against its place from now on, by new connections.
fn remember(databases: &[Database], set: Uuid) {
    for (at, database) in databases.iter().enumerate() {
        let place = Place { at: number(at), of: number(databases.len()), set };
        database.place.get_or_init(|| place);
        if place.of > 1 {
            database.forget();
        }
    }
}

/// One that says nothing, though others were written later, or all were once.
fn gap(said: &[Option<Said>]) -> Option<usize> {
    let at = said.iter().position(Option::is_none)?;
    let later = said[at..].iter().any(Option::is_some);
    (later || said.iter().flatten().any(|said| said.whole)).then_some(at)
}

const FORGOT: &str = "is empty, and the others know it as one of theirs; restore it, or begin anew with empty databases \
    only: what it knew of its keys is gone";
const ALONE: &str = "was used before, alone; its keys would be looked for elsewhere: use empty databases for a list, or \
    other `schema`s";

/// A new connection leads to the database that was there at the start.
pub(super) async fn check_again(database: &Database, connection: &mut PgConnection) -> Result<(), Error> {
    let Some(place) = database.place.get().filter(|place| place.of > 1) else { return Ok(()) };
    let said = read(database, connection).await?;
    if said.is_some_and(|said| said.place == *place) {
        return Ok(());
    }
    // Nothing is done there, and its keys wait until the right one is back.
    let what = format!(
        "the server is not {} any more, or does not say so; nothing is done there",
        name(place.at as usize, place.of as usize)
    );
    Err(Error::new(ErrorKind::Store, what))
}

/// Each database stands where it says.
fn check(said: &[Option<Said>], set: Uuid) -> Result<(), Error> {
    let of = said.len();
    for (at, found) in said.iter().enumerate().filter_map(|(at, said)| Some((at, (*said)?.place))) {
        if found == (Place { at: number(at), of: number(of), set }) {
            continue;
        }
        let there = usize::try_from(found.at).unwrap_or(usize::MAX);
        let twice = there < at && said[there].is_some_and(|said| said.place == found);
        if twice {
            let what = format!("is the same as database {}; name each once", there + 1);
            return Err(refused(at, of, &what));
        }
        if found.of == 1 && of > 1 {
            return Err(refused(at, of, ALONE));
        }
        let what = format!(
            "says that it is number {} of {} of the set {}; write all databases of that set and no other, in the order in \
             which they were first used; or drop its schema, if nothing was ever handled there",
            there + 1,
            found.of,
            found.set
        );
        return Err(refused(at, of, &what));
    }
    Ok(())
}

fn refused(at: usize, of: usize, what: &str) -> Error {
    Error::new(ErrorKind::Config, format!("{} {what}", name(at, of)))
}

/// As it stands in the configuration.
fn name(at: usize, of: usize) -> String {
    match of {
        1 => "the database of store.postgres.url".to_owned(),
        _ => format!("database {} of {of} in store.postgres.urls", at + 1),
    }
}

/// Its key in the configuration.
pub(crate) fn called(at: usize, of: usize) -> String {
    match of {
        1 => "store.postgres.url".to_owned(),
        _ => format!("store.postgres.urls, number {} of {of},", at + 1),
    }
}

pub(crate) fn named(at: usize, of: usize, error: Error) -> Error {
    if of == 1 { error } else { error.context(name(at, of)) }
}

fn number(at: usize) -> i32 {
    i32::try_from(at).unwrap_or(i32::MAX)
}

/// One that is away says nothing.
async fn ask_all(
    databases: &[Database],
    is_away: impl Fn(usize) -> bool,
) -> Result<Vec<Option<Said>>, Error> {
    let mut said = Vec::with_capacity(databases.len());
    for (at, database) in databases.iter().enumerate() {
        let asked = if is_away(at) { Ok(None) } else { ask(database).await };
        said.push(asked.map_err(|error| named(at, databases.len(), error))?);
    }
    Ok(said)
}

async fn ask(database: &Database) -> Result<Option<Said>, Error> {
    let mut link = database.commits().await?;
    let said = read(database, &mut link).await;
    link.end(said).await
}

async fn read(database: &Database, connection: &mut PgConnection) -> Result<Option<Said>, Error> {
    let row =
        sqlx::query(AssertSqlSafe(database.text(READ))).persistent(false).fetch_optional(connection).await;
    let row = row.map_err(|error| failed("could not ask which database it is", error))?;
    row.map(|row| of_row(&row))
        .transpose()
        .map_err(|error| failed("could not read which database it is", error))
}

fn of_row(row: &PgRow) -> Result<Said, sqlx::Error> {
    let place = Place { at: row.try_get(0)?, of: row.try_get(1)?, set: row.try_get(2)? };
    Ok(Said { place, whole: row.try_get(3)? })
}

/// Writes a new database's row; what stands there then. `None`: it is not new.
async fn write(database: &Database, place: Place) -> Result<Option<Said>, Error> {
    let sql = if place.of == 1 {
        "INSERT INTO {keylane}.place (place, places, set_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
    } else {
        // One that has subscriptions already holds all of their keys.
        "INSERT INTO {keylane}.place (place, places, set_id)
         SELECT $1, $2, $3 WHERE NOT EXISTS (SELECT FROM {keylane}.scopes) ON CONFLICT DO NOTHING"
    };
    let mut link = database.commits().await?;
    let said = async {
        link.begin_if_needed().await?;
        let written = sqlx::query(AssertSqlSafe(database.text(sql)))
            .persistent(false)
            .bind(place.at)
            .bind(place.of)
            .bind(place.set)
            .execute(&mut *link)
            .await;
        written.map_err(|error| failed("could not write which database it is", error))?;
        read(database, &mut link).await
    };
    let said = said.await;
    link.end(said).await
}

async fn run(database: &Database, sql: &str) -> Result<(), Error> {
    let mut link = database.commits().await?;
    let done = async {
        link.begin_if_needed().await?;
        let done = sqlx::query(AssertSqlSafe(database.text(sql))).persistent(false).execute(&mut *link).await;
        done.map(drop).map_err(|error| failed("could not write which databases there are", error))
    };
    let done = done.await;
    link.end(done).await
}
