//! Handlers: what a service writes, and how the runtime sees it.
//!
//! # A handler
//!
//! is an `async fn` that takes what it needs by type. The event comes decoded; `Ok` means done, and
//! anything else is a [`Failure`]:
//!
//! ```
//! use keylane::{Event, Failure, Routes};
//!
//! #[derive(serde::Deserialize)]
//! struct OrderPaid {
//!     order: String,
//!     total: u64,
//! }
//!
//! async fn paid(event: Event<OrderPaid>) -> Result<(), Failure> {
//!     println!("{} paid {}", event.order, event.total);
//!     Ok(())
//! }
//!
//! let routes: Routes = Routes::new().on("order.paid", paid);
//! ```
//!
//! Up to four arguments, in any order:
//!
//! | argument | is |
//! |---|---|
//! | [`Event<T>`](Event), [`RawEvent`] | the event: derefs to its payload; the rest under [`meta()`](Event::meta) |
//! | [`State<T>`](State) | the service's own, given by [`Routes::with_state`] |
//! | [`Effects<S>`](Effects) | writes in the store `S` that commit exactly once, together with the event |
//! | [`Context`] | attempt, idempotency key, fencing token, and whether to come to an end |
//! | your own | what implements [`FromCall`] |
//!
//! Closures (`async |event: Event<OrderPaid>| ..`) are handlers too, and so are structs that implement
//! [`Handler`]. What a closure captured outlives each call only as a clone:
//!
//! ```
//! # use std::sync::Arc;
//! # use keylane::{RawEvent, Routes};
//! let sender = Arc::new(String::from("us"));
//! let routes: Routes = Routes::new().on("order.paid", move |event: RawEvent| {
//!     let sender = sender.clone();
//!     async move { println!("{} bytes from {sender}", event.len()) }
//! });
//! ```
//!
//! # What a handler returns
//!
//! `?` turns any error into a transient failure, which is tried again. [`Failure`] says more where more
//! is known: `.permanent()`, `.unavailable()`, `.retry_after(..)`; on results by [`ResultExt`].
//!
//! A handler may run more than once for an event: after a failure, and after a crash. What it writes by
//! [`Effects::commit_with`] is applied once all the same; to other systems it gives
//! [`Context::idempotency_key`].
//!
//! # Many events at once
//!
//! A handler routed by [`Routes::on_batch`] takes a [`Batch<T>`](Batch) in place of the event, and
//! [`BatchContext`] in place of the context. One transaction commits the whole batch.
//!
//! # Around handlers
//!
//! [`route`] sets the options of one route, [`Routes::wrap`] puts middleware around all of them.
//!
//! # What the runtime sees
//!
//! [`Routes::build`] gives the [`RouteTable`]: by kind, a [`Route`] with an [`AnyHandler`], which makes
//! an [`Outcome`] of a [`Call`]. There every form of handler ends; a call costs one box.
//!
//! - Arguments are made when `AnyHandler::call` is called, not when its future is first polled. So a
//!   panic can come out of the call itself; the runtime's panic boundary encloses both.
//! - Recorded effects are in the outcome only when the handler returned `Ok` and no item was failed.

mod batch;
mod call;
mod codec;
mod context;
mod effects;
mod erased;
mod event;
mod failure;
mod form;
mod from_call;
mod parts;
mod recorder;
mod route;
mod routes;
mod state;
mod table;
mod wrap;

pub use batch::{Batch, Item, ItemHandle, Iter};
pub use call::{AnyHandler, Begin, Call, CallItem, Items, Outcome, Scene};
pub use codec::{Codec, Json, Raw};
pub use context::{BatchContext, Context};
pub use effects::Effects;
pub use erased::IntoRoute;
pub use event::{Event, RawEvent};
pub use failure::{Failure, FailureClass, ResultExt};
pub use form::{Handler, HandlerForm, HandlerFuture, HandlerOutput};
pub use from_call::{Arguments, FromCall, StoreNeed};
pub use parts::{BatchParts, CallParts};
pub use route::{Options, RouteWith, route};
pub use routes::{BATCH_MAX, IntoRouteTable, Routes};
pub use state::{FromRef, State};
pub use table::{Route, RouteTable};
pub use wrap::Next;

#[cfg(all(test, feature = "json"))]
mod tests;
