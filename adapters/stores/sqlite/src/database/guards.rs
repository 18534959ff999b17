//! Hooks on the writing connection: nothing commits there but what we commit, and nothing runs on
//! after its time.
//!
//! Handlers write through this connection inside our transaction. A handler that ran `COMMIT` would
//! make half a group durable, ledger rows before effects. SQLite asks before each commit: ours are let
//! through, any other is turned into a rollback and noticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::sqlite::SqliteConnection;

/// A connection with its guards.
pub(super) struct Guarded {
    pub(super) connection: SqliteConnection,
    pub(super) guards: Guards,
}

/// What the hooks of one connection look at. The hooks run on the connection's own thread.
#[derive(Clone, Default)]
pub(super) struct Guards(Arc<Flags>);

#[derive(Default)]
struct Flags {
    commit_allowed: AtomicBool,
    ended: AtomicBool,
    interrupted: AtomicBool,
}

/// Instructions of SQLite's machine between two looks at the interrupt flag: well under a millisecond.
const INTERRUPT_CHECK_EVERY: i32 = 10_000;

impl Guards {
    pub(super) async fn attach(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let mut handle = connection.lock_handle().await?;
        let flags = self.0.clone();
        handle.set_commit_hook(move || {
            let allowed = flags.commit_allowed.load(Ordering::SeqCst);
            if !allowed {
                flags.ended.store(true, Ordering::SeqCst);
            }
            allowed
        });
        let flags = self.0.clone();
        handle.set_rollback_hook(move || flags.ended.store(true, Ordering::SeqCst));
        let flags = self.0.clone();
        handle.set_progress_handler(INTERRUPT_CHECK_EVERY, move || !flags.interrupted.load(Ordering::SeqCst));
        Ok(())
    }

    /// A transaction of ours begins.
    pub(super) fn begin(&self) {
        self.0.commit_allowed.store(false, Ordering::SeqCst);
        self.0.ended.store(false, Ordering::SeqCst);
        self.0.interrupted.store(false, Ordering::SeqCst);
    }

    /// The next commit is ours.
    pub(super) fn allow_commit(&self, allowed: bool) {
        self.0.commit_allowed.store(allowed, Ordering::SeqCst);
    }

    /// The transaction was ended by somebody else than us, or by SQLite itself.
    pub(super) fn has_ended(&self) -> bool {
        self.0.ended.load(Ordering::SeqCst)
    }

    /// Ends the statement that runs, if it runs for long, until the next transaction begins.
    pub(super) fn interrupt(&self) {
        self.0.interrupted.store(true, Ordering::SeqCst);
    }
}
