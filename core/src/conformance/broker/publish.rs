//! Writing.

use std::collections::BTreeMap;

use super::Harness;
use super::member::{text, texts};
use super::stage::{Stage, cuts, numbered};
use crate::broker::Outgoing;
use crate::conformance::skipped;
use crate::event::Record;

/// A result per record, in order; what was confirmed is there to be read.
pub async fn publish_confirms_each<H: Harness>(harness: &H) {
    let stage = Stage::new(harness, 2).await;
    let records = (0..50).map(|number| Record::new(format!("record {number}")).with_key(format!("{number}")));
    let receipts = stage.publish(records.collect()).await;
    assert_eq!(receipts.len(), 50);
    assert_eq!(stage.publish(Vec::new()).await, []);
    let mut member = stage.join("g").await;
    let taken = member.take(50).await;
    let places: BTreeMap<String, _> = taken.iter().map(|delivery| (text(delivery), delivery.place)).collect();
    for (receipt, published) in receipts.iter().zip(numbered(0..50)) {
        let place = places.get(&published).expect("what was confirmed is there");
        assert!(receipt.partition.is_none_or(|partition| partition == place.partition), "{published}");
        assert!(receipt.offset.is_none_or(|offset| offset == place.offset), "{published}");
    }

    let Some(faults) = cuts(harness, "publish_confirms_each with the broker away") else { return };
    faults.cut().await;
    let lost = stage.try_publish(vec![Record::new("away"), Record::new("away too")]);
    let lost = harness.env().timeout("a publish", harness.patience(), lost).await;
    faults.mend().await;
    let lost = lost.expect("publishing ends, also with the broker away");
    assert!(
        lost.len() == 2 && lost.iter().all(Result::is_err),
        "confirmed by a broker that is away: {lost:?}"
    );
}

/// Records of one key are read in the order of publication, within a call and from call to call.
pub async fn publish_keeps_key_order<H: Harness>(harness: &H) {
    let stage = Stage::new(harness, 3).await;
    let record =
        |number: usize| Record::new(format!("record {number}")).with_key(format!("key {}", number % 5));
    let publisher = stage.broker.publisher().await.expect("a publisher is made");
    for batch in 0..6 {
        let target = |record| Outgoing { target: stage.source.clone(), record };
        let records = (batch * 25..batch * 25 + 25).map(record).map(target).collect();
        let results = publisher.publish(records).await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
    }
    publisher.close().await;
    publisher.close().await;
    let mut member = stage.join("g").await;
    let taken = member.take(150).await;
    if !member.can.ordered {
        return skipped("the order of a key", "the broker keeps none");
    }
    for key in 0..5 {
        let name = format!("key {key}");
        let of_key = taken.iter().filter(|delivery| delivery.record.key.as_deref() == Some(name.as_bytes()));
        let expected: Vec<String> = (key..150).step_by(5).map(|number| format!("record {number}")).collect();
        assert_eq!(of_key.map(text).collect::<Vec<_>>(), expected, "{name}");
    }
}

/// An unroutable record is an error that names the target; the others of the call are taken.
pub async fn publish_to_missing_target_fails<H: Harness>(harness: &H) {
    let stage = Stage::new(harness, 1).await;
    let missing = format!("{}-missing", stage.source);
    let to = |target: &str, text: &str| Outgoing {
        target: target.to_owned(),
        record: Record::new(text.to_owned()),
    };
    let batch = vec![to(&stage.source, "before"), to(&missing, "nowhere"), to(&stage.source, "after")];
    let publisher = stage.broker.publisher().await.expect("a publisher is made");
    let results = harness.env().timeout("a publish", harness.patience(), publisher.publish(batch)).await;
    let results = results.expect("publishing to a missing target ends");
    publisher.close().await;
    let [Ok(_), Err(error), Ok(_)] = &results[..] else { panic!("{results:?}") };
    assert!(error.to_string().contains(&missing), "the error names the target: {error}");
    let mut member = stage.join("g").await;
    let mut taken = texts(&member.take(2).await);
    taken.sort();
    assert_eq!(taken, ["after", "before"]);
}

/// One record over the broker's limit fails by itself.
pub async fn publish_too_large_fails_alone<H: Harness>(harness: &H) {
    let Some(size) = harness.too_large() else {
        return skipped("publish_too_large_fails_alone", "the harness names no size that is refused");
    };
    let stage = Stage::new(harness, 1).await;
    let keyed = |payload: Vec<u8>| Record::new(payload).with_key("one");
    let batch = vec![keyed(b"before".to_vec()), keyed(vec![b'x'; size]), keyed(b"after".to_vec())];
    let results = stage.try_publish(batch).await;
    let [Ok(_), Err(error), Ok(_)] = &results[..] else { panic!("{results:?}") };
    assert!(!error.is_transient(), "it will be too large again: {error}");
    let mut member = stage.join("g").await;
    let mut taken = texts(&member.take(2).await);
    if !member.can.ordered {
        taken.sort_by(|one, other| other.cmp(one));
    }
    assert_eq!(taken, ["before", "after"]);
}
