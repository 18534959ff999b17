//! Migrations: a list of versions, each once, all in one transaction.

use keylane::{Class, Error, ErrorKind};
use sqlx::{AssertSqlSafe, PgConnection};

use super::Database;
use crate::error::failed;

/// A version is what brings the schema there from the version before. Versions count from 1.
const VERSIONS: &[&[&str]] = &[
    &[
        include_str!("../../migrations/0001_tables.sql"),
        include_str!("../../migrations/0002_sessions.sql"),
        include_str!("../../migrations/0003_leases.sql"),
        include_str!("../../migrations/0004_ledger.sql"),
        include_str!("../../migrations/0005_commit.sql"),
        include_str!("../../migrations/0006_admit.sql"),
    ],
    &[include_str!("../../migrations/0007_looks.sql")],
    &[include_str!("../../migrations/0008_place.sql")],
    &[include_str!("../../migrations/0009_leases.sql")],
    &[include_str!("../../migrations/0010_single.sql")],
    &[include_str!("../../migrations/0011_statements.sql")],
];

/// Brings the schema to the last version. Two workers may do so at once: the second waits for the first and finds its
/// work done.
pub(super) async fn migrate(database: &Database) -> Result<(), Error> {
    let mut link = database.to_migrate().await?;
    link.begin().await?;
    let migrated = apply(database, &mut link).await;
    let migrated =
        migrated.map_err(|error| error.context(format!("migrating the schema {}", database.schema)));
    link.end(migrated).await
}

async fn apply(database: &Database, connection: &mut PgConnection) -> Result<(), Error> {
    let at = lock_and_read(database, connection).await?;
    let known = VERSIONS.len();
    if at > known {
        let what = format!("it has version {at}, this release knows {known}; use a newer release");
        return Err(Error::new(ErrorKind::Store, what).with_class(Class::Permanent));
    }
    for (version, parts) in VERSIONS.iter().enumerate().skip(at) {
        for sql in *parts {
            let sql = database.text(sql).replace("{channel}", &database.channel());
            run(connection, sql).await?;
        }
        let noted = database.text("INSERT INTO {keylane}.migrations (version) VALUES ($1)");
        let noted = sqlx::query(AssertSqlSafe(noted))
            .persistent(false)
            .bind(i32::try_from(version + 1).unwrap_or(i32::MAX));
        noted.execute(&mut *connection).await.map_err(|error| failed("a migration failed", error))?;
    }
    Ok(())
}

/// The lock belongs to the transaction, so that a pooler for transactions keeps it. Nothing is created where all is
/// there: a worker need not have the right to.
async fn lock_and_read(database: &Database, connection: &mut PgConnection) -> Result<usize, Error> {
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
    let locked = sqlx::query(lock).persistent(false).bind(database.channel()).execute(&mut *connection).await;
    locked.map_err(|error| failed("could not lock the migrations", error))?;
    let there: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .persistent(false)
        .bind(database.text("{keylane}.migrations"))
        .fetch_one(&mut *connection)
        .await
        .map_err(|error| failed("could not look for the migrations", error))?;
    if !there {
        let create = "CREATE SCHEMA IF NOT EXISTS {keylane};
            CREATE TABLE {keylane}.migrations (
                version int PRIMARY KEY,
                applied_at timestamptz NOT NULL DEFAULT clock_timestamp())";
        run(connection, database.text(create)).await?;
    }
    let sql = database.text("SELECT coalesce(max(version), 0) FROM {keylane}.migrations");
    let at: i32 = sqlx::query_scalar(AssertSqlSafe(sql))
        .persistent(false)
        .fetch_one(connection)
        .await
        .map_err(|error| failed("could not read the migrations", error))?;
    Ok(usize::try_from(at).unwrap_or(usize::MAX))
}

async fn run(connection: &mut PgConnection, sql: String) -> Result<(), Error> {
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
    done.map(drop).map_err(|error| failed("a migration failed", error))
}
