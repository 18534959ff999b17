//! The end of a transaction: positions, leases given back, and what others want.

use keylane::env::Timestamp;
use keylane::store::{ClaimRef, Fate, Position};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::attempt::Attempt;
use super::plain::WRITTEN_MAX;
use super::stop::Stop;
use crate::arrays::{counted, index};
use crate::database::Link;
use crate::error::is_lost;
use crate::numbers::{marked, signed};
use crate::parameters::{Parameters, Written};

/// What a transaction leaves when it is committed.
pub(super) struct End {
    pub(super) fates: Vec<Fate>,
    /// Those that were to be written, by their hold.
    pub(super) positions: Vec<(usize, ClaimRef, Position)>,
    pub(super) done: Done,
}

/// What the database answered.
#[derive(Default)]
pub(super) struct Done {
    /// Holds whose positions were written, and their new versions.
    pub(super) written: Vec<usize>,
    pub(super) versions: Vec<i64>,
    /// Holds whose leases were given back.
    pub(super) given: Vec<usize>,
    /// What others want, in JSON.
    pub(super) claims: Option<String>,
    pub(super) leases: Option<String>,
}

impl Done {
    pub(super) fn read(row: &PgRow) -> Self {
        let holds = |name: &str| {
            let numbers: Vec<i32> = row.get::<Option<_>, _>(name).unwrap_or_default();
            numbers.into_iter().map(index).collect()
        };
        Self {
            written: holds("written"),
            versions: row.get::<Option<_>, _>("versions").unwrap_or_default(),
            given: holds("given"),
            claims: row.get("claims"),
            leases: row.get("leases"),
        }
    }

    /// The last part of a group speaks for the claims; a lease is given back by any of them.
    pub(super) fn after(mut self, before: Self) -> Self {
        self.given.extend(before.given);
        self
    }
}

/// What is to be written at the end, as arrays.
pub(super) struct Last {
    pub(super) positions: Vec<(usize, ClaimRef, Position)>,
    over: Vec<i32>,
    /// Holds whose leases end with marks left, and how many (rule T1).
    unclean: Vec<(usize, i32)>,
}

impl Last {
    /// Of a group with these fates, of whose holds these are held.
    pub(super) fn of(attempt: &Attempt<'_>, fates: &[Fate], held: impl Fn(usize) -> bool) -> Self {
        let group = attempt.course.group;
        let marks = |at: usize| group.holds[at].lease().map_or(0, |lease| marked(lease.marks));
        let ended = group.given_back(fates, &held).into_iter().map(|at| (at, marks(at)));
        let (unclean, clean): (Vec<_>, Vec<_>) = ended.partition(|(_, marks)| *marks > 0);
        let over = clean.into_iter().map(|(at, _)| counted(at)).collect();
        Self { positions: group.positions(fates, held), over, unclean }
    }

    /// Nine parameters.
    pub(super) fn bind<P: Parameters>(&self, parameters: P) -> P {
        let rows = || self.positions.iter();
        let witness = || rows().map(|(.., position)| position.witness);
        let holds: Vec<_> = rows().map(|(at, ..)| counted(*at)).collect();
        let bases: Vec<_> = rows().map(|(.., position)| signed(position.base)).collect();
        let sparse: Vec<_> = rows().map(|(.., position)| position.sparse.clone()).collect();
        let identities: Vec<_> =
            rows().map(|(.., position)| Some(position.identity.as_ref()?.as_bytes().to_vec())).collect();
        let offsets: Vec<_> = witness().map(|witness| Some(signed(witness?.offset))).collect();
        let times: Vec<_> = witness().map(|witness| witness?.time.map(Timestamp::as_micros)).collect();
        let hashes: Vec<_> = witness().map(|witness| Some(signed(witness?.hash))).collect();
        let partitions: Vec<_> = rows().map(|(.., position)| i64::from(position.partitions)).collect();
        parameters
            .ints(&holds)
            .numbers(&bases)
            .bytes(&sparse)
            .some_bytes(&identities)
            .some_numbers(&offsets)
            .some_numbers(&times)
            .some_numbers(&hashes)
            .numbers(&partitions)
            .ints(&self.over)
    }

    /// Two parameters.
    pub(super) fn bind_unclean<P: Parameters>(&self, parameters: P) -> P {
        let (holds, marks): (Vec<_>, Vec<_>) =
            self.unclean.iter().map(|(at, marks)| (counted(*at), *marks)).unzip();
        parameters.ints(&holds).ints(&marks)
    }

    fn bind_all<P: Parameters>(&self, parameters: P, attempt: &Attempt<'_>, held: &[bool], guard: bool) -> P {
        let holds = attempt.holds;
        let parameters = parameters
            .uuid(attempt.course.group.session.0)
            .ints(&holds.scope)
            .some_numbers(&holds.partition)
            .some_bytes(&holds.key)
            .flags(held)
            .flag(guard);
        self.bind(parameters)
    }

    /// Gives back what has marks left.
    async fn pass_marks_on(&self, attempt: &Attempt<'_>, link: &mut Link<'_>) -> Result<(), Stop> {
        if self.unclean.is_empty() {
            return Ok(());
        }
        let holds = attempt.holds;
        let scopes: Vec<_> = self.unclean.iter().map(|(at, _)| holds.scope[*at]).collect();
        let keys: Vec<_> = self.unclean.iter().map(|(at, _)| holds.key[*at].clone()).collect();
        let marks: Vec<_> = self.unclean.iter().map(|(_, marks)| *marks).collect();
        let sql = attempt.store.database.sql("SELECT {keylane}.give_back($1, $2, $3)");
        let given = sql.query().ints(&scopes).some_bytes(&keys).ints(&marks).execute(&mut **link).await;
        given.map(drop).map_err(|error| Stop::of(link, "could not give leases back", error))
    }
}

/// Writes the end of a transaction; `guard`: it had writes of handlers.
pub(super) async fn write(
    attempt: &Attempt<'_>,
    link: &mut Link<'_>,
    fates: Vec<Fate>,
    held: &[bool],
    guard: bool,
) -> Result<End, Stop> {
    let last = Last::of(attempt, &fates, |at| held[at]);
    last.pass_marks_on(attempt, link).await?;
    let sql = attempt.store.database.sql(
        "SELECT * FROM {keylane}.commit_holds($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
    );
    let row = last.bind_all(sql.query(), attempt, held, guard).fetch_one(&mut **link).await;
    let row = row.map_err(|error| Stop::of(link, "could not write positions", error))?;
    let mut done = Done::read(&row);
    done.given.extend(last.unclean.iter().map(|(at, _)| *at));
    Ok(End { fates, positions: last.positions, done })
}

/// The same with the commit behind it, in one message: what raises before leaves nothing to commit. No lease of it ends
/// with marks left.
pub(super) async fn write_and_commit(
    attempt: &Attempt<'_>,
    link: &mut Link<'_>,
    fates: Vec<Fate>,
    held: &[bool],
    guard: bool,
) -> Result<End, Stop> {
    if held.len() > WRITTEN_MAX {
        let end = write(attempt, link, fates, held, guard).await?;
        return match link.commit().await {
            Ok(()) => Ok(end),
            Err(error) => Err(Stop::of_commit(error)),
        };
    }
    let last = Last::of(attempt, &fates, |at| held[at]);
    let parameters = last.bind_all(Written::default(), attempt, held, guard).text;
    let end = format!("SELECT * FROM {{keylane}}.commit_holds({parameters})");
    let (row, committed) = link.commit_behind(&end).await;
    match (row, committed) {
        (Some(row), Ok(())) => Ok(End { fates, positions: last.positions, done: Done::read(&row) }),
        // U1: whether the server came as far as the commit is not known, however little it said.
        (_, Err(error)) if is_lost(&error) => Err(Stop::unknown(error)),
        (Some(_), Err(error)) => Err(Stop::of_commit(error)),
        (None, Err(error)) => Err(Stop::of(link, "could not write positions", error)),
        (None, Ok(())) => Err(Stop::unknown(sqlx::Error::RowNotFound)),
    }
}
