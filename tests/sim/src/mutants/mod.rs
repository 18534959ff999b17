//! Rules broken on purpose: each has to be caught, or its survival is explained.
//!
//! Without the feature `mutants` the list is all there is: the core has no places for them then.

mod list;
mod store;

use std::sync::Arc;

use keylane::Env;
use keylane::store::Store;

pub use list::{Fate, MUTANTS, Mutant};

/// The one that is broken here and not in the core.
const A1: &str = "a1-read-before-the-lease";

/// Chooses the mutant of this thread.
pub(crate) fn choose(mutant: Option<&'static str>) {
    #[cfg(feature = "mutants")]
    keylane::mutants::choose(mutant);
    #[cfg(not(feature = "mutants"))]
    assert!(mutant.is_none(), "mutants are there with the feature `mutants` only");
}

fn is_chosen(name: &str) -> bool {
    #[cfg(feature = "mutants")]
    return keylane::mutants::is_chosen(name);
    #[cfg(not(feature = "mutants"))]
    return {
        _ = name;
        false
    };
}

/// The store of a worker, broken where the chosen mutant says so.
pub(crate) fn store(store: Arc<dyn Store>, env: &Env) -> Arc<dyn Store> {
    if is_chosen(A1) { Arc::new(store::StaleStore { inner: store, env: env.clone() }) } else { store }
}

/// The mutant of this name.
///
/// # Errors
/// There is none, or none can be chosen.
pub fn named(name: &str) -> Result<&'static Mutant, String> {
    if cfg!(not(feature = "mutants")) {
        return Err("mutants are there with `--features mutants` only".to_owned());
    }
    let known = MUTANTS.iter().find(|mutant| mutant.name == name);
    known.ok_or_else(|| {
        let names: Vec<&str> = MUTANTS.iter().map(|mutant| mutant.name).collect();
        format!("there is no mutant {name:?}; there are {}", names.join(", "))
    })
}
