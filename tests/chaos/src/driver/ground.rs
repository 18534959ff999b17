//! What the workers stand on: folder, broker, store.

use std::sync::Arc;

use keylane::{Env, Error, ErrorKind};

use super::Options;
use crate::SUBSCRIPTION;
use crate::broker::{BrokerKind, BrokerSide, LogSide};
use crate::plan::{Fault, Kind};
use crate::store::{SqliteSide, StoreKind, StoreSide};

/// Broker and store of a run.
pub(super) struct Ground {
    pub(super) broker: Arc<dyn BrokerSide>,
    pub(super) store: Arc<dyn StoreSide>,
}

impl Ground {
    /// In a folder that is made anew.
    pub(super) async fn make(options: &Options, env: &Env) -> Result<Self, Error> {
        empty(&options.folder)?;
        let sqlite = SqliteSide::make(&LogSide::file(&options.folder), env).await?;
        let broker: Arc<dyn BrokerSide> = match options.broker {
            BrokerKind::Log => {
                Arc::new(LogSide::make(sqlite.database().clone(), options.session, env).await?)
            }
        };
        let store: Arc<dyn StoreSide> = match options.store {
            StoreKind::Sqlite => Arc::new(sqlite),
        };
        Ok(Self { broker, store })
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

    /// A fault of a link or a server.
    pub(super) async fn suffer(&self, fault: &Fault) -> Result<(), Error> {
        match fault.kind {
            Kind::Terminate => self.store.terminate().await,
            kind => Err(Error::new(ErrorKind::Config, format!("{} needs servers of our own", kind.name()))),
        }
    }

    /// Ends what was started for it.
    pub(super) async fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

/// Only a folder that an earlier run left, or none, is taken: nothing else is ever removed.
fn empty(folder: &std::path::Path) -> Result<(), Error> {
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
