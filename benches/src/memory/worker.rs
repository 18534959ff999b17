//! The process whose memory is measured.

use std::path::Path;
use std::time::Duration;

use keylane::{RawEvent, Routes, Runtime};
use keylane_log::Log;
use keylane_sqlite::Sqlite;
use serde::{Deserialize, Serialize};

use crate::Broken;
use crate::measure::rss_peak;
use crate::meter::METER;

const SILENCE: Duration = Duration::from_secs(60);

/// What a worker prints.
#[derive(Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) seconds: f64,
    pub(super) cpu_seconds: f64,
    pub(super) rss: u64,
}

const CONFIGURATION: &str = r#"
[store.sqlite]
path = "${PATH_OF_LOG}"

[broker.main.log]
path = "${PATH_OF_LOG}"

[subscription.orders]
source = "orders"
group = "${GROUP}"

[subscription.orders.retry]
on_exhausted = "stop"
"#;

/// Handles `events` events of the log at `path`, and prints what that took.
pub(crate) fn work(path: &Path, group: &str, events: u64) -> Result<(), Broken> {
    METER.expect(events);
    let (path, group) = (path.display().to_string(), group.to_owned());
    let variables = move |asked: &str| match asked {
        "PATH_OF_LOG" => Some(path.clone()),
        "GROUP" => Some(group.clone()),
        _ => None,
    };
    let (cost, rss) = tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let handle = Runtime::from_text(CONFIGURATION)
            .variables(variables)
            .store(Sqlite)
            .broker(Log::on(Sqlite))
            .subscription("orders", Routes::new().all(nothing))
            .start()
            .await?;
        let cost = METER.cost(SILENCE).await?;
        let rss = rss_peak()?;
        handle.shutdown();
        handle.join().await?;
        Ok::<_, Broken>((cost, rss))
    })?;
    let answer = Answer { seconds: cost.wall.as_secs_f64(), cpu_seconds: cost.cpu.as_secs_f64(), rss };
    println!("{}", serde_json::to_string(&answer)?);
    Ok(())
}

async fn nothing(_: RawEvent) {
    METER.note();
}
