//! The lines of this process; see [`crate::turns`] for their form.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keylane::env::{Instant, Timestamp};
use keylane::{Call, Env, Next, Outcome};
use keylane_tests::faults::StoreEyes;

use crate::clock::{nanos, now, wall};
use crate::turns::End;

/// The file, and the number of the next run.
#[derive(Debug)]
pub(crate) struct Lines {
    file: File,
    runs: AtomicU64,
}

impl Lines {
    pub(crate) fn to(path: &Path) -> std::io::Result<Self> {
        let file = File::options().append(true).create(true).open(path)?;
        Ok(Self { file, runs: AtomicU64::new(0) })
    }

    /// One write: what it returns from is in the file, whatever happens to this process next.
    fn line(&self, line: &str) {
        // Without its lines a run proves nothing; the checker would find effects without a start.
        if let Err(error) = (&self.file).write_all(format!("{line} {}\n", std::process::id()).as_bytes()) {
            eprintln!("a line was not written: {error}");
        }
    }

    /// The middleware around the handler.
    pub(crate) async fn around(self: Arc<Self>, call: Call, next: Next) -> Outcome {
        let item = call.first();
        let about = format!("{} {} {}", item.envelope.meta.id, item.attempt, item.token);
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        self.line(&format!("start {run} {about} {} {}", now(), wall()));
        let mut open = Open { lines: self, run, about, how: End::Dropped };
        let outcome = next.run(call).await;
        open.how = if outcome.is_done() { End::Done } else { End::Failed };
        outcome
    }
}

/// One run of the handler; dropped before its end, it was cut off at an await.
struct Open {
    lines: Arc<Lines>,
    run: u64,
    about: String,
    how: End,
}

impl Drop for Open {
    fn drop(&mut self) {
        let Self { run, about, how, .. } = self;
        self.lines.line(&format!("{how} {run} {about} {} {}", now(), wall()));
    }
}

/// Notes what the session is promised.
pub(crate) struct Eyes {
    pub(crate) env: Env,
    pub(crate) lines: Arc<Lines>,
    /// Which database.
    pub(crate) home: u32,
}

impl StoreEyes for Eyes {
    fn promised(&self, sent: (Instant, Timestamp)) {
        let ago = nanos(self.env.now().since(sent.0));
        self.lines.line(&format!("promised {} {}", now().saturating_sub(ago), self.home));
    }

    fn session_lost(&self) {
        self.lines.line(&format!("lost {} {}", now(), self.home));
    }
}
