//! Our arm: order by key within this worker, nothing kept of what is finished.

use std::hint::black_box;
use std::time::Duration;

use keylane::memory::Memory;
use keylane::{RawEvent, Routes, Runtime};
use keylane_rabbitmq::RabbitMq;

use super::plain::touch;
use super::queue::Queue;
use crate::Broken;
use crate::meter::METER;
use crate::report::Measured;

const SILENCE: Duration = Duration::from_secs(60);

const CONFIGURATION: &str = r#"
[store.memory]

[broker.main.rabbitmq]
uri = "${URI}"

[subscription.noop]
source = "${QUEUE}"
lock = "local"

[subscription.noop.ledger]
mode = "off"

[subscription.noop.rabbitmq]
delivery_limit = "none"
"#;

pub(super) async fn drain(queue: &Queue) -> Result<Measured, Broken> {
    let (uri, name) = (queue.uri.clone(), queue.name.clone());
    let variables = move |asked: &str| match asked {
        "URI" => Some(uri.clone()),
        "QUEUE" => Some(name.clone()),
        _ => None,
    };
    METER.expect(queue.events);
    let handle = Runtime::from_text(CONFIGURATION)
        .variables(variables)
        .store(Memory::new())
        .broker(RabbitMq)
        .subscription("noop", Routes::new().all(nothing))
        .start()
        .await?;
    let cost = METER.cost(SILENCE).await?;
    handle.shutdown();
    handle.join().await?;
    Ok(Measured::new(queue.events, cost))
}

async fn nothing(event: RawEvent) {
    black_box((&event.meta().key, touch(&event)));
    METER.note();
}
