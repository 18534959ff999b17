//! The adapter against a real Apache Kafka, named by `KEYLANE_TEST_KAFKA`, and against librdkafka's mock
//! cluster where a broker has to go away or to misbehave.
#![expect(clippy::unwrap_used, reason = "these are tests throughout, their helpers too")]

mod away;
mod cluster;
mod conformance;
mod groups;
mod member;
mod mock;
mod publishing;
mod reading;
#[cfg(feature = "ssl")]
mod secure;
