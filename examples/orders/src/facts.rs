//! Reading the facts: for the account all of them, for the progress how many there are.

use std::collections::BTreeMap;

use keylane::Error;
use keylane::store::{Parked, ParkedId, Reason};
use sqlx::Row;

use crate::account::{Dead, Effect, Facts};
use crate::run::{self, failed};
use crate::service::Service;
use crate::topic;

/// How far things are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Records of the workload that are published for certain.
    pub(crate) planned: u64,
    /// Records at the broker.
    pub(crate) published: u64,
    /// Records that the journal has.
    pub(crate) read: u64,
    pub(crate) handled: u64,
    pub(crate) duplicates: u64,
    pub(crate) dead: u64,
}

impl Sample {
    /// Records with a fate.
    pub(crate) fn settled(&self) -> u64 {
        self.handled + self.duplicates + self.dead
    }
}

/// Dead letters that are asked for at once.
const PAGE: usize = 500;

impl Service {
    pub(crate) async fn sample(&self) -> Result<Sample, Error> {
        let dead = self.dead_letters().await?;
        let ids: Vec<String> = dead.iter().map(|parked| parked.id.to_string()).collect();
        let ids = serde_json::to_string(&ids).expect("texts are JSON");
        let planned = u64::from(run::published(&self.database).await?);
        let ends = self.topic.ends().await?;
        let mut reader = self.database.read().await?;
        // Duplicates: records of a handled or dead event that are neither the handled nor a dead one.
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM journal),
                    (SELECT count(*) FROM order_effects),
                    (SELECT count(*) FROM journal j
                     WHERE (EXISTS (SELECT 1 FROM order_effects e WHERE e.event_id = j.event_id)
                            OR j.event_id IN (SELECT value FROM json_each(?1)))
                       AND NOT EXISTS (SELECT 1 FROM order_effects e WHERE e.event_id = j.event_id
                                       AND e.partition = j.partition AND e.position = j.position))",
        )
        .bind(ids)
        .fetch_one(&mut *reader)
        .await
        .map_err(failed)?;
        let count = |column: usize| u64::try_from(row.get::<i64, _>(column)).unwrap_or_default();
        let dead = dead.len() as u64;
        Ok(Sample {
            planned,
            published: ends.values().map(|(low, high)| high - low).sum(),
            read: count(0),
            handled: count(1),
            duplicates: count(2).saturating_sub(dead),
            dead,
        })
    }

    /// True when all of the workload is published and every record has a fate. What is durable counts: the
    /// groups' positions at the broker, or, where the broker was not told any more, the records' fates.
    pub(crate) async fn is_finished(&self, sample: &Sample) -> Result<bool, Error> {
        if sample.planned < u64::from(self.run.events) {
            return Ok(false);
        }
        if sample.read == sample.published && sample.settled() == sample.published {
            return Ok(true);
        }
        let ends = self.topic.ends().await?;
        let orders = self.topic.positions(&self.groups.orders).await?;
        let journal = self.topic.positions(&self.groups.journal).await?;
        Ok(topic::is_finished(&ends, &orders) && topic::is_finished(&ends, &journal))
    }

    pub(crate) async fn facts(&self) -> Result<Facts, Error> {
        let dead = self.dead_letters().await?.into_iter().map(dead).collect();
        let ends = self.topic.ends().await?;
        let mut reader = self.database.read().await?;
        let journal: Vec<(u32, i64, String)> =
            sqlx::query_as("SELECT partition, position, event_id FROM journal")
                .fetch_all(&mut *reader)
                .await
                .map_err(failed)?;
        let effects: Vec<(String, String, u32, u32, i64)> = sqlx::query_as(
            "SELECT event_id, order_id, version, partition, position FROM order_effects ORDER BY applied",
        )
        .fetch_all(&mut *reader)
        .await
        .map_err(failed)?;
        let views_off: i64 = sqlx::query_scalar(
            "WITH made AS (SELECT order_id, max(version) AS version, sum(kind = 'order.shipped') AS shipped
                           FROM order_effects GROUP BY order_id)
             SELECT (SELECT count(*) FROM orders) - (SELECT count(*) FROM made JOIN orders ON id = order_id
                     WHERE orders.version = made.version AND orders.shipped = made.shipped)",
        )
        .fetch_one(&mut *reader)
        .await
        .map_err(failed)?;
        let effect = |(event, order, version, partition, position): (_, _, _, _, i64)| Effect {
            event,
            order,
            version,
            place: (partition, position.unsigned_abs()),
        };
        let noted =
            |(partition, position, id): (u32, i64, String)| ((partition, position.unsigned_abs()), id);
        Ok(Facts {
            ends,
            journal: journal.into_iter().map(noted).collect::<BTreeMap<_, _>>(),
            effects: effects.into_iter().map(effect).collect(),
            dead,
            views_off: views_off.unsigned_abs(),
        })
    }

    async fn dead_letters(&self) -> Result<Vec<Parked>, Error> {
        let mut all: Vec<Parked> = Vec::new();
        loop {
            let after: Option<ParkedId> = all.last().map(Parked::parked_id);
            let page = self.admin.dead_letters(&self.groups.orders, after, PAGE).await?;
            let last = page.len() < PAGE;
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }
}

fn dead(parked: Parked) -> Dead {
    Dead {
        event: parked.id.to_string(),
        kind: parked.kind.to_string(),
        place: (parked.partition, parked.offset),
        reason: match parked.reason {
            Reason::Dead(death) => death.name(),
            _ => "parked",
        },
        failure: parked.failures.join(": "),
    }
}
