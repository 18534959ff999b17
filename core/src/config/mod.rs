//! Configuration.

/// A component's keys (stand-in until the configuration lands).
pub trait Component: serde::de::DeserializeOwned + schemars::JsonSchema + Default + Send + 'static {}

/// A component's part of the file (stand-in until the configuration lands).
#[derive(Debug, Clone, Default)]
pub struct Section;
