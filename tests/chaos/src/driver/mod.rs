//! The driver: starts broker, store and workers, publishes at a steady pace, injects the plan's faults, drains,
//! and gathers what the checker needs.

mod crew;
mod ground;
mod inject;
mod publish;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keylane::{Admin, Env, Error, ErrorKind};

use crate::SUBSCRIPTION;
use crate::broker::BrokerKind;
use crate::check::{History, Verdict};
use crate::clock::{nanos, now};
use crate::plan::{Kind, Plan};
use crate::report;
use crate::store::StoreKind;
use crew::Crew;
use ground::Ground;

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which broker.
    pub broker: BrokerKind,
    /// Which store.
    pub store: StoreKind,
    /// How many events.
    pub events: u64,
    /// What everything is drawn from.
    pub seed: u64,
    /// Of a thousand attempts, those that take a second and more.
    pub long: u64,
    /// The faults.
    pub plan: Plan,
    /// How long a worker's session lives.
    pub session: Duration,
    /// How long after the last fault everything must be finished.
    pub drain_max: Duration,
    /// This program, which knows `worker`.
    pub program: PathBuf,
    /// Where the evidence lies.
    pub folder: PathBuf,
    /// Say what happens while it does.
    pub chatty: bool,
}

/// The kinds of fault that a pair can suffer.
#[must_use]
pub fn kinds(broker: BrokerKind, store: StoreKind) -> Vec<Kind> {
    let mut kinds = Kind::PROCESS.to_vec();
    if broker != BrokerKind::Log {
        kinds.extend([Kind::CutBroker, Kind::SlowBroker, Kind::BrokerKill]);
    }
    if store != StoreKind::Sqlite {
        kinds.extend([Kind::CutStore, Kind::SlowStore, Kind::Terminate, Kind::StoreShut, Kind::StoreKill]);
    }
    kinds
}

/// What this build lacks for a pair, if anything.
///
/// # Errors
/// A feature is missing.
pub fn check(broker: BrokerKind, store: StoreKind) -> Result<(), Error> {
    match (broker, store) {
        (BrokerKind::Kafka, _) if !cfg!(feature = "kafka") => Err(missing("kafka")),
        (BrokerKind::Rabbitmq, _) if !cfg!(feature = "rabbitmq") => Err(missing("rabbitmq")),
        (_, StoreKind::Postgres | StoreKind::Postgres2) if !cfg!(feature = "postgres") => {
            Err(missing("postgres"))
        }
        _ => Ok(()),
    }
}

/// The port in a URL such as `scheme://user:password@host:port/path`.
#[cfg(any(feature = "postgres", feature = "rabbitmq"))]
fn port_of(url: &str) -> Result<u16, Error> {
    let authority = url.split('/').nth(2).unwrap_or_default();
    let port = authority.rsplit(':').next().and_then(|port| port.parse().ok());
    port.ok_or_else(|| Error::new(ErrorKind::Config, "a server's address has no port"))
}

/// A feature that the build was made without.
pub(crate) fn missing(feature: &str) -> Error {
    let what = format!("built without the feature `{feature}`; add --features {feature} before the --");
    Error::new(ErrorKind::Config, what)
}

/// What a run left, and what is to be said of it.
#[derive(Debug)]
pub struct Outcome {
    /// All that is known.
    pub history: History,
    /// The judgement.
    pub verdict: Verdict,
}

/// Runs it, and judges.
///
/// # Errors
/// What kept it from being run; a broken promise is no error but a verdict.
pub async fn run(options: &Options) -> Result<Outcome, Error> {
    check(options.broker, options.store)?;
    let env = Env::tokio();
    let ground = Ground::make(options, &env).await?;
    let mut crew = Crew::new(options, &ground)?;
    crew.start_all().await?;
    let signs = Arc::new(publish::Signs::default());
    let publishing = tokio::spawn(publish::publish(
        ground.broker.clone(),
        options.seed,
        options.events,
        options.plan.lasts(),
        signs.clone(),
    ));
    crew.all_busy().await?;
    let began = now();
    signs.began.store(began, Ordering::Relaxed);
    let injected = inject::inject(options, &ground, &mut crew, began).await;
    if injected.is_err() {
        signs.over.store(true, Ordering::Relaxed);
    }
    let published = publishing
        .await
        .map_err(|error| Error::new(ErrorKind::Broker, "the publisher panicked").with_source(error))??;
    let faults = injected?;
    let finished = drain(options, &ground, &mut crew, published.len() as u64).await?;
    crew.end_all().await?;
    let history = History {
        published,
        effects: ground.store.effects().await?,
        lives: crew.lives()?,
        deaths: crew.deaths().clone(),
        unasked: crew.unasked().to_vec(),
        faults,
        dead: dead(&ground).await?,
        session: nanos(options.session),
        ordered: ground.broker.ordered(),
        quiet: (began + nanos(options.plan.quiet / 4), began + nanos(options.plan.quiet)),
        gap: nanos(options.plan.gap),
        finished,
    };
    let verdict = Verdict::of(&history);
    report::keep(options, &history, &verdict)?;
    if options.chatty {
        // Before anything is ended: whatever that does, this has been said.
        println!("\nseed {}\n{}", options.seed, report::table(options, &verdict));
    }
    Ok(Outcome { history, verdict })
}

/// Waits until there are as many effects as events, or until the bound; says when that was.
async fn drain(
    options: &Options,
    ground: &Ground,
    crew: &mut Crew,
    events: u64,
) -> Result<Option<u64>, Error> {
    let bound = now() + nanos(options.drain_max);
    while now() < bound {
        crew.mend().await?;
        // Right after a fault the store may not answer yet.
        if ground.store.count().await.unwrap_or_default() >= events {
            let finished = now();
            // What is done twice is done a moment later.
            tokio::time::sleep(options.session).await;
            return Ok(Some(finished));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(None)
}

async fn dead(ground: &Ground) -> Result<Vec<String>, Error> {
    let mut dead = Vec::new();
    for store in ground.store.open().await? {
        dead.extend(dead_in(&Admin::new(store)).await?);
    }
    Ok(dead)
}

async fn dead_in(admin: &Admin) -> Result<Vec<String>, Error> {
    const PAGE: usize = 500;
    let mut dead: Vec<keylane::store::Parked> = Vec::new();
    loop {
        let after = dead.last().map(keylane::store::Parked::parked_id);
        let page = admin.dead_letters(SUBSCRIPTION, after, PAGE).await?;
        let last = page.len() < PAGE;
        dead.extend(page);
        if last {
            return Ok(dead.into_iter().map(|parked| parked.id.to_string()).collect());
        }
    }
}
