//! What is decided for all homes, without a worker or a broker.

mod pump;
mod readers;
