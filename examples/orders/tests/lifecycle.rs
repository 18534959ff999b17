//! What a person meets: a run, the same folder again, and a folder that holds another workload.

use keylane_tests::process::Signal;

use crate::process::Scene;

const SHIPPED: &str = include_str!("../subscriptions.toml");

#[test]
fn a_run_ends_with_an_account_and_a_second_one_checks_it_again() {
    let scene = Scene::new(SHIPPED, &[]);
    let mut first = scene.start(&["--orders", "200", "--quiet"]);
    assert!(first.end().success(), "{}", first.said());
    assert!(first.said().contains("it adds up"), "{}", first.said());

    let mut again = scene.start(&[]);
    assert!(again.end().success(), "{}", again.said());
    assert!(again.said().contains("This run is over"), "{}", again.said());

    let mut other = scene.start(&["--orders", "300"]);
    assert!(!other.end().success());
    assert!(other.said().contains("--fresh"), "{}", other.said());

    let mut fresh = scene.start(&["--orders", "20", "--fresh", "--quiet"]);
    assert!(fresh.end().success(), "{}", fresh.said());
    assert!(!fresh.said().contains("over"), "{}", fresh.said());
}

#[test]
fn an_account_that_does_not_add_up_is_an_error() {
    let scene = Scene::new(SHIPPED, &[]);
    let mut publisher = scene.start(&["--orders", "50", "--role", "publish"]);
    assert!(publisher.end().success(), "{}", publisher.said());
    let mut account = scene.start(&["--role", "account"]);
    assert_eq!(account.end().code(), Some(1), "{}", account.said());
    assert!(account.said().contains("does not add up"), "{}", account.said());
}

#[test]
fn asked_to_stop_it_stops_in_order_and_goes_on_later() {
    let scene = Scene::new(SHIPPED, &[]);
    let mut orders = scene.start(&["--orders", "2000"]);
    assert!(orders.until(|| scene.traced() > 5_000), "{}", orders.said());
    orders.signal(Signal::TERM);
    assert!(orders.end().success(), "{}", orders.said());
    assert!(orders.said().contains("Stopped in order"), "{}", orders.said());
    let mut later = scene.start(&[]);
    assert!(later.end().success(), "{}", later.said());
    assert!(later.said().contains("it adds up"), "{}", later.said());
}
