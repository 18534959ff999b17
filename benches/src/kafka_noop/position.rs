//! `pg_position`: what it costs that PostgreSQL keeps the ledger by position, against a store that keeps nothing.

use keylane_postgres::Postgres;

use super::ours::{self, STORES, SUBSCRIPTION};
use super::topic::Topic;
use super::{EVENTS, servers};
use crate::postgres::{Schema, in_schema};
use crate::report::{Measured, Report, Target};
use crate::rounds::{Arm, against_first};
use crate::{Broken, Plan};

const TABLE: &str = "[store.postgres]\nurl = \"${URL}\"\nschema = \"${SCHEMA}\"";

pub(crate) fn run(plan: &Plan) -> Result<(), Broken> {
    let servers = servers()?;
    let mut report = Report::new("pg_position", Target::AtLeast(0.95));
    for spread in &plan.spreads {
        let topic = Topic::fill(&servers, *spread, plan.events.unwrap_or(EVENTS))?;
        let arms = vec![
            Arm::new("keylane_memory", || ours::read(&topic, &STORES[0])),
            Arm::new("keylane_postgres", || read(&topic)),
        ];
        let ran = against_first(&mut report, *spread, plan.rounds, arms);
        topic.delete();
        ran?;
    }
    report.end()
}

fn read(topic: &Topic) -> Result<Measured, Broken> {
    in_schema(async |schema: &Schema| {
        let (url, name) = (schema.url(), schema.name.clone());
        let (servers, source, group) = (topic.servers.clone(), topic.name.clone(), topic.group());
        let variables = move |asked: &str| match asked {
            "URL" => Some(url.clone()),
            "SCHEMA" => Some(name.clone()),
            "SERVERS" => Some(servers.clone()),
            "TOPIC" => Some(source.clone()),
            "GROUP" => Some(group.clone()),
            _ => None,
        };
        ours::drain(topic, format!("{TABLE}\n{SUBSCRIPTION}"), variables, Postgres::new()).await
    })
}
