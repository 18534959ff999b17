//! The store's edge: a unit of work, not a bag of tables.
//!
//! A store knows sessions, claims, the ledger, attempts and parked events. Rules named here (A1, C2, …)
//! are those of the store protocol; a store keeps them, the runtime relies on them, the conformance
//! suite notices their breach.

mod admit;
mod claim;
mod commit;
mod course;
mod effect;
mod judge;
mod lease;
mod parked;
mod session;

use std::time::Duration;

use async_trait::async_trait;

pub use admit::{Admission, AdmitBatch, AdmitEvent, Admitted};
pub use claim::{
    AttemptRow, Claim, ClaimAnswer, ClaimRef, ClaimRequest, Position, ReadFrom, Reposition, Scope, Witness,
};
pub use commit::{ClaimCommit, CommitEvent, CommitGroup, Committed, Fate, HoldCommit, Unit, Verdict};
pub use course::Course;
pub use effect::{Effect, EffectFn, OwnConnection, OwnTransactions, Statements, Tx, TxHome};
pub use judge::{Facts, Judge};
pub use lease::{Hold, LeaseAnswer, LeaseCommit, LeaseKey, LeaseRef};
pub use parked::{DeadQuery, Death, Parked, ParkedId, Reason, ReleaseAnswer};
pub use session::{NewSession, Renewed, SessionId};

use crate::broker::Partition;
use crate::env::Env;
use crate::error::Error;

/// A unit of work over one database.
///
/// Sessions (S1, S4):
/// - `session_id_is_never_reused`: `register` under a used id fails, also after that session's end.
/// - `renew_never_revives`: renewing a session that was taken over, closed or expired-and-deleted is
///   `SessionLost`; it is a plain update, never an insert.
/// - `expiry_is_the_databases_clock`: a session is dead when the database's clock passed its expiry.
/// - `takeover_defeats_commits_in_flight`: after a session was taken over, nothing of it commits.
///
/// Claims (S2, S5, L2):
/// - `claim_is_exclusive`: a partition claimed by a live session is not granted to another.
/// - `epoch_only_grows`: each grant's epoch is greater than all before it for that partition.
/// - `claim_marks_wanted`: asking for a live owner's claim marks it wanted; renewals and commits of the
///   owner report it.
/// - `claim_of_dead_session_is_granted`: with the dead session's row deleted first.
/// - `claim_after_handover_limit_is_granted`: wanted for longer than the limit, also of a live owner.
/// - `release_keeps_position`: a release frees the claim and keeps its position; it says whether the end was clean.
/// - `claim_of_ones_own_is_unclean`: a session that claims what it holds gets it under a new epoch, as unclean:
///   it may have begun what it did not release (T1).
/// - `unclean_lasts_until_a_clean_end`: an unclean release, and an owner that never released, are told to
///   the next owner; a clean release after that is told as clean, also of a session that is past its expiry
///   and was taken over by nobody. A closed session speaks for no claim that it did not release.
/// - `claim_brings_position_and_attempts`: a grant carries position, sparse set, witness, identity,
///   attempts and pending releases, read after the epoch was raised (A2).
///
/// Repositioning (L2, an operator's act that opens a new generation):
/// - `reposition_forgets_the_position`: position, sparse set, witness, identity and attempts are gone; grants
///   say where to read from until a position is written.
/// - `reposition_excludes_what_is_in_flight`: it raises the epoch, so that what its owner has begun is
///   `Excluded`; other partitions go on.
/// - `reposition_reaches_the_owner`: the owner keeps the claim and is told of it by renewals until it claims
///   again or releases, which it may do by the claim it knows.
/// - `reposition_keeps_ledger_and_parked_rows`: finished ids stay known, parked rows stay and can be
///   released; an event parked in another generation at the same place is another row.
///
/// Leases (A1, A4, C1, S6, S7, S9), for subscriptions without partitions:
/// - `lease_is_exclusive`: a key leased by a live session is not granted to another; other keys are.
/// - `token_only_grows`: each grant's token is greater than all before it, of whatever key and session.
/// - `lease_of_ones_own_gets_a_new_token`: a session that asks for what it holds gets it under a new token, as
///   unclean; what was begun under the old one is `Excluded`, and giving the old one back changes nothing.
/// - `lease_of_dead_session_is_free`: it is granted as unclean, with the dead session's row deleted first; so is
///   the lease of a session that was closed without giving it back.
/// - `admit_reads_behind_the_lease`: what is said of an event was read after its lease was won: who waited for a
///   lease while its owner finished the event is told so with the grant (A1).
/// - `waiting_changes_nothing`: of an event whose lease is taken, what is over is told, and nothing is written but
///   that this session waits.
/// - `commit_leaves_out_lost_leases`: events of a lost lease are `Excluded`; the others commit.
/// - `commit_gives_leases_back`: in its own transaction, with or without events; not where an event of the key did not
///   end, nor a lease of another token. The answer names those that it gave back.
/// - `freed_wakes_who_waits`: a lease given back is told to who waits for it, again and again until it asks; so is one
///   whose owner died, or was closed.
/// - `freed_lease_is_kept_for_who_waited`: until it asks, at most for a third of its session's lifetime: the
///   owner before, who asks first, does not get it. Who waited longest comes first (S9), and who does not come stands
///   behind the others the next time.
/// - `waiting_ends_with_the_session`: a session that is gone waits for nothing: nothing is kept for it, and nobody is
///   told that it waits.
/// - `contended_leases_are_told`: renewals and commits of the owner report leases that others wait for.
/// - `leases_are_listed`: what a session holds, for the comparison with its lanes (S7).
/// - `tries_come_with_admission`: of a leased event, by its id, and go with its end, be it as a duplicate.
/// - `marks_of_a_lease_pass_on`: a lease of a dead session is granted with all marks to be made (T1), and one that was
///   given back with marks left with those, never with more than came with its grant: whether somebody waits for it,
///   did and is gone, or nobody does. With none left it is clean.
/// - `released_letters_reach_who_asks`: of subscriptions without partitions, to every session that asks for them in its
///   renewal, until it is done (P3).
///
/// Admit (A1, P1, L4):
/// - `admit_finds_finished`, `admit_finds_conflict`, `admit_finds_parked`: in the order of the batch.
///
/// Commit (C1 to C7, S3, U1):
/// - `commit_is_atomic`: ledger, position, attempts, parking and effects of an event all, or none.
/// - `commit_once`: a second commit of an id is `Duplicate` (or `Conflict`), and its effect leaves no trace.
/// - `commit_checks_session`: without a live row, `SessionLost` and nothing written.
/// - `commit_leaves_out_lost_claims`: events of a lost claim are `Excluded`; the others commit.
/// - `failed_effect_fails_alone`: it takes its event's rows with it, its key's later events are `Behind`,
///   other keys commit.
/// - `failed_commit_finds_the_culprit`: where the commit itself fails, the group is halved until the culprit is alone.
/// - `endless_effect_fails_alone`: an effect that never ends is dropped at a third of the session's lifetime at
///   the latest (S3) and fails its event; the others commit.
/// - `effects_share_the_limit`: that is the limit of a transaction, not of each effect: a group that takes
///   longer is committed in parts, and only an event that had all of the time fails.
/// - `position_holds_what_survived`: the stored base and sparse set cover committed events only; the answer names
///   the claims that have been written one.
/// - `resolve_waits_out_the_lost_commit`: `resolve` locks the session first, then reads.
/// - `notes_ask_no_ledger`: a try and a mark are `Committed` also where someone else finished the event: its end
///   finds that out, and marks the offset.
/// - `attempts_are_kept`: recorded attempts come back with the next claim, and go with the finish.
///
/// Own transactions, where the adapter has [`OwnTransactions`]:
/// - `own_transaction_commits_with_its_event`: what was written in it, ledger row and position, all or none; it
///   comes alone in its group.
/// - `own_transaction_is_fenced`: a unit whose claim, lease or session is gone, or whose event is a duplicate,
///   leaves nothing of it.
/// - `own_transaction_that_is_gone_is_behind`: dropped, it leaves nothing; a unit that comes without it, because it
///   was taken before, is `Behind`, and its event runs again.
///
/// Operators (P2, P3):
/// - `dead_letters_are_listed`: with all facts, in pages.
/// - `release_reaches_the_owner`: a requested release is reported to the claim's owner until it is done.
/// - `releases_are_all_told`: also what was asked for behind many others that can't run for now.
/// - `unpark_is_arbitrated_by_the_row`: of two commits that take the same parked row, one is `Duplicate`.
///
/// Retention:
/// - `sweep_forgets_only_the_old`: ledger rows older than the keep time go, by dropping; younger ones stay.
/// - `sweep_forgets_what_nobody_came_back_to`: for longer than the keep time: leases of sessions that are gone, tries of
///   leased events. Younger ones stay, and so does what a session holds.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The adapter's kind, such as `sqlite`, for messages.
    fn kind(&self) -> &'static str;

    /// Whether other processes can work on the same store.
    fn shared(&self) -> bool;

    /// How long the effects of one transaction may take, where it is configured. Whatever this is, they end
    /// within a third of their session's lifetime (rule S3); a runtime refuses a longer one at its start.
    fn effect_limit(&self) -> Option<Duration>;

    /// How many groups may be committed at the same time. The runtime gives no two of them a claim or a lease in common.
    /// One, where an adapter says nothing: a store that writes one after the other gains nothing by more.
    fn commits_at_once(&self) -> usize {
        1
    }

    /// The longest key, in bytes, of which it can keep a lease; `None`: it takes what the configuration allows.
    fn lease_key_max(&self) -> Option<usize>;

    /// Inserts the worker's session row.
    async fn register(&self, session: NewSession) -> Result<(), Error>;

    /// Puts off the session's expiry by its lifetime and reports what others want of it. `leased`: the
    /// subscriptions without partitions that it serves, whose released letters it is told of.
    ///
    /// # Errors
    /// `SessionLost` when the row is gone; a transient `Store` error when the store can't be asked.
    async fn renew(&self, session: SessionId, leased: &[Scope]) -> Result<Renewed, Error>;

    /// Deletes the session and frees all that it holds. What was not released before counts as ended
    /// uncleanly (rule T1).
    async fn close_session(&self, session: SessionId) -> Result<(), Error>;

    /// Asks for a partition.
    async fn claim(&self, request: ClaimRequest) -> Result<ClaimAnswer, Error>;

    /// Gives claims back; those no longer held are passed over. `clean`: nothing of them was in flight.
    async fn release(&self, session: SessionId, claims: &[ClaimRef], clean: bool) -> Result<(), Error>;

    /// Takes leases, then reads what is known of a batch of events (rule A1); one answer each, in order.
    async fn admit(&self, batch: AdmitBatch) -> Result<Admitted, Error>;

    /// Waits until leases that this session waits for may be had, and says which; with none after a second or so, or
    /// before. Who waits asks again, with a pause after an answer without leases: what only time frees (an owner
    /// died, who was kept a lease for did not come) is noticed by the next call. Cancel-safe: what one call did not
    /// tell, the next one does, until the session asks for the lease. What is told may be taken again by then.
    async fn freed(&self, session: SessionId) -> Result<Vec<LeaseKey>, Error>;

    /// The leases that the session holds.
    async fn leases(&self, session: SessionId) -> Result<Vec<LeaseRef>, Error>;

    /// Opens a transaction for a handler, on a connection apart from those of commits, within the limits of rule S3.
    ///
    /// # Errors
    /// `Unsupported` where the adapter has no [`OwnTransactions`].
    async fn begin(&self, session: SessionId) -> Result<OwnConnection, Error>;

    /// Writes a group in one transaction; one result per event, in order.
    ///
    /// # Errors
    /// `SessionLost`: nothing was written, nor will be. `Unknown`: ask `resolve`. A transient `Store`
    /// error: nothing was written; the same group may be committed again.
    async fn commit(&self, group: &CommitGroup) -> Result<Committed, Error>;

    /// After an unknown answer: `Committed` for each event of the group whose result is durable,
    /// `Behind` for each other (rule U1).
    async fn resolve(&self, group: &CommitGroup) -> Result<Vec<Fate>, Error>;

    /// Dead letters of a subscription, oldest first.
    async fn dead_letters(&self, query: DeadQuery) -> Result<Vec<Parked>, Error>;

    /// Asks the owner of the parked event's key to run it (rule P3).
    async fn request_release(&self, id: ParkedId) -> Result<ReleaseAnswer, Error>;

    /// Makes partitions be read from elsewhere by their next grant; those it found, in order.
    async fn reposition(&self, order: Reposition) -> Result<Vec<Partition>, Error>;

    /// Drops ledger rows of a subscription older than `keep`; returns how many containers (partitions,
    /// generations) were dropped. What sessions left behind that are gone for that long goes as well.
    async fn sweep(&self, subscription: &str, keep: Duration) -> Result<u64, Error>;
}

/// What names a store in code: `.store(Sqlite)`, `Effects<Sqlite>`, `Tx<Sqlite>`.
pub trait StoreAdapter: Send + Sync + 'static {
    /// The key of its table in `[store.KIND]`.
    const KIND: &'static str;
    /// Its configuration.
    type Config: crate::config::Component;
    /// What a [`Tx`] derefs to, such as a connection of the database's driver.
    type Connection: Send + 'static;

    /// Connects, migrates, and is ready to work.
    fn open(
        &self,
        config: Self::Config,
        env: &Env,
    ) -> impl Future<Output = Result<std::sync::Arc<dyn Store>, Error>> + Send;

    /// The same, where keys are spread over several databases (rule S10): one store each, always in the same order. A
    /// database that is not what its place in the order says is an error. One that is away while another is there is none,
    /// if it is known to be of the list: its store answers once it is back. Adapters that know of one leave this out.
    fn open_all(
        &self,
        config: Self::Config,
        env: &Env,
    ) -> impl Future<Output = Result<Vec<std::sync::Arc<dyn Store>>, Error>> + Send {
        async move { Ok(vec![self.open(config, env).await?]) }
    }
}
