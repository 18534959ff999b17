//! The end of all faults.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Says whether things may still go wrong by chance. Clones are handles on the same one.
#[derive(Debug, Clone, Default)]
pub struct Calm(Arc<AtomicBool>);

impl Calm {
    /// From now on nothing does.
    pub fn begin(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// True when nothing does any more.
    #[must_use]
    pub fn is(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
