//! `docs/config/embedded.md` says what the components of the log and of its store say.

use std::path::Path;

use keylane::config::{Catalog, NoKeys, reference};
use keylane_log::LogConfig;
use keylane_sqlite::SqliteConfig;

const HEAD: &str = "# Configuration of the embedded log and of SQLite

<!-- Generated from the components' own docs. Change those, then run the test that compares with KEYLANE_BLESS=1. -->

What every service has stands in [the reference](../config.md), and so does what a duration and a size are.
";

#[test]
fn the_reference_of_log_and_sqlite_is_up_to_date() {
    let catalog = Catalog::new().store::<SqliteConfig>("sqlite").broker::<LogConfig, NoKeys>("log");
    let all = reference(&catalog);
    let sections = all.split("\n## ").filter(|section| {
        ["`[store.sqlite", "`[broker.NAME.log"].iter().any(|heading| section.starts_with(heading))
    });
    let sections = sections.map(|section| format!("\n## {}\n", section.trim_end()));
    let wanted = HEAD.to_owned() + &sections.collect::<String>();
    assert!(wanted.contains("`effect_limit`") && wanted.contains("`poll_max`"), "{wanted}");

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/config/embedded.md");
    if std::env::var_os("KEYLANE_BLESS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    assert!(
        found == wanted,
        "docs/config/embedded.md differs; run this test with KEYLANE_BLESS=1 and look at the change"
    );
}
