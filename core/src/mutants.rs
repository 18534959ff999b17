//! Rules broken on purpose, so that the simulation can show that it would notice.
//!
//! A mutant is chosen by its name, for one thread: a simulated world lives on one. Nobody else chooses any, and
//! then everything is as without the feature but for a look at a name at each place.

use std::cell::Cell;

thread_local! {
    static CHOSEN: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// Chooses the mutant of this thread, or none.
pub fn choose(name: Option<&'static str>) {
    CHOSEN.set(name);
}

/// True where the mutant of this name is chosen.
#[must_use]
pub fn is_chosen(name: &str) -> bool {
    CHOSEN.get().is_some_and(|chosen| chosen == name)
}
