//! The contract of [`Store`] as checks, one per bullet.
//!
//! A harness stands for one empty database. [`store_conformance!`](crate::store_conformance) makes a
//! `#[tokio::test]` of every check.

mod admit;
mod claims;
mod commit;
mod commit_failures;
mod commit_time;
mod events;
mod leases;
mod leases_kept;
mod leases_waiting;
mod operators;
mod own;
mod reposition;
mod resolve;
mod sessions;
mod stage;
mod stage_leases;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use admit::{admit_finds_conflict, admit_finds_finished, admit_finds_parked};
pub use claims::{
    claim_after_handover_limit_is_granted, claim_brings_position_and_attempts, claim_is_exclusive,
    claim_marks_wanted, claim_of_dead_session_is_granted, claim_of_ones_own_is_unclean, epoch_only_grows,
    release_keeps_position, unclean_lasts_until_a_clean_end,
};
pub use commit::{
    attempts_are_kept, commit_checks_session, commit_is_atomic, commit_leaves_out_lost_claims, commit_once,
    notes_ask_no_ledger, position_holds_what_survived,
};
pub use commit_failures::{failed_commit_finds_the_culprit, failed_effect_fails_alone};
pub use commit_time::{effects_share_the_limit, endless_effect_fails_alone};
pub use leases::{
    admit_reads_behind_the_lease, commit_gives_leases_back, commit_leaves_out_lost_leases,
    lease_is_exclusive, lease_of_dead_session_is_free, lease_of_ones_own_gets_a_new_token, leases_are_listed,
    token_only_grows,
};
pub use leases_kept::{
    marks_of_a_lease_pass_on, released_letters_reach_who_asks, sweep_forgets_what_nobody_came_back_to,
    tries_come_with_admission,
};
pub use leases_waiting::{
    contended_leases_are_told, freed_lease_is_kept_for_who_waited, freed_wakes_who_waits,
    waiting_changes_nothing, waiting_ends_with_the_session,
};
pub use operators::{
    dead_letters_are_listed, release_reaches_the_owner, releases_are_all_told, sweep_forgets_only_the_old,
    unpark_is_arbitrated_by_the_row,
};
pub use own::{
    own_transaction_commits_with_its_event, own_transaction_is_fenced, own_transaction_that_is_gone_is_behind,
};
pub use reposition::{
    reposition_excludes_what_is_in_flight, reposition_forgets_the_position,
    reposition_keeps_ledger_and_parked_rows, reposition_reaches_the_owner,
};
pub use resolve::resolve_waits_out_the_lost_commit;
pub use sessions::{
    expiry_is_the_databases_clock, renew_never_revives, session_id_is_never_reused,
    takeover_defeats_commits_in_flight,
};

use super::Cannot;
use crate::env::Env;
use crate::handler::Failure;
use crate::store::{Store, StoreAdapter, Tx};

/// One empty database of the store under test, made anew for each check.
#[async_trait]
pub trait Harness: Send + Sync + 'static {
    /// What names the store in code; effects are written for it.
    type Adapter: StoreAdapter;

    /// The time that the checks spend: real for a real database, virtual where the database's clock is.
    fn env(&self) -> Env;

    /// Opens the database. Each call is the handle of one more worker, as another process would have it.
    async fn open(&self) -> Arc<dyn Store>;

    /// A handler's write: one more row (`name`, `text`) in a test table without a unique key.
    async fn insert(tx: &mut Tx<Self::Adapter>, name: &str, text: &str) -> Result<(), Failure>;

    /// A handler's write that succeeds and is refused when the transaction commits, as by a deferred
    /// constraint.
    async fn refuse_at_commit(tx: &mut Tx<Self::Adapter>) -> Result<(), Failure>;

    /// The texts of the test table's rows of that name, in the order of their insertion, as anyone
    /// outside a transaction sees them.
    async fn rows(&self, name: &str) -> Vec<String>;

    /// How long a session lasts that is meant to expire: short, yet never passed by a renewal that is
    /// due after a tenth of it.
    fn lifetime(&self) -> Duration {
        Duration::from_secs(2)
    }

    /// What this store can't show, by the name of the check, and why.
    fn cannot(&self) -> &[Cannot] {
        &[]
    }
}

/// Makes a test of every check of [`conformance::store`](crate::conformance::store).
///
/// The argument is an expression for a [`Harness`]; it is evaluated in each test and may await.
#[macro_export]
macro_rules! store_conformance {
    ($harness:expr) => {
        $crate::store_conformance! { @each $harness;
            session_id_is_never_reused
            renew_never_revives
            expiry_is_the_databases_clock
            takeover_defeats_commits_in_flight
            claim_is_exclusive
            epoch_only_grows
            claim_marks_wanted
            claim_of_dead_session_is_granted
            claim_after_handover_limit_is_granted
            release_keeps_position
            claim_of_ones_own_is_unclean
            unclean_lasts_until_a_clean_end
            claim_brings_position_and_attempts
            reposition_forgets_the_position
            reposition_excludes_what_is_in_flight
            reposition_reaches_the_owner
            reposition_keeps_ledger_and_parked_rows
            lease_is_exclusive
            token_only_grows
            lease_of_ones_own_gets_a_new_token
            lease_of_dead_session_is_free
            admit_reads_behind_the_lease
            waiting_changes_nothing
            commit_leaves_out_lost_leases
            commit_gives_leases_back
            freed_wakes_who_waits
            freed_lease_is_kept_for_who_waited
            waiting_ends_with_the_session
            contended_leases_are_told
            leases_are_listed
            tries_come_with_admission
            marks_of_a_lease_pass_on
            released_letters_reach_who_asks
            admit_finds_finished
            admit_finds_conflict
            admit_finds_parked
            commit_is_atomic
            commit_once
            commit_checks_session
            commit_leaves_out_lost_claims
            failed_effect_fails_alone
            failed_commit_finds_the_culprit
            endless_effect_fails_alone
            effects_share_the_limit
            position_holds_what_survived
            resolve_waits_out_the_lost_commit
            notes_ask_no_ledger
            attempts_are_kept
            own_transaction_commits_with_its_event
            own_transaction_is_fenced
            own_transaction_that_is_gone_is_behind
            dead_letters_are_listed
            release_reaches_the_owner
            releases_are_all_told
            unpark_is_arbitrated_by_the_row
            sweep_forgets_only_the_old
            sweep_forgets_what_nobody_came_back_to
        }
    };
    (@each $harness:expr; $($check:ident)*) => {$(
        #[tokio::test]
        async fn $check() {
            let harness = $harness;
            let cannot = $crate::conformance::store::Harness::cannot(&harness);
            if $crate::conformance::is_shown(stringify!($check), cannot) {
                $crate::conformance::store::$check(&harness).await;
            }
        }
    )*};
}
