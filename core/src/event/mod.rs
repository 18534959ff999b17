//! What an event is, from the broker's record to what a handler sees.
//!
//! [`Record`]: the bytes as a broker hands them over. [`Decoder`]: finds id, kind, key and sequence by
//! the subscription's [`Rules`], within its [`Limits`]. [`Envelope`]: the record with all of that.
//! [`Event`](crate::handler::Event): the envelope with its payload decoded, as a handler takes it.

mod cloudevents;
mod codec;
mod decoder;
mod envelope;
mod flaw;
#[doc(hidden)]
pub mod fuzz;
mod id;
mod limits;
mod pointer;
mod record;
mod rules;
#[cfg(test)]
mod tests;

pub use codec::Corrupt;
pub(crate) use decoder::SpreadKey;
pub use decoder::{Decoded, Decoder};
pub use envelope::{Envelope, Meta, Raw};
pub use id::{EventId, PayloadHash};
pub use limits::{Limits, TooDeep, json_depth};
pub use pointer::Pointer;
pub use record::{Headers, Record};
pub use rules::{Field, IdRule, KeyRule, KindRule, Rules};
