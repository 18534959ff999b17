//! Rules broken on purpose.

use std::sync::Arc;

use keylane::Env;
use keylane::store::Store;

/// Chooses the mutant of this thread.
pub fn choose(_mutant: Option<&'static str>) {}

/// The store of a worker, broken where the chosen mutant says so.
pub(crate) fn store(store: Arc<dyn Store>, _env: &Env) -> Arc<dyn Store> {
    store
}

/// The mutant of this name.
///
/// # Errors
/// There is none.
pub fn named(name: &str) -> Result<&'static str, String> {
    Err(format!("there is no mutant {name:?}"))
}
