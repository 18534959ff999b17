//! What the contract's checks can't show on handles alone.

mod answers;
mod connections;
mod ledger;
mod locks;
mod reference;
mod spread;
mod statements;
mod writes;
