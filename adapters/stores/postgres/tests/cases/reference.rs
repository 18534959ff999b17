//! `docs/config/postgres.md` says what the adapter's component says, and the guide's configuration is accepted.

use std::path::Path;

use keylane::config::{Catalog, reference};
use keylane::memory::MemoryBroker;
use keylane::{Failure, RawEvent, Routes, Runtime};
use keylane_postgres::{Postgres, PostgresConfig};

const HEAD: &str = "# Configuration of PostgreSQL

<!-- Generated from the components' own docs. Change those, then run the test that compares with KEYLANE_BLESS=1. -->

What every service has stands in [the reference](../config.md), and so does what a duration and a size are. How the store
works: [the guide](../guides/postgres.md).
";

#[test]
fn the_reference_of_postgres_is_up_to_date() {
    let all = reference(&Catalog::new().store::<PostgresConfig>("postgres"));
    let sections = all.split("\n## ").filter(|section| section.starts_with("`[store.postgres"));
    let sections = sections.map(|section| format!("\n## {}\n", section.trim_end()));
    let wanted = HEAD.to_owned() + &sections.collect::<String>();
    assert!(wanted.contains("`pooler`") && wanted.contains("`effect_limit`"), "{wanted}");

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/config/postgres.md");
    if std::env::var_os("KEYLANE_BLESS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    assert!(
        found == wanted,
        "docs/config/postgres.md differs; run this test with KEYLANE_BLESS=1 and look at the change"
    );
}

async fn nothing(_: RawEvent) -> Result<(), Failure> {
    Ok(())
}

#[tokio::test]
async fn the_guides_configuration_is_accepted() {
    let guide = include_str!("../../../../../docs/guides/postgres.md");
    let blocks = guide.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut tried = 0;
    for toml in blocks {
        let rest = "\n[broker.main.memory]\n[subscription.billing]\nsource = \"orders\"\n\
            [subscription.billing.retry]\non_exhausted = \"skip\"\n";
        let runtime = Runtime::from_text(toml.to_owned() + rest).store(Postgres::new());
        let runtime = runtime.broker(MemoryBroker::new()).variables(|_| Some("postgres://a:b@c/d".into()));
        let runtime = runtime.subscription("billing", Routes::new().all(nothing));
        runtime.check_only().unwrap_or_else(|error| panic!("{toml}\n{error:?}"));
        tried += 1;
    }
    assert_eq!(tried, 3);
}
