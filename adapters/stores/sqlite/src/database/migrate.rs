//! Migrations: each component's list of versions, each version once, all in one transaction.
//!
//! They stand in a table of our own name, because the file belongs to the service, which has
//! migrations of its own.

use keylane::{Error, ErrorKind};

use super::{Database, Writer};

/// A version and what brings the database there from the version before. Versions count from 1.
pub type Migration = (u32, &'static str);

impl Database {
    /// Brings the tables of `component` to the last of `migrations`. Two processes may do so at once:
    /// the second waits for the first and finds its work done.
    ///
    /// # Errors
    /// A permanent `Store` error when the database has a later version than this program knows.
    pub async fn migrate(&self, component: &str, migrations: &[Migration]) -> Result<(), Error> {
        let mut writer = self.write().await?;
        let applied = apply(&mut writer, component, migrations).await.map_err(|error| {
            error.context(format!("migrating the {component} tables of {}", self.path.display()))
        });
        writer.end(applied).await
    }
}

async fn apply(writer: &mut Writer<'_>, component: &str, migrations: &[Migration]) -> Result<(), Error> {
    let failed = |error| crate::error::failed("a migration failed", error);
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS keylane_migrations (
            component TEXT NOT NULL,
            version INTEGER NOT NULL,
            applied_us INTEGER NOT NULL,
            PRIMARY KEY (component, version)
        ) STRICT, WITHOUT ROWID",
    )
    .execute(&mut **writer)
    .await
    .map_err(failed)?;
    let at: u32 =
        sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM keylane_migrations WHERE component = ?1")
            .bind(component)
            .fetch_one(&mut **writer)
            .await
            .map_err(failed)?;
    let known = migrations.last().map_or(0, |(version, _)| *version);
    if at > known {
        let what = format!("they have version {at}, this release knows {known}; use a newer release");
        return Err(Error::new(ErrorKind::Store, what).with_class(keylane::Class::Permanent));
    }
    for (version, sql) in migrations.iter().filter(|(version, _)| *version > at) {
        sqlx::raw_sql(*sql).execute(&mut **writer).await.map_err(failed)?;
        sqlx::query(
            "INSERT INTO keylane_migrations (component, version, applied_us)
             VALUES (?1, ?2, CAST(round(unixepoch('subsec') * 1000) AS INTEGER) * 1000)",
        )
        .bind(component)
        .bind(version)
        .execute(&mut **writer)
        .await
        .map_err(failed)?;
    }
    Ok(())
}
