//! A group's rows: who is a member, who reads which partition, how far it has come.
//!
//! Exclusiveness is the store's, by its claims; what stands here is advice that comes to rest. The
//! database's clock alone judges who is still there (rule S4).

use std::time::Duration;

use keylane::Error;
use keylane::broker::{Base, Partition};
use keylane_sqlite::Database;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use crate::error::{deleted, failed};
use crate::number::{column, micros, partition as partition_from, unsigned};
use crate::share::{Moves, moves};
use crate::stream::Stream;

/// One member's seat in a group.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    pub stream: Stream,
    pub group: i64,
    pub name: String,
    pub member: Uuid,
    /// Without a sign of life for this long, a member is gone.
    pub expiry: Duration,
}

/// What a heartbeat found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Beat {
    /// The member was not there: it is new, or the others took it for dead.
    pub joined: bool,
    /// What it owned before it took anything.
    pub owned: Vec<Partition>,
    /// What it took now, and what it has to give up.
    pub moves: Moves,
    /// As of which generation.
    pub generation: i64,
}

/// Now, by the database's clock, in microseconds.
const NOW: &str = "SELECT CAST(round(unixepoch('subsec') * 1000) AS INTEGER) * 1000";

/// The group's number, made where there is none.
pub(crate) async fn open(database: &Database, stream: &Stream, name: &str) -> Result<i64, Error> {
    let wrong = || failed(format!("could not open group `{name}` of stream `{}`", stream.name));
    let mut writer = database.write().await?;
    let id: Option<i64> = sqlx::query_scalar(
        "INSERT INTO keylane_log_groups (stream, name) SELECT id, ?2 FROM keylane_log_streams WHERE id = ?1
         ON CONFLICT (stream, name) DO UPDATE SET name = excluded.name RETURNING id",
    )
    .bind(stream.id)
    .bind(name)
    .fetch_optional(&mut *writer)
    .await
    .map_err(wrong())?;
    writer.commit().await?;
    id.ok_or_else(|| deleted(&stream.name))
}

/// A number that changes when shares may have changed; it costs one small read.
pub(crate) async fn generation(database: &Database, seat: &Seat) -> Result<i64, Error> {
    let mut reader = database.read().await?;
    sqlx::query_scalar("SELECT generation FROM keylane_log_groups WHERE id = ?1")
        .bind(seat.group)
        .fetch_optional(&mut *reader)
        .await
        .map_err(failed("could not look at the group"))?
        .ok_or_else(|| deleted(&seat.stream.name))
}

/// A sign of life; removes members that gave none, and takes what is free of the member's share
/// (unless it only `stays` alive).
pub(crate) async fn beat(database: &Database, seat: &Seat, stays: bool) -> Result<Beat, Error> {
    // Ahead of the queue: a busy writer must not make a living member look dead.
    let mut writer = database.write_soon().await?;
    let beat = beat_within(&mut writer, seat, stays)
        .await
        .map_err(|error| failed(format!("could not give a sign of life to group `{}`", seat.name))(error));
    writer.end(beat.and_then(|beat| beat.ok_or_else(|| deleted(&seat.stream.name)))).await
}

async fn beat_within(
    connection: &mut SqliteConnection,
    seat: &Seat,
    stays: bool,
) -> Result<Option<Beat>, sqlx::Error> {
    let now: i64 = sqlx::query_scalar(NOW).fetch_one(&mut *connection).await?;
    let joined = live(connection, seat, now).await?;
    let expired = sqlx::query("DELETE FROM keylane_log_members WHERE grouping = ?1 AND expires_us < ?2")
        .bind(seat.group)
        .bind(now)
        .execute(&mut *connection)
        .await?
        .rows_affected();
    let Some(generation) = touch(connection, seat.group, joined || expired > 0).await? else {
        return Ok(None);
    };
    let members = members(connection, seat.group).await?;
    let mut owners = vec![None; seat.stream.partitions.get() as usize];
    let rows = sqlx::query("SELECT partition, member FROM keylane_log_owners WHERE grouping = ?1")
        .bind(seat.group)
        .fetch_all(&mut *connection)
        .await?;
    for row in rows {
        if let Some(owner) = owners.get_mut(partition_from(row.get(0)) as usize) {
            *owner = Uuid::from_slice(row.get(1)).ok();
        }
    }
    let owned =
        (0..).zip(&owners).filter(|(_, owner)| **owner == Some(seat.member)).map(|(p, _)| p).collect();
    let moves = if stays { Moves::default() } else { moves(seat.member, &members, &owners) };
    for partition in &moves.take {
        sqlx::query("INSERT INTO keylane_log_owners (grouping, partition, member) VALUES (?1, ?2, ?3)")
            .bind(seat.group)
            .bind(i64::from(*partition))
            .bind(&seat.member.as_bytes()[..])
            .execute(&mut *connection)
            .await?;
    }
    Ok(Some(Beat { joined, owned, moves, generation }))
}

/// Puts off the member's expiry; true when it was not there and joined now.
async fn live(connection: &mut SqliteConnection, seat: &Seat, now: i64) -> Result<bool, sqlx::Error> {
    let expires = now.saturating_add(micros(seat.expiry));
    // A row past its time that nobody removed may go on: its partitions are still its own.
    let renewed =
        sqlx::query("UPDATE keylane_log_members SET expires_us = ?3 WHERE grouping = ?1 AND member = ?2")
            .bind(seat.group)
            .bind(&seat.member.as_bytes()[..])
            .bind(expires)
            .execute(&mut *connection)
            .await?;
    if renewed.rows_affected() > 0 {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO keylane_log_members (grouping, member, expires_us)
         SELECT id, ?2, ?3 FROM keylane_log_groups WHERE id = ?1",
    )
    .bind(seat.group)
    .bind(&seat.member.as_bytes()[..])
    .bind(expires)
    .execute(&mut *connection)
    .await?;
    Ok(true)
}

/// The group's generation, one greater than before where something `changed`.
async fn touch(
    connection: &mut SqliteConnection,
    group: i64,
    changed: bool,
) -> Result<Option<i64>, sqlx::Error> {
    if changed {
        sqlx::query("UPDATE keylane_log_groups SET generation = generation + 1 WHERE id = ?1")
            .bind(group)
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query_scalar("SELECT generation FROM keylane_log_groups WHERE id = ?1")
        .bind(group)
        .fetch_optional(&mut *connection)
        .await
}

async fn members(connection: &mut SqliteConnection, group: i64) -> Result<Vec<Uuid>, sqlx::Error> {
    let rows = sqlx::query("SELECT member FROM keylane_log_members WHERE grouping = ?1 ORDER BY member")
        .bind(group)
        .fetch_all(connection)
        .await?;
    Ok(rows.iter().filter_map(|row| Uuid::from_slice(row.get(0)).ok()).collect())
}

/// Commits `bases` of partitions that the member owns and lets go of `partitions` (`None`: leaves the
/// group, with all it has), in one transaction.
pub(crate) async fn release(
    database: &Database,
    seat: &Seat,
    bases: &[Base],
    partitions: Option<&[Partition]>,
) -> Result<(), Error> {
    let mut writer = database.write_soon().await?;
    let released = release_within(&mut writer, seat, bases, partitions)
        .await
        .map_err(|error| failed(format!("could not let go of partitions in group `{}`", seat.name))(error));
    writer.end(released).await
}

async fn release_within(
    connection: &mut SqliteConnection,
    seat: &Seat,
    bases: &[Base],
    partitions: Option<&[Partition]>,
) -> Result<(), sqlx::Error> {
    let member = &seat.member.as_bytes()[..];
    for base in bases {
        // Only of what is owned, and only forward: by epoch, then by offset.
        sqlx::query(
            "INSERT INTO keylane_log_positions (grouping, partition, epoch, next, committed_us)
             SELECT ?1, ?2, ?4, ?5, CAST(round(unixepoch('subsec') * 1000) AS INTEGER) * 1000
             FROM keylane_log_owners WHERE grouping = ?1 AND partition = ?2 AND member = ?3
             ON CONFLICT (grouping, partition) DO UPDATE
             SET epoch = excluded.epoch, next = excluded.next, committed_us = excluded.committed_us
             WHERE excluded.epoch > epoch OR (excluded.epoch = epoch AND excluded.next > next)",
        )
        .bind(seat.group)
        .bind(i64::from(base.partition))
        .bind(member)
        .bind(column(base.epoch))
        .bind(column(base.offset))
        .execute(&mut *connection)
        .await?;
    }
    let Some(partitions) = partitions else {
        sqlx::query("DELETE FROM keylane_log_members WHERE grouping = ?1 AND member = ?2")
            .bind(seat.group)
            .bind(member)
            .execute(&mut *connection)
            .await?;
        touch(connection, seat.group, true).await?;
        return Ok(());
    };
    for partition in partitions {
        sqlx::query("DELETE FROM keylane_log_owners WHERE grouping = ?1 AND partition = ?2 AND member = ?3")
            .bind(seat.group)
            .bind(i64::from(*partition))
            .bind(member)
            .execute(&mut *connection)
            .await?;
    }
    touch(connection, seat.group, !partitions.is_empty()).await?;
    Ok(())
}

/// How far a group has come, by partition; of partitions of which it never committed anything, nothing.
pub(crate) async fn positions(
    connection: &mut SqliteConnection,
    stream: &Stream,
    group: &str,
) -> Result<Vec<(Partition, u64)>, Error> {
    let rows = sqlx::query(
        "SELECT p.partition, p.next FROM keylane_log_positions p JOIN keylane_log_groups g ON g.id = p.grouping
         WHERE g.stream = ?1 AND g.name = ?2 ORDER BY p.partition",
    )
    .bind(stream.id)
    .bind(group)
    .fetch_all(connection)
    .await
    .map_err(failed(format!("could not ask for the positions of group `{group}`")))?;
    Ok(rows.iter().map(|row| (partition_from(row.get(0)), unsigned(row.get(1)))).collect())
}
