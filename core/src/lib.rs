//! Keylane: a subscriber runtime. One ordering key, one lane: serial inside a lane, parallel across
//! lanes, on any broker, through any failure.
//!
//! # The journey of one event
//!
//! A [`broker::Consumer`] hands over a [`delivery::Delivery`]; its [`event::Record`] is decoded to an
//! [`event::Envelope`] within limits; the [`store::Store`] is asked once for a whole batch what it
//! knows of it; the event enters the lane of its key ([`lanes`]), runs through the chain to its
//! [`handler`], and what came of it commits in a group with what else was ready
//! ([`store::CommitGroup`]); only then the broker is told.
#![warn(missing_docs)]

#[macro_use]
mod broken;

pub mod broker;
pub mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod delivery;
pub mod env;
pub mod error;
pub mod event;
pub mod handler;
pub mod lanes;
pub mod memory;
pub mod middleware;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod runtime;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod text;
pub mod watermark;

pub use env::Env;
pub use error::{Class, Error, ErrorKind};
pub use handler::{
    Batch, BatchContext, Call, Codec, Context, Effects, Event, Failure, FromRef, Handler, Json, Next,
    Outcome, Raw, RawEvent, ResultExt, Routes, State, route,
};
pub use runtime::{Admin, Handle, Runtime};
pub use store::Tx;
pub use text::Text;
