//! A worker: what the driver starts several of. The real runtime over the real adapters, with a handler that
//! leaves lines and records one effect an event.

mod eyes;
mod handler;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use keylane::{Env, Error, ErrorKind, Runtime};
use keylane_log::Log;
use keylane_sqlite::Sqlite;
use keylane_tests::faults::{FaultyStore, StoreFaults};

pub(crate) use eyes::Lines;
use handler::Scene;

use crate::SUBSCRIPTION;
use crate::store::StoreKind;

/// What the driver says when it starts one.
#[derive(Debug, clap::Args)]
pub struct WorkerArgs {
    /// Its configuration.
    #[arg(long)]
    pub config: PathBuf,
    /// Its file of lines.
    #[arg(long)]
    pub lines: PathBuf,
    /// Which store it has.
    #[arg(long)]
    pub store: StoreKind,
    /// What handlers decide by.
    #[arg(long)]
    pub seed: u64,
    /// Of a thousand attempts, those that take a second and more.
    #[arg(long)]
    pub long: u64,
}

/// Works until it is told to stop.
///
/// # Errors
/// What the runtime says.
pub async fn work(args: WorkerArgs) -> Result<(), Error> {
    let lines = Lines::to(&args.lines).map_err(|error| {
        Error::new(ErrorKind::Config, "could not open the file of lines").with_source(error)
    })?;
    let lines = Arc::new(lines);
    let scene = Arc::new(Scene { seed: args.seed, long: args.long });
    let env = Env::tokio();
    let runtime = Runtime::from_file(&args.config)?
        .env(env.clone())
        .broker(Log::on(Sqlite))
        .store_layer(watch(env, lines.clone()));
    #[cfg(feature = "kafka")]
    let runtime = runtime.broker(keylane_kafka::Kafka);
    #[cfg(feature = "rabbitmq")]
    let runtime = runtime.broker(keylane_rabbitmq::RabbitMq);
    match args.store {
        #[cfg(feature = "postgres")]
        StoreKind::Postgres | StoreKind::Postgres2 => {
            use keylane_postgres::Postgres;
            let routes = handler::routes::<Postgres>(scene, lines);
            runtime.store(Postgres::new()).subscription(SUBSCRIPTION, routes).run().await
        }
        #[cfg(not(feature = "postgres"))]
        StoreKind::Postgres | StoreKind::Postgres2 => Err(crate::driver::missing("postgres")),
        StoreKind::Sqlite => {
            let routes = handler::routes::<Sqlite>(scene, lines);
            runtime.store(Sqlite).subscription(SUBSCRIPTION, routes).run().await
        }
    }
}

/// Notes what the session is promised; changes nothing.
fn watch(
    env: Env,
    lines: Arc<Lines>,
) -> impl Fn(Arc<dyn keylane::store::Store>) -> Arc<dyn keylane::store::Store> + Send + Sync + 'static {
    let homes = AtomicU32::new(0);
    move |store| {
        let home = homes.fetch_add(1, Ordering::Relaxed);
        let eyes = eyes::Eyes { env: env.clone(), lines: lines.clone(), home };
        Arc::new(FaultyStore::new(store, env.clone(), StoreFaults::default()).watched(Arc::new(eyes)))
    }
}
