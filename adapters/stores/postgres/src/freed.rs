//! Waiting for leases: woken by who gives them back, and by looking now and then.
//!
//! A connection of its own listens and passes wakings on. It may be away, notifications may be lost, a pooler for
//! transactions passes none: so whoever waits also looks every [`LOOK`]. That finds the leases of the dead as well,
//! of which nobody tells. Neither ever spins.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keylane::env::Instant;
use keylane::store::{LeaseKey, SessionId};
use keylane::{Env, Error};
use sqlx::Row;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::{Notify, watch};

use crate::PostgresStore;
use crate::database::Database;
use crate::error::failed;

/// How often is looked for what nobody told.
const LOOK: Duration = Duration::from_millis(500);
/// How long one call waits.
const WAIT: Duration = Duration::from_secs(20);
/// Between two tries to listen again.
const AGAIN: Duration = Duration::from_secs(1);
/// What was told is not told again within this time: who can't have it for now would ask without end.
const REPEAT: Duration = Duration::from_millis(250);

/// Wakes those who wait in this process.
#[derive(Debug)]
pub(crate) struct Releases {
    wake: Arc<Notify>,
    told: Mutex<Option<(Instant, Vec<LeaseKey>)>>,
    /// Dropped with the store: then the listener ends.
    _alive: watch::Sender<()>,
}

impl Releases {
    /// Starts the task that listens.
    pub(crate) fn listen(database: &Arc<Database>) -> Self {
        let (alive, ended) = watch::channel(());
        let wake = Arc::new(Notify::new());
        let env = database.env().clone();
        // Behind a pooler LISTEN would stay on a connection that is another's in the next transaction, whose client
        // would be told what it can't understand.
        if database.is_own() {
            let task = listen(database.clone(), wake.clone(), ended);
            env.spawn("postgres notifications", task);
        }
        Self { wake, told: Mutex::default(), _alive: alive }
    }

    /// Whether the same was told a moment ago.
    fn is_repeated(&self, env: &Env, found: &[LeaseKey]) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = env.now();
        if let Some((at, last)) = &*told
            && now.since(*at) < REPEAT
            && found.iter().all(|key| last.contains(key))
        {
            return true;
        }
        *told = Some((now, found.to_vec()));
        false
    }
}

async fn listen(database: Arc<Database>, wake: Arc<Notify>, mut ended: watch::Receiver<()>) {
    loop {
        tokio::select! { biased;
            _ = ended.changed() => return,
            error = pass_on(&database, &wake) => {
                tracing::debug!(%error, "not listening to releases for the moment; they are looked for");
            }
        }
        tokio::select! { biased;
            _ = ended.changed() => return,
            () = database.env().sleep(AGAIN) => {}
        }
    }
}

/// Ends by an error only.
async fn pass_on(database: &Database, wake: &Notify) -> sqlx::Error {
    let pool = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
    let pool = pool.connect_lazy_with(database.options().clone());
    let mut listener = match PgListener::connect_with(&pool).await {
        Ok(listener) => listener,
        Err(error) => return error,
    };
    if let Err(error) = listener.listen(&database.channel()).await {
        return error;
    }
    loop {
        // Whomever it names: those who wait look for themselves. None at all: the connection was away for a while.
        match listener.try_recv().await {
            Ok(_) => wake.notify_waiters(),
            Err(error) => return error,
        }
    }
}

/// What this session waits for and may ask for now; none after a while.
pub(crate) async fn freed(store: &PostgresStore, session: SessionId) -> Result<Vec<LeaseKey>, Error> {
    let env = store.database.env();
    let end = env.now() + WAIT;
    loop {
        let woken = store.releases.wake.notified();
        let mut woken = std::pin::pin!(woken);
        // Enabled before the look, so that what is told after it is not missed.
        woken.as_mut().enable();
        let found = store.bounded("a look for leases", look(store, session)).await?;
        if !found.is_empty() && !store.releases.is_repeated(env, &found) {
            return Ok(found);
        }
        if env.now() >= end {
            return Ok(Vec::new());
        }
        tokio::select! { biased;
            () = woken => {}
            () = env.sleep(LOOK) => {}
        }
    }
}

async fn look(store: &PostgresStore, session: SessionId) -> Result<Vec<LeaseKey>, Error> {
    let mut link = store.database.work().await?;
    let read = async {
        link.begin_if_needed().await?;
        let sql = store.database.sql("SELECT scope, key FROM {keylane}.freed($1)");
        let rows = sql.query().bind(session.0).fetch_all(&mut *link).await;
        rows.map_err(|error| {
            link.note(&error);
            failed("could not look for leases that are free", error)
        })
    };
    let read = read.await;
    let mut freed = Vec::new();
    for row in link.end(read).await? {
        let scope = store.scopes.scope(&store.database, row.get("scope")).await?;
        freed.push(LeaseKey { scope, key: row.get::<Vec<u8>, _>("key").into() });
    }
    Ok(freed)
}
