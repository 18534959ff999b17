//! A plain group: every event finishes for the first time, and nothing stands in its way, as far as can be told here.
//!
//! That is nearly every group. It is judged before it is sent, and written by one function, which looks whether all is
//! as it was taken to be and fails as a whole where it is not.

use std::time::Duration;

use keylane::store::{CommitEvent, Fate, HoldCommit, Judge, Verdict};
use sqlx::Row;
use uuid::Uuid;

use super::attempt::Attempt;
use super::effects::{Clock, Trouble};
use super::end::{self, Done, End, Last};
use super::facts::{Facts, is_by_position};
use super::pass::is_own;
use super::stop::Stop;
use crate::Postgres;
use crate::arrays::counted;
use crate::database::Link;
use crate::id::{self, Key};
use crate::numbers::{hash, signed};
use crate::parameters::{Parameters, Written};

/// So many holds and events go into one message with the statement before or behind: for more, reading their text costs
/// more than a round trip does.
pub(super) const WRITTEN_MAX: usize = 100;

/// So many bytes of statements travel in one message; the server takes less than a gigabyte.
const STATEMENTS_MAX: usize = 8 << 20;

/// What the functions are told.
pub(super) struct Plan {
    pub(super) writes: Writes,
    fates: Vec<Fate>,
    /// Holds that have events.
    used: Vec<i32>,
    /// Of each hold, the version of the position by which it was judged.
    versions: Vec<Option<i64>>,
    ledger: Ledger,
    ended: Ended,
}

/// What handlers recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writes {
    None,
    /// Statements alone, which travel with the commit.
    Statements,
    /// What runs one after the other.
    Any,
}

/// Rows of the ledger.
#[derive(Default)]
pub(super) struct Ledger {
    scope: Vec<i32>,
    id: Vec<Key>,
    ms: Vec<Option<i64>>,
    hash: Vec<Uuid>,
}

/// Events whose attempts go.
#[derive(Default)]
struct Ended {
    hold: Vec<i32>,
    offset: Vec<i64>,
    /// Of events with a claim none: their place is theirs.
    id: Vec<Option<Key>>,
}

impl Plan {
    /// `None`: the group must go the longer way.
    pub(super) fn make(attempt: &Attempt<'_>) -> Option<Self> {
        let course = attempt.course;
        let (facts, versions) = assumed(attempt)?;
        let mut judge = Judge::new(attempt.store.database.env(), course, &facts, attempt.units.start);
        for unit in attempt.units.clone() {
            let fates = judge.rule(unit);
            if is_own(attempt, unit)
                || attempt.failed.contains_key(&unit)
                || !fates.iter().all(Fate::is_committed)
            {
                return None;
            }
        }
        let numbers = course.events_of_all(&attempt.units);
        let mut fates = course.fates.clone();
        fates[numbers.clone()].fill(Fate::Committed);
        let mut plan = Self {
            writes: Writes::of(attempt),
            fates,
            used: Vec::new(),
            versions,
            ledger: Ledger::default(),
            ended: Ended::default(),
        };
        let marks = |hold: &HoldCommit| hold.lease().is_some_and(|lease| lease.give_back && lease.marks > 0);
        if plan.writes != Writes::None && course.group.holds.iter().any(marks) {
            return None;
        }
        for event in course.group.events().skip(numbers.start).take(numbers.len()) {
            if !matches!(event.verdict, Verdict::Finish) || event.unpark.is_some() {
                return None;
            }
            plan.add(attempt, event);
        }
        plan.used.sort_unstable();
        plan.used.dedup();
        Some(plan)
    }

    fn add(&mut self, attempt: &Attempt<'_>, event: &CommitEvent) {
        self.used.push(counted(event.hold));
        let id = id::key(&event.id);
        self.ended.hold.push(counted(event.hold));
        self.ended.offset.push(signed(event.offset));
        self.ended.id.push(attempt.holds.partition[event.hold].is_none().then(|| id.clone()));
        if let Some(payload) = event.ledger {
            self.ledger.push(attempt.holds.scope[event.hold], id, hash(payload));
        }
    }

    /// All of it in one statement, with `executes` between its rows and its end (rule C3).
    pub(super) async fn at_once(
        self,
        attempt: &Attempt<'_>,
        link: &mut Link<'_>,
        executes: Vec<String>,
    ) -> Result<End, sqlx::Error> {
        let last = Last::of(attempt, &self.fates, |_| true);
        let suffix = attempt.holds.suffix();
        let row = if executes.is_empty() {
            let sql = attempt.store.database.sql(&format!(
                "SELECT * FROM {{keylane}}.commit_plain{suffix}($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,
                    $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25)",
            ));
            last.bind_unclean(last.bind(self.bind(bind_holds(sql.query(), attempt))))
                .fetch_one(&mut **link)
                .await?
        } else {
            // Each waits for what the one before gives it.
            let sql = attempt.store.database.sql(&format!(
                "SELECT h.* FROM {{keylane}}.commit_rows{suffix}($1, $2, $3, $4, $5, false, $6, $7, $8, $9, $10, $11, $12,
                        $13, $14) r,
                    {{keylane}}.run_statements(r.held, $24) s (held),
                    {{keylane}}.commit_holds($1, $2, $3, $4, s.held, false, $15, $16, $17, $18, $19, $20, $21, $22, $23) h",
            ));
            let statement = last.bind(self.bind(bind_holds(sql.query(), attempt)));
            statement.bind(executes).fetch_one(&mut **link).await?
        };
        Ok(End { fates: self.fates, positions: last.positions, done: Done::read(&row) })
    }

    /// In a transaction, with effects between rows and positions (rule C3): two round trips where it is small, and
    /// those of the effects.
    pub(super) async fn run(self, attempt: &Attempt<'_>, link: &mut Link<'_>) -> Result<End, Stop> {
        let suffix = attempt.holds.suffix();
        let writes = self.writes != Writes::None;
        let row = match self.len() <= WRITTEN_MAX {
            true => {
                let parameters = self.bind(bind_holds(Written::default(), attempt).flag(writes)).text;
                let rows =
                    format!("SELECT lifetime_us, held FROM {{keylane}}.commit_rows{suffix}({parameters})");
                link.begin_with(&rows).await
            }
            false => {
                link.begin().await?;
                let sql = attempt.store.database.sql(&format!(
                    "SELECT lifetime_us, held FROM {{keylane}}.commit_rows{suffix}(
                        $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
                ));
                let statement = bind_holds(sql.query(), attempt).flag(writes);
                self.bind(statement).fetch_one(&mut **link).await
            }
        };
        let row = row.map_err(|error| Stop::of_plain(link, "could not write the ledger", error))?;
        let held: Vec<bool> = row.get::<Option<_>, _>("held").unwrap_or_default();
        let lifetime = Duration::from_micros(row.get::<i64, _>("lifetime_us").unsigned_abs());
        let mut clock = Clock::start(attempt.store, lifetime);
        for unit in attempt.units.clone() {
            let ran = clock.run(attempt, link, unit).await;
            ran.map_err(|trouble| match trouble {
                Trouble::Failed(_) => Stop::Failed,
                trouble => trouble.stop(unit),
            })?;
        }
        end::write_and_commit(attempt, link, self.fates, &held, writes).await
    }

    /// The longest of its lists.
    fn len(&self) -> usize {
        self.ended.hold.len().max(self.versions.len())
    }

    /// Ten parameters.
    fn bind<P: Parameters>(&self, parameters: P) -> P {
        let parameters = parameters.ints(&self.used).some_numbers(&self.versions);
        let ended = &self.ended;
        self.ledger.bind(parameters).ints(&ended.hold).numbers(&ended.offset).some_keys(&ended.id)
    }
}

impl Writes {
    fn of(attempt: &Attempt<'_>) -> Self {
        let mut size = 0;
        for effect in attempt.effects() {
            match effect.as_statement::<Postgres>() {
                Some(statement) => size += statement.size(),
                None => return Self::Any,
            }
        }
        match size {
            0 => Self::None,
            // The server's limit for all of them would be its own.
            _ if attempt.store.effect_limit.is_some() => Self::Any,
            1..=STATEMENTS_MAX => Self::Statements,
            _ => Self::Any,
        }
    }
}

impl Ledger {
    pub(super) fn push(&mut self, scope: i32, key: Key, hash: Uuid) {
        self.scope.push(scope);
        self.ms.push(id::time(&key));
        self.id.push(key);
        self.hash.push(hash);
    }

    pub(super) fn len(&self) -> usize {
        self.id.len()
    }

    /// Four parameters.
    pub(super) fn bind<P: Parameters>(&self, parameters: P) -> P {
        parameters.ints(&self.scope).keys(&self.id).some_numbers(&self.ms).uuids(&self.hash)
    }
}

/// The session and the holds: five parameters.
pub(super) fn bind_holds<P: Parameters>(parameters: P, attempt: &Attempt<'_>) -> P {
    let holds = attempt.holds;
    parameters
        .uuid(attempt.course.group.session.0)
        .ints(&holds.scope)
        .some_numbers(&holds.partition)
        .some_bytes(&holds.key)
        .numbers(&holds.number)
}

/// All is held and new; positions are as this handle last wrote them.
fn assumed(attempt: &Attempt<'_>) -> Option<(Facts, Vec<Option<i64>>)> {
    let group = attempt.course.group;
    let mut facts = Facts::assumed(attempt.holds);
    let mut versions = vec![None; group.holds.len()];
    for event in group.events().filter(|event| is_by_position(group, event)) {
        if versions[event.hold].is_none() {
            let claim = group.holds[event.hold].claim()?;
            let (version, watermark) =
                attempt.store.positions.of(attempt.holds.scope[event.hold], &claim.claim)?;
            versions[event.hold] = Some(version);
            facts.finished[event.hold] = Some(watermark);
        }
    }
    Some((facts, versions))
}
