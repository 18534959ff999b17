//! The timeout and panic boundary: however a handler ends, the worker goes on.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::env::{BoxFuture, Env};
use crate::handler::{Failure, Outcome};

/// How a run of a handler came to an end.
pub(crate) enum Ended {
    /// It returned.
    Returned(Outcome),
    /// It panicked: a failed try, never a dead worker.
    Panicked(String),
    /// It took longer than its limit and was dropped at an await.
    TimedOut(Duration),
    /// The claim or the promise went away and it was dropped at an await: not a try.
    Aborted,
}

/// Makes a call; a panic on the way there is one of the call's own.
pub(crate) fn begin(make: impl FnOnce() -> BoxFuture<'static, Outcome>) -> BoxFuture<'static, Outcome> {
    match catch_unwind(AssertUnwindSafe(make)) {
        Ok(call) => call,
        Err(panic) => Box::pin(async move { std::panic::resume_unwind(panic) }),
    }
}

/// Polls a new call once, where it stands: most handlers never wait. `None`: it is pending.
pub(crate) fn poll_inline(started: &mut Started) -> Option<Ended> {
    let mut context = Context::from_waker(Waker::noop());
    match catch_unwind(AssertUnwindSafe(|| started.future.as_mut().poll(&mut context))) {
        Ok(Poll::Ready(outcome)) => Some(Ended::Returned(outcome)),
        Ok(Poll::Pending) => None,
        Err(panic) => Some(Ended::Panicked(message(panic))),
    }
}

/// A call that was made and not polled yet.
pub(crate) struct Started {
    pub(crate) future: BoxFuture<'static, Outcome>,
    /// Of a call with a task of its own: ready when that task is gone.
    task: Option<oneshot::Receiver<()>>,
}

/// The rest of a call that is pending after its first poll. A call that is dropped is over when its work
/// is: a task of its own goes on to its next await, and its key waits for that.
pub(crate) async fn bounded(
    env: Env,
    started: Started,
    limit: Duration,
    lost: CancellationToken,
    out_of_promise: CancellationToken,
) -> Ended {
    let Started { future, task } = started;
    let ended = within(env, future, limit, lost, out_of_promise).await;
    if let (Ended::TimedOut(_) | Ended::Aborted, Some(task)) = (&ended, task) {
        task.await.ok();
    }
    ended
}

async fn within(
    env: Env,
    future: BoxFuture<'static, Outcome>,
    limit: Duration,
    lost: CancellationToken,
    out_of_promise: CancellationToken,
) -> Ended {
    let guarded = AssertUnwindSafe(future).catch_unwind();
    // Biased: an abort wins over a result that can't be committed; a result wins over its timeout.
    tokio::select! { biased;
        () = lost.cancelled() => Ended::Aborted,
        () = out_of_promise.cancelled() => Ended::Aborted,
        result = guarded => match result {
            Ok(outcome) => Ended::Returned(outcome),
            Err(panic) => Ended::Panicked(message(panic)),
        },
        () = env.sleep(limit) => Ended::TimedOut(limit),
    }
}

/// A call that is polled where its lane is.
pub(crate) fn inline(future: BoxFuture<'static, Outcome>) -> Started {
    Started { future, task: None }
}

/// Moves a call to a task of its own; dropping what is returned drops the task's work at its next await.
pub(crate) fn spawned(env: &Env, future: BoxFuture<'static, Outcome>, items: usize) -> Started {
    let (here, gone) = oneshot::channel();
    let (answer, answered) = oneshot::channel();
    let dropped = CancellationToken::new();
    let guard = dropped.clone().drop_guard();
    env.spawn("handler", async move {
        {
            let work = AssertUnwindSafe(future).catch_unwind();
            tokio::select! { biased;
                () = dropped.cancelled() => {}
                result = work => drop(answer.send(result)),
            }
        }
        // The work is dropped by now, if it did not end.
        drop(here);
    });
    let future = Box::pin(async move {
        let result = answered.await;
        drop(guard);
        match result {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => Outcome::failed(items, &Failure::new("the handler's task was dropped")),
        }
    });
    Started { future, task: Some(gone) }
}

/// A poll that takes longer holds up its whole shard.
pub(crate) const POLL_MAX: Duration = Duration::from_millis(100);

pub(crate) fn log_long_poll(kind: &str, took: Duration) {
    tracing::warn!(kind, ?took, "a handler kept its thread without awaiting; route it with .spawned()");
}

fn message(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.as_deref().unwrap_or("no message"))
}
