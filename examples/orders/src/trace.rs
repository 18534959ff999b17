//! Middleware around every handler: counts what fails, and where `--trace FILE` asks for it writes a
//! line when a handler starts and when it stops, for whoever wants to check by other eyes than ours.
//!
//! A line is `start|done|failed|dropped PID RUN KEY ID ATTEMPT MICROSECONDS`. One run of a batch handler
//! has a line for each of its events. Lines are appended whole, so that several processes may share a
//! file, and the order of lines is the order of what happened.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use keylane::{Call, Next, Outcome};

/// What handlers of this process did.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    file: Option<File>,
    runs: AtomicU64,
    failed: AtomicU64,
}

impl Trace {
    /// With lines in the file at `path`, if there is one.
    ///
    /// # Errors
    /// The file can't be opened.
    pub(crate) fn to(path: Option<&Path>) -> std::io::Result<Self> {
        let open = |path| File::options().append(true).create(true).open(path);
        Ok(Self { file: path.map(open).transpose()?, ..Self::default() })
    }

    /// Tries that failed since this process began.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// The middleware.
    pub(crate) async fn around(self: Arc<Self>, call: Call, next: Next) -> Outcome {
        let mut run = Run { number: self.runs.fetch_add(1, Ordering::Relaxed), trace: self, call: None };
        run.line("start", &call);
        // Kept for the last line only where somebody reads it.
        run.call = run.trace.file.is_some().then(|| call.clone());
        let outcome = next.run(call).await;
        run.trace.failed.fetch_add(outcome.failures.len() as u64, Ordering::Relaxed);
        run.end(if outcome.is_done() { "done" } else { "failed" });
        outcome
    }
}

/// One run of a handler. Dropped before its end, it was cut off at an await: by a timeout, or because
/// its key goes to another worker.
struct Run {
    number: u64,
    trace: Arc<Trace>,
    call: Option<Call>,
}

impl Run {
    fn end(&mut self, how: &str) {
        if let Some(call) = self.call.take() {
            self.line(how, &call);
        }
    }

    fn line(&self, what: &str, call: &Call) {
        let Some(mut file) = self.trace.file.as_ref() else { return };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (pid, now) = (std::process::id(), since.as_micros());
        let mut lines = String::new();
        for item in call.events.as_slice() {
            let meta = &item.envelope.meta;
            let key = meta.key_text().unwrap_or_default();
            let (run, id, attempt) = (self.number, &meta.id, item.attempt);
            // Writing to a string can't fail.
            let _ = writeln!(lines, "{what} {pid} {run} {key} {id} {attempt} {now}");
        }
        // A trace that can't be written fails whoever checks it, not the orders.
        let _ = file.write_all(lines.as_bytes());
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.end("dropped");
    }
}
