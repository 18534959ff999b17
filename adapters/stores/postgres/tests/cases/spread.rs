//! Keys spread over several databases (rule S10).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keylane::broker::{Broker, Outgoing};
use keylane::config::Secret;
use keylane::event::Record;
use keylane::memory::MemoryBroker;
use keylane::store::{NewSession, SessionId, StoreAdapter, Tx};
use keylane::{Effects, Error, ErrorKind, Failure, Handle, RawEvent, Routes, Runtime};
use keylane_postgres::{Postgres, PostgresConfig};

use crate::stage::databases::Databases;
use crate::stage::link::Link;
use crate::stage::{PAUSE, TRIES, variable};

async fn open(databases: &Databases, order: &[usize]) -> Result<usize, Error> {
    let urls = order.iter().map(|at| Secret::from(databases.url(*at))).collect();
    let config = PostgresConfig { urls: Some(urls), ..PostgresConfig::default() };
    Ok(Postgres::new().open_all(config, &databases.env).await?.len())
}

async fn refused(databases: &Databases, order: &[usize], words: &[&str]) {
    let Err(error) = open(databases, order).await else { panic!("{order:?} was not refused") };
    let told = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Config, "{told}");
    for word in words {
        assert!(told.contains(word), "{order:?}: {told}");
    }
}

#[test]
fn a_list_must_be_a_list() {
    for (store, word) in [
        ("urls = []", "write 1 to 64 items"),
        ("url = \"postgres://a@b/c\"\nurls = [\"postgres://a@b/c\"]", "stands beside `url`"),
    ] {
        let rest =
            "[broker.main.memory]\n[subscription.a]\nsource = \"orders\"\nretry.on_exhausted = \"skip\"";
        let runtime = Runtime::from_text(format!("[store.postgres]\n{store}\n{rest}")).store(Postgres::new());
        let runtime = runtime.broker(MemoryBroker::new()).subscription("a", Routes::new().all(note));
        let error = runtime.check_only().unwrap_err();
        assert!(format!("{error:?}").contains(word), "{error:?}");
    }
}

#[tokio::test]
async fn s10_a_list_that_differs_is_refused() {
    let Some(server) = variable("KEYLANE_TEST_POSTGRES") else { return };
    let databases = Databases::new(&server, 4).await;
    refused(&databases, &[0, 0], &["database 2 of 2 in store.postgres.urls", "the same as database 1"]).await;
    databases.run(0, "DROP SCHEMA keylane CASCADE").await;
    assert_eq!(open(&databases, &[0, 1, 2]).await.unwrap(), 3);
    assert_eq!(open(&databases, &[0, 1, 2]).await.unwrap(), 3, "the same list again");
    refused(&databases, &[1, 0, 2], &["database 1 of 3", "number 2 of 3 of the set", "in the order"]).await;
    refused(&databases, &[0, 1], &["database 1 of 2", "number 1 of 3"]).await;
    refused(&databases, &[0, 1, 2, 3], &["database 1 of 4", "number 1 of 3"]).await;
    refused(&databases, &[0, 3, 2], &["database 2 of 3", "is empty", "restore it"]).await;
    refused(&databases, &[3, 1, 2], &["database 1 of 3", "is empty"]).await;
    refused(&databases, &[2], &["number 3 of 3"]).await;
    let config = PostgresConfig { url: Some(databases.url(1).into()), ..PostgresConfig::default() };
    let Err(error) = Postgres::new().open(config, &databases.env).await else { panic!("it is one of three") };
    assert!(error.to_string().contains("store.postgres.url says that it is number 2 of 3"), "{error}");
    assert_eq!(open(&databases, &[0, 1, 2]).await.unwrap(), 3, "nothing was written by what was refused");
    // Whoever noted that all were there once: one that is empty has lost what it knew.
    databases.run(0, "UPDATE keylane.place SET whole = false").await;
    databases.run(2, "DELETE FROM keylane.place").await;
    refused(&databases, &[0, 1, 2], &["database 3 of 3", "is empty"]).await;
}

#[tokio::test]
async fn s10_a_database_that_was_used_alone_joins_no_list() {
    let Some(server) = variable("KEYLANE_TEST_POSTGRES") else { return };
    let databases = Databases::new(&server, 3).await;
    assert_eq!(open(&databases, &[0]).await.unwrap(), 1);
    refused(&databases, &[1, 0], &["database 2 of 2", "alone"]).await;
    // From before there were lists.
    databases.run(1, "DELETE FROM keylane.place").await;
    databases
        .run(1, "INSERT INTO keylane.scopes (subscription, broker, source) VALUES ('a', 'b', 'c')")
        .await;
    refused(&databases, &[1, 2], &["database 1 of 2", "alone"]).await;
    assert_eq!(open(&databases, &[1]).await.unwrap(), 1);
}

#[tokio::test]
async fn s10_two_workers_that_start_first_agree() {
    let Some(server) = variable("KEYLANE_TEST_POSTGRES") else { return };
    let databases = Databases::new(&server, 2).await;
    for _ in 0..5 {
        let all = futures_util::future::join_all((0..4).map(|_| open(&databases, &[0, 1]))).await;
        for opened in all {
            assert_eq!(opened.unwrap(), 2);
        }
        for at in 0..2 {
            databases.run(at, "TRUNCATE keylane.place").await;
        }
    }
}

#[tokio::test]
async fn s10_a_connection_that_leads_elsewhere_is_not_used() {
    let Some(server) = variable("KEYLANE_TEST_POSTGRES") else { return };
    let databases = Databases::new(&server, 2).await;
    let urls = (0..2).map(|at| Secret::from(databases.url(at))).collect();
    let config = PostgresConfig { urls: Some(urls), ..PostgresConfig::default() };
    let stores = Postgres::new().open_all(config, &databases.env).await.unwrap();
    let lifetime = std::time::Duration::from_secs(60);
    let session = || NewSession { id: SessionId(databases.env.uuid()), worker: "a".to_owned(), lifetime };
    stores[1].register(session()).await.unwrap();
    // As if the address led to another server from now on.
    databases
        .run(
            1,
            "UPDATE keylane.place SET set_id = gen_random_uuid();
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await;
    let mut refused = None;
    for _ in 0..TRIES {
        match stores[1].register(session()).await {
            Err(error) if error.to_string().contains("any more") => {
                refused = Some(error);
                break;
            }
            // A connection that was there before, or one that ends.
            Ok(()) | Err(_) => databases.env.sleep(PAUSE).await,
        }
    }
    let error = refused.expect("a new connection is held against the place");
    assert!(error.is_transient(), "its keys wait: {error}");
    stores[0].register(session()).await.unwrap();
}

async fn note(event: RawEvent, mut fx: Effects<Postgres>) -> Result<(), Failure> {
    let key = String::from_utf8_lossy(event.meta().key.as_deref().unwrap_or_default()).into_owned();
    let number: i32 = String::from_utf8_lossy(&event).parse()?;
    fx.commit_with((key, number), async |mut tx: Tx<Postgres>, (key, number): (String, i32)| {
        let insert = sqlx::query("INSERT INTO written (key, number) VALUES ($1, $2)");
        insert.bind(key).bind(number).execute(&mut *tx).await?;
        tx.done()
    });
    Ok(())
}

struct Story {
    databases: Databases,
    broker: MemoryBroker,
    published: BTreeMap<String, i32>,
}

impl Story {
    async fn publish(&mut self, keys: usize, each: usize) {
        let worker: Arc<dyn Broker> = self.broker.worker(&self.databases.env);
        let publisher = worker.publisher().await.unwrap();
        for _ in 0..each {
            let batch = (0..keys).map(|key| {
                let key = format!("k{key}");
                let number = self.published.entry(key.clone()).or_default();
                let record = Record::new(number.to_string()).with_key(key);
                *number += 1;
                Outgoing { target: "orders".into(), record }
            });
            let batch = batch.collect();
            for published in publisher.publish(batch).await {
                published.unwrap();
            }
        }
    }

    async fn until(&self, what: &str, at: usize, rows: usize) {
        for _ in 0..TRIES {
            if self.databases.written(at).await.len() >= rows {
                return;
            }
            self.databases.env.sleep(PAUSE).await;
        }
        panic!("{what}: {} of {rows} rows", self.databases.written(at).await.len());
    }

    /// How many events were published of the keys of which one database has something.
    async fn share(&self, at: usize) -> usize {
        let rows = self.databases.written(at).await;
        let keys: BTreeSet<String> = rows.into_iter().map(|(key, _)| key).collect();
        keys.iter().map(|key| usize::try_from(self.published[key]).unwrap()).sum()
    }

    async fn start(&self, urls: [&str; 2]) -> Result<Handle, Error> {
        let toml = format!(
            r#"
            [runtime]
            session = "3s"
            [store.postgres]
            urls = [{:?}, {:?}]
            [broker.main.memory]
            [subscription.service]
            source = "orders"
            retry.on_exhausted = "skip"
            budget = {{ messages_max = 100, waiting_max = 100 }}
            "#,
            urls[0], urls[1]
        );
        let runtime = Runtime::from_text(toml).store(Postgres::new()).broker(self.broker.clone());
        runtime.subscription("service", Routes::new().all(note)).start().await
    }

    /// Until each key has an event somewhere.
    async fn until_each_key_has_its_place(&self, keys: usize) {
        for _ in 0..TRIES {
            if self.databases.written(0).await.len() + self.databases.written(1).await.len() >= keys {
                return;
            }
            self.databases.env.sleep(PAUSE).await;
        }
        panic!("not all of the first events were handled");
    }

    /// Once each, in order.
    async fn holds(&self) {
        let mut numbers: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for at in 0..2 {
            for (key, number) in self.databases.written(at).await {
                numbers.entry(key).or_default().push(number);
            }
        }
        for (key, count) in &self.published {
            assert_eq!(numbers[key], (0..*count).collect::<Vec<_>>(), "{key}: once each, in order");
        }
    }
}

#[tokio::test]
async fn s10_a_database_that_is_away_at_the_start_stops_only_its_own_keys() {
    let Some(server) = variable("KEYLANE_TEST_POSTGRES") else { return };
    let Some(toxiproxy) = variable("KEYLANE_TEST_TOXIPROXY") else { return };
    for away in 0..2 {
        let databases = Databases::new(&server, 2).await;
        let link = Link::to(&databases.url(away), &toxiproxy, &databases.names[away]);
        let mut urls = [databases.url(0), databases.url(1)];
        urls[away].clone_from(&link.url);
        let broker = MemoryBroker::new();
        broker.create("orders", 3);
        let mut story = Story { databases, broker, published: BTreeMap::new() };
        let start = async |story: &Story| story.start([&urls[0], &urls[1]]).await;
        link.cut();
        let error = start(&story).await.expect_err("nobody knows that it is of the list");
        assert!(error.to_string().contains("at the first start"), "{error}");
        link.mend();
        story.publish(20, 1).await;
        let handle = start(&story).await.unwrap();
        story.until_each_key_has_its_place(20).await;
        handle.shutdown();
        handle.join().await.unwrap();
        link.cut();
        let handle = start(&story).await.unwrap();
        let before = story.databases.written(away).await.len();
        story.publish(20, 100).await;
        let other = 1 - away;
        story.until("the others go on", other, story.share(other).await).await;
        assert_eq!(story.databases.written(away).await.len(), before, "it was cut off");
        link.mend();
        story.until("all of it", away, story.share(away).await).await;
        story.holds().await;
        handle.shutdown();
        handle.join().await.unwrap();
    }
}

#[tokio::test]
async fn s10_a_database_that_is_cut_off_stops_only_its_own_keys() {
    let Some(server) = variable("KEYLANE_TEST_POSTGRES") else { return };
    let Some(toxiproxy) = variable("KEYLANE_TEST_TOXIPROXY") else { return };
    let databases = Databases::new(&server, 2).await;
    let link = Link::to(&databases.url(1), &toxiproxy, &databases.names[1]);
    let broker = MemoryBroker::new();
    broker.create("orders", 3);
    let mut story = Story { databases, broker, published: BTreeMap::new() };
    story.publish(20, 1).await;
    let handle = story.start([&story.databases.url(0), &link.url]).await.unwrap();
    story.until_each_key_has_its_place(20).await;
    link.cut();
    let before = story.databases.written(1).await.len();
    story.publish(20, 200).await;
    story.until("the others go on", 0, story.share(0).await).await;
    assert_eq!(story.databases.written(1).await.len(), before, "it was cut off");
    link.mend();
    story.until("all of it", 1, story.share(1).await).await;
    story.holds().await;
    handle.shutdown();
    handle.join().await.unwrap();
}
