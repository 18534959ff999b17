//! Every mutant: its rule, what it breaks, and what catches it.

use crate::focus::Focus;
use crate::profile::Profile;

/// A rule broken on purpose.
#[derive(Debug, Clone, Copy)]
pub struct Mutant {
    /// Its name, beginning with the rule's where it has one.
    pub name: &'static str,
    /// What is done wrong.
    pub breaks: &'static str,
    /// On which kind of broker it shows soonest.
    pub profile: Option<Profile>,
    /// What its seeds are turned towards.
    pub focus: Focus,
    /// It is caught within so many seeds; or why nothing can be seen of it.
    pub fate: Fate,
}

/// What becomes of a mutant.
#[derive(Debug, Clone, Copy)]
pub enum Fate {
    /// Caught within so many seeds.
    Caught(u64),
    /// Not to be seen, because something else keeps the promise as well.
    Redundant(&'static str),
}

const fn caught(name: &'static str, profile: Option<Profile>, within: u64, breaks: &'static str) -> Mutant {
    Mutant { name, breaks, profile, focus: Focus::Wide, fate: Fate::Caught(within) }
}

const fn redundant(
    name: &'static str,
    profile: Option<Profile>,
    breaks: &'static str,
    why: &'static str,
) -> Mutant {
    Mutant { name, breaks, profile, focus: Focus::Wide, fate: Fate::Redundant(why) }
}

impl Mutant {
    /// With seeds that are turned towards what it needs.
    const fn under(self, focus: Focus) -> Self {
        Self { focus, ..self }
    }
}

const LOG: Option<Profile> = Some(Profile::Log);
const QUEUE: Option<Profile> = Some(Profile::Queue);
const ORDERED: Option<Profile> = Some(Profile::Ordered);

/// All there are, by rule.
pub const MUTANTS: &[Mutant] = &[
    caught("a1-read-before-the-lease", QUEUE, 50, "the ledger is read before the leases are won"),
    caught("a2-woken-unasked", LOG, 50, "who waited for a twin goes to its lane without being admitted anew"),
    caught("a3-twins-both-run", QUEUE, 50, "of one id in flight twice, both run"),
    caught("a4-token-reused", QUEUE, 50, "the next grant bears the token of the one before"),
    caught("c1-session-only", ORDERED, 1_000, "a commit checks its session, and no exclusion"),
    redundant(
        "c1-token-ignored",
        ORDERED,
        "a commit checks the lease's owner, and not its token",
        "only an older grant of the same session passes; lanes keep it apart, and the ledger arbitrates",
    ),
    caught("c1-epoch-ignored", LOG, 500, "a commit checks the claim's owner, and not its epoch"),
    redundant(
        "c1-session-ignored",
        LOG,
        "a commit checks exclusions, and no session",
        "a takeover gives claim or lease to another session, which the check of exclusions sees",
    ),
    caught("c2-ledger-is-no-arbiter", QUEUE, 50, "what is finished commits again"),
    caught("c3-no-rollback", LOG, 50, "a failed write leaves what it wrote before it failed"),
    redundant(
        "c3-successors-stay",
        LOG,
        "a failed write leaves its key's later events in the transaction",
        "one commit of a key is in flight (C5), so no group holds a later one of it; failed_effect_fails_alone holds stores to it",
    ),
    caught("c4-group-fails-whole", LOG, 100, "a refused commit fails all events of its group"),
    caught(
        "c5-lane-goes-on",
        LOG,
        50,
        "the next event of a key starts before the writes before it are committed",
    ),
    caught("c5-groups-share-a-hold", LOG, 50, "two groups that hold the same claim are under way at a time"),
    caught("c6-others-are-done", LOG, 50, "of a batch with a failed item, the others count as done"),
    caught("c7-holds-unsorted", LOG, 50, "a group names its claims and leases in no order"),
    redundant(
        "u1-lost-answer-is-failure",
        LOG,
        "a commit without an answer is sent again, unread",
        "what was durable is a duplicate the second time (C2)",
    ),
    caught("u1-lost-answer-is-success", LOG, 600, "a commit without an answer counts as done"),
    caught("s1-renewal-revives", QUEUE, 300, "a renewal inserts the row that was taken over"),
    caught("s1-takeover-leaves-the-row", QUEUE, 50, "a takeover leaves the dead session's row")
        .under(Focus::Late),
    caught("s2-epoch-not-raised", LOG, 100, "a claim changes hands under the same epoch"),
    caught("s3-no-limit", LOG, 250, "a write may take for ever"),
    caught("s4-promise-from-the-answer", LOG, 50, "the promise counts from the answer to the renewal")
        .under(Focus::Late),
    caught("s4-one-clock-only", LOG, 150, "the promise is counted by the monotonic clock alone"),
    caught("s4-promise-never-ends", LOG, 50, "what runs when the promise is out goes on").under(Focus::Late),
    caught("s5-wanted-ignored", LOG, 100, "the owner of a wanted claim goes on").under(Focus::Grace),
    caught("s5-handover-at-once", LOG, 100, "a wanted claim is granted though its owner lives"),
    caught("s5-grace-without-end", LOG, 50, "what still runs after the grace goes on").under(Focus::Grace),
    caught("s6-joins-while-it-goes", QUEUE, 50, "events join a key whose lease is on its way back"),
    caught(
        "s6-unknown-means-kept",
        QUEUE,
        3_000,
        "an unknown answer to a giving back means that it was kept",
    ),
    caught("s7-lease-is-not-given-back", QUEUE, 50, "what empties a key keeps its lease"),
    caught("s7-no-comparison", QUEUE, 12_000, "leases that nothing here knows of are not looked for"),
    caught("s7-the-dead-keep-their-leases", QUEUE, 50, "what a dead session had is nobody's"),
    caught("s9-last-comes-first", QUEUE, 50, "who waited last gets the lease").under(Focus::Line),
    caught("s9-not-kept", QUEUE, 100, "a free lease is whoever's asks first").under(Focus::Line),
    caught("s9-never-yields", QUEUE, 50, "a key that others wait for is never given up").under(Focus::Line),
    caught("l1-ledger-keyed-wrongly", LOG, 50, "the ledger knows events by a part of their id"),
    caught("l2-base-from-what-started", LOG, 50, "the base counts what was started"),
    caught("l2-finished-before-durable", LOG, 50, "an event counts as finished before its commit"),
    caught("l4-conflict-is-a-duplicate", LOG, 50, "another payload under a finished id is dropped"),
    caught("p1-parked-is-not-looked-at", LOG, 50, "what is parked is admitted again"),
    caught("p2-row-is-no-arbiter", QUEUE, 150, "a released letter commits though its row is gone"),
    caught("t1-no-marks", LOG, 100, "nothing is marked as started"),
    caught("t1-deaths-are-not-counted", LOG, 100, "a mark that is found counts for nothing"),
    caught("t1-marks-stay", LOG, 200, "an orderly end leaves its marks").under(Focus::Leave),
    caught("t1-lease-comes-back-clean", QUEUE, 500, "who gives an unclean lease back leaves it clean"),
    caught("settled-before-durable", QUEUE, 50, "an event is acknowledged before its commit"),
    caught("order-failed-goes-last", LOG, 50, "a failed event goes to the end of its lane"),
    caught("lanes-two-at-once", LOG, 50, "a lane goes on while its handler runs"),
    caught("retry-resets-attempts", LOG, 50, "a failed try is always the first"),
    caught("budget-is-ignored", LOG, 50, "more is pulled than the budget has room for"),
    caught("budget-without-what-waits", LOG, 400, "what waits counts against nothing"),
    caught("spin-in-admission", QUEUE, 50, "an admission that failed is tried again at once"),
    caught("spin-in-commit", LOG, 50, "a commit that failed is tried again at once"),
];
