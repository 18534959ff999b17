//! `pg_cost`: what the server has to do for an event at saturation: CPU, log, round trips.
//!
//! The ledger is by id and nothing has effects. CPU is that of all processes of the server, which so has to run on
//! this machine with nobody else on it. Round trips are counted by a relay between us and the server, in runs of
//! their own: it takes time, and what takes time makes larger groups.

use std::io;

use keylane::Env;
use keylane::store::StoreAdapter;
use keylane_postgres::{Postgres, PostgresConfig};
use sqlx::PgConnection;

use super::relay::Relay;
use super::{EVENTS, Schema, in_schema, ours};
use crate::meter::METER;
use crate::orders::{Order, orders_of_today, records};
use crate::report::{Measured, Report, Server, Target};
use crate::source::Canned;
use crate::{Broken, Plan};

/// What an event may cost, each of which is the ratio's 1.
const CPU_US: f64 = 25.0;
const WAL_BYTES: f64 = 300.0;
const ROUND_TRIPS: f64 = 0.02;

/// In which the kernel tells times, whatever its own clock (`USER_HZ`).
const TICKS_A_SECOND: f64 = 100.0;

pub(crate) fn run(plan: &Plan) -> Result<(), Broken> {
    let mut report = Report::new("pg_cost", Target::AtMost(1.0));
    for spread in &plan.spreads {
        let orders = orders_of_today(*spread, plan.events.unwrap_or(EVENTS));
        let mut shares = [const { Vec::new() }; 3];
        for round in 1..=plan.rounds {
            let direct = measure(&orders, false)?;
            report.arm(*spread, "keylane", round, &direct)?;
            let relayed = measure(&orders, true)?;
            report.arm(*spread, "keylane_relayed", round, &relayed)?;
            if let (Some(direct), Some(Server { round_trips_per_event: Some(trips), .. })) =
                (direct.server, relayed.server)
            {
                shares[0].push(direct.server_cpu_us_per_event / CPU_US);
                shares[1].push(direct.wal_bytes_per_event / WAL_BYTES);
                shares[2].push(trips / ROUND_TRIPS);
            }
        }
        for (arm, shares) in ["server_cpu", "wal_bytes", "round_trips"].into_iter().zip(&shares) {
            report.ratios(*spread, arm, shares, None)?;
        }
    }
    report.end()
}

fn measure(orders: &[Order], relayed: bool) -> Result<Measured, Broken> {
    in_schema(async |schema: &Schema| {
        let relay = if relayed { Some(Relay::start(&schema.url()).await?) } else { None };
        let url = relay.as_ref().map_or_else(|| schema.url(), |relay| relay.url.clone());
        migrate(schema).await?;
        let mut watch = Watch::new(schema).await?;
        METER.expect(orders.len() as u64);
        let before = watch.look().await?;
        let handle = ours::start_noop(schema, url, Canned::new(records(orders))).await?;
        let cost = METER.cost(ours::SILENCE).await?;
        let trips = relay.as_ref().map(Relay::trips);
        let after = watch.look().await?;
        handle.shutdown();
        handle.join().await?;
        let events = orders.len() as f64;
        let server = Server {
            server_cpu_us_per_event: (after.cpu_us - before.cpu_us) / events,
            wal_bytes_per_event: (after.wal_bytes - before.wal_bytes) / events,
            round_trips_per_event: trips.map(|trips| trips as f64 / events),
        };
        Ok(Measured { server: Some(server), ..Measured::new(orders.len() as u64, cost) })
    })
}

/// Once for all workers, and no part of an event's cost.
async fn migrate(schema: &Schema) -> Result<(), Broken> {
    let config = PostgresConfig {
        url: Some(schema.url().into()),
        schema: schema.name.clone(),
        ..PostgresConfig::default()
    };
    drop(Postgres::new().open(config, &Env::tokio()).await?);
    Ok(())
}

/// Looks at the server from outside.
struct Watch {
    connection: PgConnection,
    /// The server's first process, the parent of all others.
    server: u32,
}

/// What the server did since it runs.
struct Look {
    cpu_us: f64,
    wal_bytes: f64,
}

impl Watch {
    async fn new(schema: &Schema) -> Result<Self, Broken> {
        let mut connection = schema.connect().await?;
        let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await?;
        let stat = stat(u32::try_from(backend)?)?;
        if !stat.name.starts_with("postgres") {
            return Err(
                "the server's CPU time can be read only where it runs on this machine, in no container"
                    .into(),
            );
        }
        Ok(Self { connection, server: stat.parent })
    }

    async fn look(&mut self) -> Result<Look, Broken> {
        let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8";
        let wal_bytes = sqlx::query_scalar(sql).fetch_one(&mut self.connection).await?;
        let server = stat(self.server)?;
        // A process that ended is in its parent's sum.
        let mut ticks = server.ticks + server.ticks_of_ended;
        for entry in std::fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            ticks += stat(pid).ok().filter(|stat| stat.parent == self.server).map_or(0, |stat| stat.ticks);
        }
        Ok(Look { cpu_us: ticks as f64 / TICKS_A_SECOND * 1e6, wal_bytes })
    }
}

/// A process as the kernel counts it.
struct Stat {
    name: String,
    parent: u32,
    ticks: u64,
    ticks_of_ended: u64,
}

fn stat(pid: u32) -> io::Result<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse(&text).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat can't be read")))
}

/// `PID (NAME) STATE PARENT …`, with its times as the 14th to 17th field.
fn parse(text: &str) -> Option<Stat> {
    let (head, rest) = text.rsplit_once(") ")?;
    let (_, name) = head.split_once('(')?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = |field: usize| fields.get(field)?.parse::<u64>().ok();
    Some(Stat {
        name: name.to_owned(),
        parent: fields.get(1)?.parse().ok()?,
        ticks: ticks(11)? + ticks(12)?,
        ticks_of_ended: ticks(13)? + ticks(14)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let text = "123 (postgres: a) b) S 7 123 123 0 -1 4194560 1 2 3 4 50 60 70 80 20 0 1 0 9 8 7";
        let stat = parse(text).unwrap();
        assert_eq!(
            (&*stat.name, stat.parent, stat.ticks, stat.ticks_of_ended),
            ("postgres: a) b", 7, 110, 150)
        );
    }
}
