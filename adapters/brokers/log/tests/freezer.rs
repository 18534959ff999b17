//! A process that can be stopped.

use keylane::Env;
use keylane::env::{BoxFuture, Environment, Instant, Timestamp};
use tokio::sync::watch;

/// An environment whose clocks go on while its timers don't: a process under SIGSTOP.
#[derive(Clone)]
pub(crate) struct Freezer {
    inner: Env,
    frozen: watch::Sender<bool>,
}

impl Freezer {
    pub(crate) fn new() -> Self {
        Self { inner: Env::tokio(), frozen: watch::Sender::new(false) }
    }

    pub(crate) fn env(&self) -> Env {
        Env::new(self.clone())
    }

    pub(crate) fn freeze(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }
}

impl Environment for Freezer {
    fn now(&self) -> Instant {
        self.inner.now()
    }
    fn wall(&self) -> Timestamp {
        self.inner.wall()
    }
    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let (sleep, mut frozen) = (self.inner.sleep_until(deadline), self.frozen.subscribe());
        Box::pin(async move {
            sleep.await;
            frozen.wait_for(|frozen| !frozen).await.unwrap();
        })
    }
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        self.inner.spawn(name, task);
    }
    fn spawn_dedicated(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        self.inner.spawn_dedicated(name, task);
    }
    fn random(&self) -> u64 {
        self.inner.random()
    }
    fn stop_signal(&self) -> BoxFuture<'static, ()> {
        self.inner.stop_signal()
    }
    fn abandon(&self) {
        self.inner.abandon();
    }
}
