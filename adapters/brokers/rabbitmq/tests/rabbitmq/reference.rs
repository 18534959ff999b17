//! `docs/config/rabbitmq.md` says what the adapter's components say.

use std::path::Path;

use keylane::config::{Catalog, reference};
use keylane::memory::Memory;
use keylane::{Failure, RawEvent, Routes, Runtime};
use keylane_rabbitmq::{RabbitMq, RabbitMqConfig, RabbitMqSubscription};

const HEAD: &str = "# Configuration of RabbitMQ

<!-- Generated from the components' own docs. Change those, then run the test that compares with KEYLANE_BLESS=1. -->

What every service has stands in [the reference](../config.md), and so does what a duration and a size are. How the adapter
works: [the guide](../guides/rabbitmq.md).
";

#[test]
fn the_reference_of_rabbitmq_is_up_to_date() {
    let catalog = Catalog::new().broker::<RabbitMqConfig, RabbitMqSubscription>("rabbitmq");
    let all = reference(&catalog);
    let sections = all.split("\n## ").filter(|section| {
        ["`[broker.NAME.rabbitmq", "`[subscription.NAME.rabbitmq"]
            .iter()
            .any(|heading| section.starts_with(heading))
    });
    let sections = sections.map(|section| format!("\n## {}\n", section.trim_end()));
    let wanted = HEAD.to_owned() + &sections.collect::<String>();
    assert!(wanted.contains("`delivery_limit`") && wanted.contains("`heartbeat`"), "{wanted}");

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/config/rabbitmq.md");
    if std::env::var_os("KEYLANE_BLESS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    assert!(
        found == wanted,
        "docs/config/rabbitmq.md differs; run this test with KEYLANE_BLESS=1 and look at the change"
    );
}

async fn nothing(_: RawEvent) -> Result<(), Failure> {
    Ok(())
}

#[tokio::test]
async fn the_guides_configurations_are_accepted() {
    let guide = include_str!("../../../../../docs/guides/rabbitmq.md");
    let blocks = guide.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut tried = 0;
    for toml in blocks.filter(|toml| toml.contains("[store.")) {
        let toml = toml.replace("[store.sqlite]\npath = \"billing.db\"\n", "[store.memory]\n");
        let runtime = Runtime::from_text(&toml).broker(RabbitMq).store(Memory::new());
        let runtime = runtime.subscription("billing", Routes::new().all(nothing));
        runtime.check_only().unwrap_or_else(|error| panic!("{toml}\n{error:?}"));
        tried += 1;
    }
    assert_eq!(tried, 2);
}
