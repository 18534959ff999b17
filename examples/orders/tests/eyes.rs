//! What the test sees for itself: the effects that lie in the file, the dead letters, and the records
//! that lie in the log. It asks neither the service's account nor its journal.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use keylane::event::Record;
use keylane::store::{Reason, StoreAdapter};
use keylane::{Admin, Env};
use keylane_log::{LogBroker, LogConfig, Position};
use keylane_sqlite::{Database, Sqlite, SqliteConfig};
use sqlx::error::DatabaseError;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

/// What lies in the file after all is done.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Ids of the records in the log.
    pub(crate) published: BTreeSet<String>,
    /// Records in the log.
    pub(crate) records: usize,
    /// Event, order, version; in the order in which they became durable.
    pub(crate) effects: Vec<(String, String, u32)>,
    /// Ids of dead letters by reason.
    pub(crate) dead: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Seen {
    /// Reads the file; `published` come from wherever they were published.
    pub(crate) async fn in_file(file: &Path, group: &str, published: Vec<String>) -> Self {
        let env = Env::tokio();
        let database = Database::open(file, &env).await.unwrap();
        let effects =
            sqlx::query_as("SELECT event_id, order_id, version FROM order_effects ORDER BY applied")
                .fetch_all(&mut *database.read().await.unwrap())
                .await
                .unwrap();
        let config = SqliteConfig { path: file.display().to_string(), ..SqliteConfig::default() };
        let admin = Admin::new(Sqlite.open(config, &env).await.unwrap());
        let mut dead: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
        let letters = admin.dead_letters(group, None, 1000).await.unwrap();
        assert!(letters.len() < 1000, "more dead letters than one page holds");
        for letter in letters {
            let Reason::Dead(death) = letter.reason else { panic!("{letter:?} is parked, and not dead") };
            dead.entry(death.name()).or_default().insert(letter.id.to_string());
        }
        Self { records: published.len(), published: published.into_iter().collect(), effects, dead }
    }

    /// All that is wrong.
    pub(crate) fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut done: BTreeSet<&str> = BTreeSet::new();
        let mut last: BTreeMap<&str, u32> = BTreeMap::new();
        for (event, order, version) in &self.effects {
            if !done.insert(event) {
                wrong.push(format!("{event} was applied twice"));
            }
            let last = last.entry(order).or_default();
            if version <= last {
                wrong.push(format!("{event} was applied after version {last} of its order"));
            }
            *last = *version;
        }
        // A conflict shares its id with the event that came first.
        let died = |(reason, ids): (&&str, &BTreeSet<String>)| {
            ids.iter().map(|id| (id.clone(), *reason == "conflict")).collect::<Vec<_>>()
        };
        let dead: BTreeMap<String, bool> = self.dead.iter().flat_map(died).collect();
        for event in &self.published {
            match (done.contains(event.as_str()), dead.get(event)) {
                (true, None | Some(true)) | (false, Some(false)) => {}
                (true, Some(false)) => wrong.push(format!("{event} was applied and is a dead letter")),
                (false, _) => wrong.push(format!("{event} was published and has no effect")),
            }
        }
        let foreign = done.iter().copied().chain(dead.keys().map(String::as_str));
        for event in foreign.filter(|event| !self.published.contains(*event)) {
            wrong.push(format!("{event} was never published"));
        }
        wrong
    }
}

/// The ids of all records of a stream of the embedded log.
pub(crate) async fn published_in_log(file: &Path, stream: &str) -> Vec<String> {
    const PAGE: usize = 1000;
    let env = Env::tokio();
    let database = Database::open(file, &env).await.unwrap();
    let log = LogBroker::over(database, LogConfig::default(), &env).await.unwrap();
    let mut ids = Vec::new();
    for (partition, bounds) in (0..).zip(log.bounds(stream).await.unwrap()) {
        let mut from = Position { stream: stream.to_owned(), partition, offset: bounds.low };
        while from.offset < bounds.high {
            let page = log.read(&[from], PAGE).await.unwrap().remove(0);
            assert!(!page.records.is_empty(), "the log ends before its end");
            let id = |record: &Record| record.headers.text("ce_id").unwrap().to_owned();
            ids.extend(page.records.iter().map(|(_, record)| id(record)));
            from = page.next;
        }
    }
    ids
}

/// Whether the file's lock for writing can be had, within a time in which those who run get it many times.
pub(crate) async fn can_be_written(file: &Path) -> bool {
    let options = SqliteConnectOptions::new().filename(file).busy_timeout(Duration::from_secs(5));
    let mut connection = options.connect().await.unwrap();
    match connection.begin_with("BEGIN IMMEDIATE").await {
        Ok(writing) => writing.rollback().await.is_ok(),
        Err(error) => {
            let busy = error.as_database_error().and_then(DatabaseError::code);
            assert_eq!(busy.as_deref(), Some("5"), "{error}");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fine() -> Seen {
        Seen {
            published: ["a.1", "a.2", "a.3"].map(str::to_owned).into(),
            records: 4,
            effects: vec![("a.1".into(), "a".into(), 1), ("a.3".into(), "a".into(), 3)],
            dead: BTreeMap::from([
                ("rejected", BTreeSet::from(["a.2".to_owned()])),
                ("conflict", BTreeSet::from(["a.1".to_owned()])),
            ]),
        }
    }

    #[tokio::test]
    async fn whoever_writes_keeps_others_from_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("any.db");
        let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        assert!(can_be_written(&file).await);
        let writing = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
        assert!(!can_be_written(&file).await);
        writing.rollback().await.unwrap();
        assert!(can_be_written(&file).await);
    }

    #[test]
    fn the_checker_sees_what_is_wrong_and_nothing_else() {
        assert_eq!(fine().wrong(), Vec::<String>::new());
        let cases: [fn(&mut Seen); 6] = [
            |seen| seen.effects.push(seen.effects[1].clone()),
            |seen| seen.effects.reverse(),
            |seen| drop(seen.effects.pop()),
            |seen| drop(seen.dead.remove("rejected")),
            |seen| seen.effects.push(("a.2".into(), "b".into(), 2)),
            |seen| seen.effects.push(("c.1".into(), "c".into(), 1)),
        ];
        for (number, spoil) in cases.into_iter().enumerate() {
            let mut seen = fine();
            spoil(&mut seen);
            assert!(!seen.wrong().is_empty(), "case {number}");
        }
    }
}
