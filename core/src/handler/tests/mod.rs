//! The forms of handlers through the erased boundary, as the runtime calls them.

mod batches;
mod calls;
mod cost;
mod effects;
mod forms;
mod routing;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use tokio_util::sync::CancellationToken;

use super::*;
use crate::delivery::Place;
use crate::env::{BoxFuture, Env, Environment, Instant, Timestamp};
use crate::error::{Error, ErrorKind};
use crate::event::{Envelope, EventId, Headers, Meta};
use crate::store::{Statements, Store, StoreAdapter};
use crate::text::Text;

/// The payload of most tests.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
struct Paid {
    cents: u64,
}

/// A call in subscription `billing`, first attempt, for each payload an event with the id `e0`, `e1`, …
fn call(kind: &str, payloads: &[&str]) -> Call {
    let mut items: Vec<_> = payloads.iter().enumerate().map(|(at, text)| item(kind, at, text)).collect();
    let events = if items.len() == 1 { Items::One(items.remove(0)) } else { Items::Many(items) };
    Call { events, scene: scene(CancellationToken::new()) }
}

fn scene(cancelled: CancellationToken) -> Arc<Scene> {
    Arc::new(Scene {
        env: Env::new(Still),
        subscription: "billing".into(),
        cancelled,
        begin: Begin::never("a test has none"),
    })
}

fn item(kind: &str, at: usize, payload: &str) -> CallItem {
    let meta = Meta {
        id: EventId::given(format!("e{at}")),
        kind: kind.into(),
        key: None,
        sequence: None,
        time: None,
        headers: Headers::new(),
        place: Place { partition: 0, epoch: 7, offset: at as u64 },
        subscription: "billing".into(),
    };
    let payload = bytes::Bytes::copy_from_slice(payload.as_bytes());
    // A buffer's first clone makes it a shared one, which adapters hand over already.
    drop(payload.clone());
    let envelope = Envelope { meta, payload, raw: None };
    CallItem { envelope: Arc::new(envelope), attempt: 1, token: 7 }
}

/// The outcome of a call by the route of its first event's kind.
fn run(routes: Routes, call: Call) -> Outcome {
    let table = routes.build();
    assert_eq!(table.mistakes(), [""; 0], "the routes are well formed");
    let kind = call.first().envelope.meta.kind.clone();
    let route = table.lookup(&kind).expect("the kind has a route");
    ready(route.handler.call(call)).expect("the handler waits for nothing")
}

/// What a future that waits for nothing gives; `None` when it waits.
fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut TaskContext::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// The failures of an outcome as text, by item.
fn failures(outcome: &Outcome) -> Vec<(usize, String)> {
    outcome.failures.iter().map(|(at, failure)| (*at, failure.to_string())).collect()
}

/// A store whose connection is the list of what was written to it.
struct Notes;
/// Another store.
struct Elsewhere;

#[derive(Default, serde::Deserialize, schemars::JsonSchema)]
struct NoSettings {}
impl crate::config::Component for NoSettings {}

impl StoreAdapter for Notes {
    const KIND: &'static str = "notes";
    type Config = NoSettings;
    type Connection = Vec<String>;
    async fn open(&self, _: NoSettings, _: &Env) -> Result<Arc<dyn Store>, Error> {
        Err(Error::new(ErrorKind::Unsupported, "a store for effects only"))
    }
}

impl Statements for Notes {
    type Statement = &'static str;
}

impl StoreAdapter for Elsewhere {
    const KIND: &'static str = "elsewhere";
    type Config = NoSettings;
    type Connection = Infallible;
    async fn open(&self, _: NoSettings, _: &Env) -> Result<Arc<dyn Store>, Error> {
        Err(Error::new(ErrorKind::Unsupported, "a store for effects only"))
    }
}

/// An environment in which nothing moves: handlers are called by hand.
struct Still;

impl Environment for Still {
    fn now(&self) -> Instant {
        Instant::default()
    }
    fn wall(&self) -> Timestamp {
        Timestamp::from_micros(0)
    }
    fn sleep_until(&self, _: Instant) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
    fn spawn(&self, _: &'static str, _: BoxFuture<'static, ()>) {}
    fn spawn_dedicated(&self, _: &'static str, _: BoxFuture<'static, ()>) {}
    fn random(&self) -> u64 {
        0
    }
    fn stop_signal(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
    fn abandon(&self) {}
}
