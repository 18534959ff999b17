//! Batch handlers: items, their failures, and what then counts (rule C6).

use super::*;
use crate::store::Tx;

#[test]
fn items_come_in_order_with_what_is_known_of_each() {
    async fn all(batch: Batch<Paid>, _: BatchContext) -> Result<(), Failure> {
        let seen: Vec<_> = batch
            .iter()
            .map(|item| {
                (item.cents, item.attempt(), item.meta().id.to_text().to_string(), item.idempotency_key())
            })
            .collect();
        let wanted = |cents, at| (cents, 1, format!("e{at}"), format!("billing/e{at}"));
        assert_eq!(seen, [wanted(10, 0), wanted(20, 1)]);
        assert_eq!((batch.len(), batch.iter().next().map(|item| item.fencing_token())), (2, Some(7)));
        Ok(())
    }
    let routes = Routes::new().on_batch("order.paid", all);
    assert!(run(routes, call("order.paid", &[r#"{"cents": 10}"#, r#"{"cents": 20}"#])).is_done());
}

async fn refuse_odd(batch: Batch<u32>, mut fx: Effects<Notes>) -> Result<(), Failure> {
    fx.commit_with((), async |tx: Tx<Notes>, ()| tx.done());
    for item in &batch {
        if *item % 2 == 1 {
            batch.fail(item, Failure::new(format!("{} is odd", *item)));
            batch.fail(item.handle(), Failure::new("failed again"));
        }
        if *item > 100 {
            return Err(Failure::new("out of paper"));
        }
    }
    Ok(())
}

#[test]
fn c6_a_failed_item_is_named_once_and_takes_the_writes_along() {
    let outcome = run(Routes::new().all_batches(refuse_odd), call("any", &["2", "3", "4", "5"]));
    assert_eq!(failures(&outcome), [(1, "3 is odd".to_owned()), (3, "5 is odd".to_owned())]);
    assert!(outcome.effects.is_empty(), "C6: effects of a run with failures don't count");
}

#[test]
fn a_batch_without_failures_keeps_its_writes() {
    let outcome = run(Routes::new().all_batches(refuse_odd), call("any", &["2", "4"]));
    assert!(outcome.is_done());
    assert_eq!(outcome.effects.len(), 1);
}

#[test]
fn an_error_fails_all_items() {
    let outcome = run(Routes::new().all_batches(refuse_odd), call("any", &["3", "102"]));
    let all = [(0, "out of paper".to_owned()), (1, "out of paper".to_owned())];
    assert_eq!(failures(&outcome), all);
    assert!(outcome.effects.is_empty());
}

#[test]
fn items_that_can_t_be_decoded_are_blamed_alone() {
    async fn handler(_: Batch<u32>) {
        panic!("called")
    }
    let outcome = run(Routes::new().all_batches(handler), call("any", &["1", "x", "3"]));
    let blamed: Vec<_> = outcome.failures.iter().map(|(at, failure)| (*at, failure.class())).collect();
    assert_eq!(blamed, [(1, FailureClass::Undecodable)]);
}

#[test]
fn another_argument_that_fails_blames_all_items() {
    struct Never;
    impl<St> FromCall<St, BatchParts> for Never {
        fn from_call(_: &mut BatchParts, _: &St) -> Result<Self, Failure> {
            Err(Failure::new("never"))
        }
    }
    async fn handler(_: Batch<u32>, _: Never) {
        panic!("called")
    }
    let outcome = run(Routes::new().all_batches(handler), call("any", &["1", "3"]));
    assert_eq!(outcome.failures.len(), 2);
}

#[test]
fn a_single_event_is_a_batch_of_one() {
    let outcome = run(Routes::new().all_batches(refuse_odd), call("any", &["3"]));
    assert_eq!(failures(&outcome), [(0, "3 is odd".to_owned())]);
}
