//! No bullet without a check, no check without a bullet: held by reading the sources.

/// The names of a trait file's bullets, in order: "- `name`: …" or "- `one`, `two`: …".
fn bullets(source: &str) -> Vec<String> {
    let lines = source.lines().filter_map(|line| line.strip_prefix("/// - `"));
    let heads = lines.filter_map(|line| line.split_once("`:").map(|(names, _)| names));
    heads.flat_map(|names| names.split("`, `")).map(str::to_owned).collect()
}

/// The names of the checks that the suite's macro makes tests of.
fn listed(source: &str) -> Vec<String> {
    let (_, list) = source.split_once("@each $harness;").expect("the suite's macro has its list");
    let (list, _) = list.split_once('}').expect("the list ends");
    list.split_whitespace().map(str::to_owned).collect()
}

/// The names of the public checks that a suite's files define.
fn defined(sources: &[&str]) -> Vec<String> {
    let lines = sources.iter().flat_map(|source| source.lines());
    let names = lines.filter_map(|line| line.strip_prefix("pub async fn ")?.split_once('<'));
    names.map(|(name, _)| name.to_owned()).collect()
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[test]
fn every_bullet_of_the_store_has_a_check() {
    let suite = listed(include_str!("store/mod.rs"));
    assert_eq!(bullets(include_str!("../store/mod.rs")), suite, "the trait's bullets and the suite's list");
    let checks = defined(&[
        include_str!("store/admit.rs"),
        include_str!("store/claims.rs"),
        include_str!("store/commit.rs"),
        include_str!("store/commit_failures.rs"),
        include_str!("store/commit_time.rs"),
        include_str!("store/leases.rs"),
        include_str!("store/leases_kept.rs"),
        include_str!("store/leases_waiting.rs"),
        include_str!("store/operators.rs"),
        include_str!("store/own.rs"),
        include_str!("store/reposition.rs"),
        include_str!("store/resolve.rs"),
        include_str!("store/sessions.rs"),
    ]);
    assert_eq!(sorted(checks), sorted(suite), "the checks that are written and the suite's list");
}

#[test]
fn every_bullet_of_the_broker_has_a_check() {
    let traits = [
        include_str!("../broker/mod.rs"),
        include_str!("../broker/consumer.rs"),
        include_str!("../broker/publisher.rs"),
    ];
    let suite = listed(include_str!("broker/mod.rs"));
    let bullets: Vec<String> = traits.into_iter().flat_map(bullets).collect();
    assert_eq!(bullets, suite, "the traits' bullets and the suite's list");
    let checks = defined(&[
        include_str!("broker/assignment.rs"),
        include_str!("broker/connect.rs"),
        include_str!("broker/delivery.rs"),
        include_str!("broker/each.rs"),
        include_str!("broker/publish.rs"),
        include_str!("broker/reading.rs"),
        include_str!("broker/settle.rs"),
    ]);
    assert_eq!(sorted(checks), sorted(suite), "the checks that are written and the suite's list");
}

#[test]
fn bullets_are_read_with_all_their_names() {
    let source =
        "/// - `one`: text\n/// - `two`, `three`: `code` in: text\n/// - no name: text\n//! - `four`: text";
    assert_eq!(bullets(source), ["one", "two", "three"]);
}
