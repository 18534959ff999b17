//! The process's open databases by path, so that whoever opens one gets the same.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use keylane::{Env, Error};
use tokio::sync::Mutex;

use super::Database;

/// Weak: the last user's drop closes the file. Entries of closed files go at the next opening.
static OPEN: Mutex<BTreeMap<PathBuf, Weak<Database>>> = Mutex::const_new(BTreeMap::new());

/// The lock is held while connecting, so that two first users do not become two writers.
pub(super) async fn open(path: PathBuf, env: &Env) -> Result<Arc<Database>, Error> {
    let mut open = OPEN.lock().await;
    open.retain(|_, database| database.strong_count() > 0);
    if let Some(database) = open.get(&path).and_then(Weak::upgrade) {
        return Ok(database);
    }
    let database = Arc::new(Database::connect(path.clone(), env).await?);
    open.insert(path, Arc::downgrade(&database));
    Ok(database)
}
