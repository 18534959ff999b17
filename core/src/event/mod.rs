//! What an event is, from the broker's record to what a handler sees.
//!
//! [`Record`]: the bytes as a broker hands them over. [`Envelope`]: the same with id, kind, key and
//! sequence found by the subscription's rules. [`Event`](crate::handler::Event): the envelope with its
//! payload decoded, as a handler takes it.

mod decode;
mod envelope;
mod id;
mod record;

pub use decode::{Decoded, Decoder, Rules};
pub use envelope::{Envelope, Meta};
pub use id::{EventId, PayloadHash};
pub use record::{Headers, Record};
