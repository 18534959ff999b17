//! The adapter against a real RabbitMQ, named by `KEYLANE_TEST_RABBITMQ`, with links cut by the Toxiproxy at
//! `KEYLANE_TEST_TOXIPROXY`.
#![expect(clippy::unwrap_used, reason = "these are tests throughout, their helpers too")]

mod conformance;
mod links;
mod proxy;
mod publishing;
mod reader;
mod reference;
mod secure;
mod server;
mod settling;
mod story;
mod topologies;
