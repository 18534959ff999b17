//! Keylane: a subscriber runtime. One ordering key, one lane.
#![warn(missing_docs)]

pub mod config;
pub mod env;
pub mod error;
pub mod lanes;
pub mod text;
pub mod watermark;

pub use env::Env;
pub use error::{Class, Error, ErrorKind};
pub use text::Text;
