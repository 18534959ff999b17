//! What the workers stand on: folder, broker, store, and where there are servers a link to each for each worker.

use std::path::Path;
use std::sync::Arc;

use keylane::{Env, Error, ErrorKind};
use keylane_tests::sim::Chance;
use rustix::process::Signal;

use super::Options;
use crate::SUBSCRIPTION;
use crate::broker::{BrokerKind, BrokerSide, LogSide};
use crate::plan::{Fault, Kind};
use crate::servers::{Server, Toxiproxy};
use crate::store::{SqliteSide, StoreKind, StoreSide};

/// Broker and store of a run.
pub(super) struct Ground {
    pub(super) broker: Arc<dyn BrokerSide>,
    pub(super) store: Arc<dyn StoreSide>,
    /// `None`: embedded.
    pub(super) broker_server: Option<Server>,
    pub(super) store_server: Option<Server>,
    pub(super) links: Option<Toxiproxy>,
    pub(super) seed: u64,
}

impl Ground {
    /// In a folder that is made anew.
    pub(super) async fn make(options: &Options, env: &Env) -> Result<Self, Error> {
        empty(&options.folder)?;
        let state = std::path::absolute(&options.folder).unwrap_or_default().join("servers");
        let links = match (options.broker, options.store) {
            (BrokerKind::Log, StoreKind::Sqlite) => None,
            _ => Some(Toxiproxy::up(&state).await?),
        };
        let (store, store_server) = store(options, &state, links.as_ref(), env).await?;
        let (broker, broker_server) = broker(options, &state, links.as_ref(), env).await?;
        Ok(Self { broker, store, broker_server, store_server, links, seed: options.seed })
    }

    /// The configuration of a worker in this place.
    pub(super) fn config(&self, options: &Options, place: usize) -> String {
        let of_broker = self.broker.config(place);
        let session = options.session.as_millis();
        let (grace, handover) = (session / 2, session * 2);
        format!(
            "[runtime]\nsession = \"{session}ms\"\ngrace = \"{grace}ms\"\nhandover_max = \"{handover}ms\"\n\
             drain_max = \"10s\"\n\n{}\n{}\n[subscription.{SUBSCRIPTION}]\nsource = {:?}\nconcurrency = 32\n\n\
             [subscription.{SUBSCRIPTION}.event]\nid = \"header:event-id\"\nkind = \"const:numbered\"\n\n\
             [subscription.{SUBSCRIPTION}.ledger]\nmode = \"id\"\n\n\
             [subscription.{SUBSCRIPTION}.retry]\nattempts_max = 20\ndelay = \"20ms\"\ndelay_max = \"200ms\"\n\
             crashes_max = 100\non_exhausted = \"skip\"\n\n{}",
            self.store.config(place),
            of_broker.broker,
            of_broker.source,
            of_broker.subscription,
        )
    }

    /// A fault of a link or a server; returns when it is over.
    pub(super) async fn suffer(&self, fault: &Fault) -> Result<(), Error> {
        let none = || Error::new(ErrorKind::Config, format!("{}: nothing to do it to", fault.kind.name()));
        let store = || self.store_server.as_ref().ok_or_else(none);
        let broker = || self.broker_server.as_ref().ok_or_else(none);
        let store_answers = || self.store.answers();
        match fault.kind {
            Kind::Terminate => self.store.terminate().await,
            // An immediate shutdown: no checkpoint, no farewell.
            Kind::StoreShut => store()?.fall(Signal::QUIT, fault.lasts, store_answers).await,
            Kind::StoreKill => store()?.fall(Signal::KILL, fault.lasts, store_answers).await,
            Kind::BrokerKill => broker()?.fall(Signal::KILL, fault.lasts, || self.broker.answers()).await,
            _ => self.trouble_link(fault, self.links.as_ref().ok_or_else(none)?).await,
        }
    }

    async fn trouble_link(&self, fault: &Fault, links: &Toxiproxy) -> Result<(), Error> {
        let place = fault.place.unwrap_or_default();
        let name = match fault.kind {
            Kind::CutBroker | Kind::SlowBroker => link_name("broker", place),
            _ => link_name("store", place),
        };
        match fault.kind {
            Kind::CutBroker | Kind::CutStore if fault.mute => links.mute(&name, fault.lasts).await,
            Kind::CutBroker | Kind::CutStore => links.cut(&name, fault.lasts).await,
            _ => {
                let by = 50 + Chance::of(self.seed, &name, fault.at.as_millis() as u32).below(200);
                links.slow(&name, std::time::Duration::from_millis(by), fault.lasts).await
            }
        }
    }
}

#[cfg_attr(not(feature = "postgres"), expect(unused_variables, reason = "for servers"))]
async fn store(
    options: &Options,
    state: &Path,
    links: Option<&Toxiproxy>,
    env: &Env,
) -> Result<(Arc<dyn StoreSide>, Option<Server>), Error> {
    match (options.store, links) {
        #[cfg(feature = "postgres")]
        (StoreKind::Postgres | StoreKind::Postgres2, Some(links)) => {
            use crate::store::{Database, PostgresSide, second};

            let server = Server::up("postgres", state, &[]).await?;
            let url = server.variable("KEYLANE_TEST_POSTGRES")?.to_owned();
            let port = super::port_of(&url)?;
            let by = |url: &str, ways: Vec<u16>| {
                ways.iter().map(|way| url.replace(&format!(":{port}/"), &format!(":{way}/"))).collect()
            };
            let mut databases = Vec::new();
            if options.store == StoreKind::Postgres2 {
                let url = second(&url).await?;
                databases.push(Database { links: by(&url, ways(links, "store2", port).await?), url });
            }
            let links = by(&url, ways(links, "store", port).await?);
            databases.insert(0, Database { links, url });
            let side = PostgresSide::make(databases, env).await?;
            Ok((Arc::new(side), Some(server)))
        }
        (StoreKind::Sqlite, _) => {
            let side = SqliteSide::make(&LogSide::file(&options.folder), env).await?;
            Ok((Arc::new(side), None))
        }
        _ => Err(super::missing("postgres")),
    }
}

#[cfg_attr(
    not(any(feature = "kafka", feature = "rabbitmq")),
    expect(unused_variables, reason = "for servers")
)]
async fn broker(
    options: &Options,
    state: &Path,
    links: Option<&Toxiproxy>,
    env: &Env,
) -> Result<(Arc<dyn BrokerSide>, Option<Server>), Error> {
    match (options.broker, links) {
        #[cfg(feature = "kafka")]
        (BrokerKind::Kafka, Some(links)) => {
            // A listener for each worker, which tells it to go on by its own link.
            let mut listeners = Vec::new();
            let mut ways = Vec::new();
            for place in 0..crate::plan::PLACES {
                let port = crate::servers::free_port()?;
                let way = links.link(&link_name("broker", place), port).await?;
                listeners.push(format!("{port}=127.0.0.1:{way}"));
                ways.push(format!("127.0.0.1:{way}"));
            }
            let settings = [("KEYLANE_KAFKA_LINKS", listeners.join(" "))];
            let server = Server::up("kafka", state, &settings).await?;
            let address = server.variable("KEYLANE_TEST_KAFKA")?;
            let side = crate::broker::KafkaSide::make(address, ways, options.session, env).await?;
            Ok((Arc::new(side), Some(server)))
        }
        #[cfg(feature = "rabbitmq")]
        (BrokerKind::Rabbitmq, Some(links)) => {
            let server = Server::up("rabbitmq", state, &[]).await?;
            let uri = server.variable("KEYLANE_TEST_RABBITMQ")?.to_owned();
            let port = super::port_of(&uri)?;
            let ways = ways(links, "broker", port).await?;
            let uris =
                ways.iter().map(|way| uri.replace(&format!(":{port}/"), &format!(":{way}/"))).collect();
            let side = crate::broker::RabbitMqSide::new(&uri, format!("127.0.0.1:{port}"), uris, env);
            Ok((Arc::new(side), Some(server)))
        }
        (BrokerKind::Log, _) => {
            let file = LogSide::file(&options.folder);
            Ok((Arc::new(LogSide::make(&file, options.session, env).await?), None))
        }
        _ => Err(super::missing("kafka or rabbitmq")),
    }
}

/// A link to that port for each worker.
#[cfg(any(feature = "postgres", feature = "rabbitmq"))]
async fn ways(links: &Toxiproxy, to: &str, port: u16) -> Result<Vec<u16>, Error> {
    let mut ways = Vec::new();
    for place in 0..crate::plan::PLACES {
        ways.push(links.link(&link_name(to, place), port).await?);
    }
    Ok(ways)
}

fn link_name(to: &str, place: usize) -> String {
    format!("{to}-{place}")
}

/// Only a folder that an earlier run left, or none, is taken: nothing else is ever removed.
fn empty(folder: &Path) -> Result<(), Error> {
    const MARK: &str = "keylane-chaos";
    let failed = |error: std::io::Error| {
        let what = format!("could not empty {}; name another folder by --evidence", folder.display());
        Error::new(ErrorKind::Config, what).with_source(error)
    };
    let is_empty = std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
    if !is_empty && !folder.join(MARK).exists() {
        let what = format!("{} is no folder of an earlier run; name another by --evidence", folder.display());
        return Err(Error::new(ErrorKind::Config, what));
    }
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(failed)?;
    }
    std::fs::create_dir_all(folder).map_err(failed)?;
    std::fs::write(folder.join(MARK), "").map_err(failed)
}
