//! Several commits under way at a time (rule C5), on a store that takes its time.
#![expect(clippy::unwrap_used, reason = "a story that can't be told has failed")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use keylane::broker::{Broker, Outgoing};
use keylane::event::Record;
use keylane::memory::{Memory, MemoryBroker};
use keylane::store::{
    AdmitBatch, Admitted, ClaimAnswer, ClaimRef, ClaimRequest, CommitGroup, Committed, DeadQuery, Fate,
    HoldCommit, LeaseKey, LeaseRef, NewSession, OwnConnection, Parked, ParkedId, ReleaseAnswer, Renewed,
    Reposition, Scope, SessionId, Store,
};
use keylane::{Class, Effects, Env, Error, ErrorKind, Failure, RawEvent, Routes, Runtime, Tx};

use crate::conformance::clock::Virtual;

const AT_ONCE: usize = 3;
/// How long a commit takes.
const COMMIT: Duration = Duration::from_millis(10);

/// What was seen of the commits.
#[derive(Default)]
struct Seen {
    /// The holds of each group that is under way.
    under_way: BTreeMap<usize, Vec<String>>,
    begun: usize,
    /// The holds of the first group that is refused.
    first: Option<Vec<String>>,
    most: usize,
    /// Holds that were in two groups at a time.
    shared: Vec<String>,
    /// A group is refused so many times more.
    failing: usize,
    /// It was refused by now; groups that began since then.
    refused: bool,
    beside: Vec<Vec<String>>,
    /// The source of each hold that was written.
    sources: Vec<String>,
    /// All groups are refused; how many were.
    away: bool,
    turned_away: usize,
    /// The most at a time of those that were tried again.
    again: usize,
    /// How long the next group takes beyond the usual.
    slow: Duration,
    /// Claims that were not given back in order.
    unclean: usize,
}

struct Slow {
    inner: Arc<dyn Store>,
    env: Env,
    seen: Arc<Mutex<Seen>>,
}

impl Slow {
    fn begins(&self, group: &CommitGroup) -> (usize, bool) {
        let mut seen = self.seen.lock().unwrap();
        let seen = &mut *seen;
        let holds: Vec<String> = group.holds.iter().map(name).collect();
        let taken = |hold: &&String| seen.under_way.values().flatten().any(|other| other == *hold);
        let shared: Vec<String> = holds.iter().filter(taken).cloned().collect();
        seen.shared.extend(shared);
        seen.begun += 1;
        let number = seen.begun;
        let fails =
            seen.away || seen.failing > 0 && *seen.first.get_or_insert_with(|| holds.clone()) == holds;
        if seen.refused && seen.failing > 0 && !fails {
            seen.beside.push(holds.clone());
        }
        seen.under_way.insert(number, holds);
        seen.most = seen.most.max(seen.under_way.len());
        if seen.turned_away >= AT_ONCE {
            seen.again = seen.again.max(seen.under_way.len());
        }
        seen.sources.extend(group.holds.iter().map(|hold| hold.scope().source.to_string()));
        (number, fails)
    }
}

fn name(hold: &HoldCommit) -> String {
    match hold {
        HoldCommit::Claim(claim) => format!("{:?}", claim.claim),
        HoldCommit::Lease(lease) => format!("{:?}", lease.lease.lease),
    }
}

#[async_trait]
impl Store for Slow {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }
    fn shared(&self) -> bool {
        self.inner.shared()
    }
    fn effect_limit(&self) -> Option<Duration> {
        self.inner.effect_limit()
    }
    fn commits_at_once(&self) -> usize {
        AT_ONCE
    }
    fn lease_key_max(&self) -> Option<usize> {
        self.inner.lease_key_max()
    }
    async fn register(&self, session: NewSession) -> Result<(), Error> {
        self.inner.register(session).await
    }
    async fn renew(&self, session: SessionId, leased: &[Scope]) -> Result<Renewed, Error> {
        self.inner.renew(session, leased).await
    }
    async fn close_session(&self, session: SessionId) -> Result<(), Error> {
        self.inner.close_session(session).await
    }
    async fn claim(&self, request: ClaimRequest) -> Result<ClaimAnswer, Error> {
        self.inner.claim(request).await
    }
    async fn release(&self, session: SessionId, claims: &[ClaimRef], clean: bool) -> Result<(), Error> {
        self.seen.lock().unwrap().unclean += usize::from(!clean);
        self.inner.release(session, claims, clean).await
    }
    async fn admit(&self, batch: AdmitBatch) -> Result<Admitted, Error> {
        self.inner.admit(batch).await
    }
    async fn freed(&self, session: SessionId) -> Result<Vec<LeaseKey>, Error> {
        self.inner.freed(session).await
    }
    async fn leases(&self, session: SessionId) -> Result<Vec<LeaseRef>, Error> {
        self.inner.leases(session).await
    }
    async fn begin(&self, session: SessionId) -> Result<OwnConnection, Error> {
        self.inner.begin(session).await
    }
    async fn commit(&self, group: &CommitGroup) -> Result<Committed, Error> {
        let (number, fails) = self.begins(group);
        let slow = std::mem::take(&mut self.seen.lock().unwrap().slow);
        self.env.sleep(COMMIT + slow).await;
        let answer = if fails {
            let mut seen = self.seen.lock().unwrap();
            (seen.refused, seen.failing) = (true, seen.failing.saturating_sub(1));
            seen.turned_away += 1;
            Err(Error::new(ErrorKind::Store, "away").with_class(Class::Transient))
        } else {
            self.inner.commit(group).await
        };
        self.seen.lock().unwrap().under_way.remove(&number);
        answer
    }
    async fn resolve(&self, group: &CommitGroup) -> Result<Vec<Fate>, Error> {
        self.inner.resolve(group).await
    }
    async fn dead_letters(&self, query: DeadQuery) -> Result<Vec<Parked>, Error> {
        self.inner.dead_letters(query).await
    }
    async fn request_release(&self, id: ParkedId) -> Result<ReleaseAnswer, Error> {
        self.inner.request_release(id).await
    }
    async fn reposition(&self, order: Reposition) -> Result<Vec<keylane::broker::Partition>, Error> {
        self.inner.reposition(order).await
    }
    async fn sweep(&self, subscription: &str, keep: Duration) -> Result<u64, Error> {
        self.inner.sweep(subscription, keep).await
    }
}

async fn write(event: RawEvent, mut fx: Effects<Memory>) -> Result<(), Failure> {
    let row = (event.meta().key_text().unwrap_or_default(), String::from_utf8_lossy(&event).into_owned());
    fx.commit_with(row, async |mut tx: Tx<Memory>, (key, text): (String, String)| {
        tx.append("rows", format!("{key} {text}"));
        tx.done()
    });
    Ok(())
}

const PARTITIONS: u32 = 8;
const KEYS: usize = 40;
const EVENTS_OF_A_KEY: usize = 10;

const CONFIGURATION: &str = r#"
[store.memory]
[broker.main.memory]
[subscription.billing]
source = "orders"
[subscription.billing.event]
id = "header:id"
kind = "const:order"
[subscription.billing.retry]
on_exhausted = "skip"
"#;

struct Stage {
    env: Env,
    broker: MemoryBroker,
    memory: Memory,
    seen: Arc<Mutex<Seen>>,
}

impl Stage {
    fn new() -> Self {
        Self::of(PARTITIONS)
    }

    fn of(partitions: u32) -> Self {
        let env = Env::new(Virtual::new());
        let broker = MemoryBroker::new();
        broker.create("orders", partitions);
        Self { broker, memory: Memory::with_clock(&env), seen: Arc::default(), env }
    }

    /// A few events at a time, so that they come while others are being committed.
    async fn publish(&self) {
        let worker: Arc<dyn Broker> = self.broker.worker(&self.env);
        let publisher = worker.publisher().await.unwrap();
        let all: Vec<(usize, usize)> =
            (0..EVENTS_OF_A_KEY).flat_map(|number| (0..KEYS).map(move |key| (number, key))).collect();
        for some in all.chunks(5) {
            let one = |(number, key): &(usize, usize)| {
                let record = Record::new(format!("{number}"))
                    .with_key(format!("k{key}"))
                    .with_header("id", format!("{key}-{number}"));
                Outgoing { target: "orders".to_owned(), record }
            };
            for published in publisher.publish(some.iter().map(one).collect()).await {
                published.unwrap();
            }
            self.env.sleep(COMMIT / 4).await;
        }
    }

    async fn start(&self) -> keylane::Handle {
        let (env, seen) = (self.env.clone(), self.seen.clone());
        Runtime::from_text(CONFIGURATION)
            .env(self.env.clone())
            .store(self.memory.clone())
            .store_layer(move |inner| Arc::new(Slow { inner, env: env.clone(), seen: seen.clone() }))
            .broker(self.broker.clone())
            .subscription("billing", Routes::new().all(write))
            .start()
            .await
            .unwrap()
    }

    /// Each event's write once, and each key's in order.
    async fn check(&self) {
        let mut of_keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in self.memory.rows("rows").await {
            let row = String::from_utf8(row.to_vec()).unwrap();
            let (key, number) = row.split_once(' ').unwrap();
            of_keys.entry(key.to_owned()).or_default().push(number.to_owned());
        }
        let all: Vec<String> = (0..EVENTS_OF_A_KEY).map(|number| number.to_string()).collect();
        assert_eq!(of_keys.len(), KEYS, "keys with writes");
        for (key, numbers) in of_keys {
            assert_eq!(numbers, all, "the writes of {key}");
        }
    }
}

#[tokio::test]
async fn c5_groups_that_are_under_way_share_no_hold() {
    let stage = Stage::new();
    let handle = stage.start().await;
    stage.publish().await;
    stage.env.sleep(Duration::from_secs(20)).await;
    handle.shutdown();
    handle.join().await.unwrap();
    stage.check().await;
    let seen = stage.seen.lock().unwrap();
    assert_eq!(seen.most, AT_ONCE, "as many commits at a time as the store takes");
    assert!(seen.shared.is_empty(), "in two groups at a time: {:?}", seen.shared);
}

#[tokio::test]
async fn u1_while_a_commit_does_not_get_through_no_other_begins() {
    let stage = Stage::new();
    let handle = stage.start().await;
    // The first positions of all partitions are one group.
    stage.env.sleep(Duration::from_secs(1)).await;
    stage.seen.lock().unwrap().failing = 12;
    stage.publish().await;
    stage.env.sleep(Duration::from_secs(60)).await;
    handle.shutdown();
    handle.join().await.unwrap();
    stage.check().await;
    let seen = stage.seen.lock().unwrap();
    assert_eq!((seen.refused, seen.failing), (true, 0), "the first commit was refused again and again");
    assert!(seen.beside.is_empty(), "began beside one that was refused: {:?}", seen.beside);
}

/// Many writes, and beside them a partition whose events leave nothing but positions.
#[tokio::test]
async fn positions_are_written_while_writes_take_all_places() {
    let stage = Stage::of(20 * PARTITIONS);
    stage.broker.create("looks", 1);
    let looks = "[subscription.looks]\nsource = \"looks\"\nretry.on_exhausted = \"skip\"\nledger.mode = \"position\"\n\
        [subscription.looks.event]\nid = \"header:id\"\nkind = \"const:look\"\n";
    let (env, seen) = (stage.env.clone(), stage.seen.clone());
    let handle = Runtime::from_text(format!("{CONFIGURATION}{looks}"))
        .env(stage.env.clone())
        .store(stage.memory.clone())
        .store_layer(move |inner| Arc::new(Slow { inner, env: env.clone(), seen: seen.clone() }))
        .broker(stage.broker.clone())
        .subscription("billing", Routes::new().all(write))
        .subscription("looks", Routes::new().all(async |_event: RawEvent| Ok::<(), Failure>(())))
        .start()
        .await
        .unwrap();
    stage.env.sleep(Duration::from_secs(1)).await;
    let worker: Arc<dyn Broker> = stage.broker.worker(&stage.env);
    let publisher = worker.publisher().await.unwrap();
    let one = |target: &str, key: usize, number: usize| {
        let record = Record::new(format!("{number}"))
            .with_key(format!("{key}-{number}"))
            .with_header("id", format!("{key}-{number}"));
        Outgoing { target: target.to_owned(), record }
    };
    // Every commit takes ten of these steps.
    for number in 0..1_000 {
        let mut some: Vec<_> = (0..KEYS).map(|key| one("orders", key, number)).collect();
        if number == 500 {
            some.push(one("looks", 0, number));
        }
        for published in publisher.publish(some).await {
            published.unwrap();
        }
        stage.env.sleep(COMMIT / 10).await;
    }
    let (most, looked) = {
        let seen = stage.seen.lock().unwrap();
        (seen.most, seen.sources.iter().filter(|source| *source == "looks").count())
    };
    assert_eq!(most, AT_ONCE, "as many commits at a time as the store takes");
    assert_eq!(looked, 2, "positions of the quiet partition: its first, and that of its event");
    handle.shutdown();
    handle.join().await.unwrap();
}

#[tokio::test]
async fn a_drain_waits_for_all_commits_that_are_under_way() {
    let stage = Stage::new();
    let handle = stage.start().await;
    let leaves = async {
        while stage.seen.lock().unwrap().under_way.len() < AT_ONCE {
            stage.env.sleep(COMMIT / 4).await;
        }
        handle.shutdown();
        handle.join().await.unwrap();
        assert!(stage.seen.lock().unwrap().under_way.is_empty(), "a commit was dropped under way");
    };
    tokio::join!(leaves, stage.publish());
    let handle = stage.start().await;
    stage.env.sleep(Duration::from_secs(20)).await;
    handle.shutdown();
    handle.join().await.unwrap();
    stage.check().await;
}

#[tokio::test]
async fn who_waits_for_a_position_waits_for_no_group_of_others() {
    let stage = Stage::new();
    let handle = stage.start().await;
    stage.env.sleep(Duration::from_secs(1)).await;
    stage.seen.lock().unwrap().slow = Duration::from_secs(3);
    let worker: Arc<dyn Broker> = stage.broker.worker(&stage.env);
    let record = Record::new("0").with_key("k0").with_header("id", "0-0");
    let one = Outgoing { target: "orders".to_owned(), record };
    worker.publisher().await.unwrap().publish(vec![one]).await.remove(0).unwrap();
    while stage.seen.lock().unwrap().under_way.is_empty() {
        stage.env.sleep(COMMIT / 4).await;
    }
    handle.shutdown();
    handle.join().await.unwrap();
    assert_eq!(stage.seen.lock().unwrap().unclean, 0, "partitions whose last position came too late");
}

#[tokio::test]
async fn what_did_not_get_through_is_tried_again_alone() {
    let stage = Stage::new();
    let handle = stage.start().await;
    let outage = async {
        while stage.seen.lock().unwrap().under_way.len() < AT_ONCE {
            stage.env.sleep(COMMIT / 4).await;
        }
        stage.seen.lock().unwrap().away = true;
        stage.env.sleep(Duration::from_secs(5)).await;
        stage.seen.lock().unwrap().away = false;
        let seen = stage.seen.lock().unwrap();
        assert!(seen.turned_away > 2 * AT_ONCE, "all were tried again: {}", seen.turned_away);
        assert_eq!(seen.again, 1, "groups that were tried again at a time");
    };
    tokio::join!(outage, stage.publish());
    stage.env.sleep(Duration::from_secs(20)).await;
    handle.shutdown();
    handle.join().await.unwrap();
    stage.check().await;
}
