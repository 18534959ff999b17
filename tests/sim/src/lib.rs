//! The deterministic simulation: the real runtime and chain in a simulated world, on one thread, in virtual time,
//! under a seed that decides everything.
//!
//! - [`world`] is the environment: which task goes on, how late a timer is, what "random" means.
//! - [`server`] is the simulated broker without partitions; the one with them, and the store, are the core's own in
//!   memory, behind [`faults`].
//! - [`Mix`] is what a seed draws, and [`Focus`] what it is turned towards; `story` tells it, `handlers` is the service, `history` looks on, and `account`
//!   is held against its end.
//! - [`mutants`] are rules broken on purpose: each has to be caught.

mod account;
pub mod event;
pub mod faults;
mod focus;
mod handlers;
mod history;
mod mix;
pub mod mutants;
mod profile;
mod run;
pub mod server;
mod story;
mod sweep;
pub mod world;

pub use focus::Focus;
pub use mix::{Ledger, Mix};
pub use profile::Profile;
pub use run::{Options, Told, run};
pub use sweep::{Swept, sweep};
