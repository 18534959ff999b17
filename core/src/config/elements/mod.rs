//! The core's own components, one element a file.

mod budget;
mod event;
mod ledger;
mod limits;
mod locator;
mod retry;
mod runtime;
mod start;
mod subscription;

pub use budget::BudgetConfig;
pub use event::{EventConfig, Format};
pub use ledger::{LedgerConfig, LedgerMode};
pub use limits::LimitsConfig;
pub use locator::Locator;
pub use retry::{OnExhausted, RetryConfig};
pub use runtime::RuntimeConfig;
pub use start::Start;
pub use subscription::{Lock, SubscriptionConfig, UnknownKind};
