//! The service put together: configuration, database, topic, and the runtime over them.

use std::path::Path;
use std::sync::Arc;

use keylane::config::{Catalog, Config, Source};
use keylane::store::StoreAdapter;
use keylane::{Admin, Env, Error, ErrorKind, Runtime};
use keylane_log::Log;
use keylane_sqlite::{Database, Sqlite, SqliteConfig};

use crate::args::Args;
use crate::gateway::Gateway;
use crate::run::Run;
use crate::topic::{self, Topic};
use crate::trace::Trace;
use crate::{handlers, journal};

/// The subscription that handles orders.
pub(crate) const ORDERS: &str = "orders";
/// The subscription that notes what was published.
pub(crate) const JOURNAL: &str = "journal";
/// The broker of both.
pub(crate) const BROKER: &str = "main";

/// The service's own tables.
const TABLES: &[(u32, &str)] = &[(1, include_str!("../migrations/0001_orders.sql"))];

pub(crate) struct Service {
    pub(crate) env: Env,
    pub(crate) database: Arc<Database>,
    pub(crate) topic: Arc<dyn Topic>,
    pub(crate) admin: Admin,
    pub(crate) run: Run,
    /// The groups under which the subscriptions read, as configured.
    pub(crate) groups: Groups,
    source: Source,
    variables: Variables,
}

#[derive(Debug)]
pub(crate) struct Groups {
    pub(crate) orders: String,
    pub(crate) journal: String,
}

impl Service {
    /// Opens what the arguments name, and makes what is not there yet.
    pub(crate) async fn open(args: &Args) -> Result<Self, Error> {
        prepare(&args.data, args.fresh)?;
        let env = Env::tokio();
        let variables = Variables { data: args.data.display().to_string() };
        let source = match &args.config {
            Some(path) => Source::file(path)?,
            None => Source::text("subscriptions.toml", include_str!("../subscriptions.toml")),
        };
        let catalog = topic::enter(Catalog::new().store::<SqliteConfig>(Sqlite::KIND));
        let config = Config::parse(source.clone(), &catalog, &|name| variables.look_up(name))?;
        let (orders, journal) = (subscription(&config, ORDERS)?, subscription(&config, JOURNAL)?);
        let store: SqliteConfig = config.store.section.read()?;

        let database = Database::open(&store.path, &env).await?;
        database.migrate(ORDERS, TABLES).await?;
        Ok(Self {
            run: Run::begin(&database, args.seed, args.orders).await?,
            topic: topic::connect(&config, &orders.config.source, &database, &env).await?,
            admin: Admin::new(Sqlite.open(store, &env).await?),
            groups: Groups { orders: orders.group().to_owned(), journal: journal.group().to_owned() },
            env,
            database,
            source,
            variables,
        })
    }

    /// The runtime with its subscriptions. The rest of this file is what a service that also publishes,
    /// counts and checks needs besides.
    pub(crate) fn runtime(&self, trace: Arc<Trace>) -> Runtime {
        let gateway = Arc::new(Gateway::new(u64::from(self.run.seed)));
        let variables = self.variables.clone();
        let runtime = Runtime::from_source(self.source.clone())
            .env(self.env.clone())
            .variables(move |name| variables.look_up(name))
            .store(Sqlite)
            .broker(Log::on(Sqlite))
            .subscription(ORDERS, handlers::routes(gateway, trace))
            .subscription(JOURNAL, journal::routes());
        #[cfg(feature = "kafka")]
        let runtime = runtime.broker(keylane_kafka::Kafka);
        runtime
    }
}

/// What `${NAME}` in the configuration stands for.
#[derive(Debug, Clone)]
struct Variables {
    data: String,
}

impl Variables {
    fn look_up(&self, name: &str) -> Option<String> {
        let default = match name {
            "ORDERS_DATA" => return Some(self.data.clone()),
            "ORDERS_TOPIC" => Some("orders".to_owned()),
            "KAFKA" => Some("127.0.0.1:9092".to_owned()),
            _ => None,
        };
        std::env::var(name).ok().or(default)
    }
}

fn subscription<'a>(config: &'a Config, name: &str) -> Result<&'a keylane::config::Subscription, Error> {
    let found = config.subscriptions.get(name);
    found.ok_or_else(|| {
        Error::new(ErrorKind::Config, format!("[subscription.{name}] is missing; orders needs it"))
    })
}

/// Makes the folder; with `fresh` removes what an earlier run left in it, and nothing else.
fn prepare(data: &Path, fresh: bool) -> Result<(), Error> {
    let failed = |what: &str, error: std::io::Error| {
        let what = format!("could not {what} {}; name another folder by --data", data.display());
        Error::new(ErrorKind::Config, what).with_source(error)
    };
    std::fs::create_dir_all(data).map_err(|error| failed("make", error))?;
    for file in ["orders.db", "orders.db-wal", "orders.db-shm"].iter().filter(|_| fresh) {
        match std::fs::remove_file(data.join(file)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed("empty", error));
            }
            _ => {}
        }
    }
    Ok(())
}
