//! Which log may be read on.

use super::*;

fn bounds(low: u64, high: u64, identity: &'static str) -> Bounds {
    Bounds { low, high, identity: Some(Text::from_static(identity)), partitions: 1 }
}

#[test]
fn l2_an_order_holds_only_within_the_log() {
    let bounds = bounds(3, 9, "a");
    assert_eq!(ordered(ReadFrom::Earliest, &bounds).unwrap(), 3);
    assert_eq!(ordered(ReadFrom::Latest, &bounds).unwrap(), 9);
    for (offset, fine) in [(2, false), (3, true), (9, true), (10, false)] {
        assert_eq!(ordered(ReadFrom::Offset(offset), &bounds).is_ok(), fine, "{offset}");
    }
    let error = ordered(ReadFrom::Offset(10), &bounds).unwrap_err();
    assert!(error.to_string().contains("has 3 to 9"), "{error}");
}

#[test]
fn l2_a_log_that_changed_is_refused() {
    let position = Position { base: 10, identity: Some(Text::from_static("a")), ..Position::default() };
    for (found, fine) in [
        (bounds(0, 10, "a"), true),
        (bounds(10, 99, "a"), true),
        (bounds(0, 9, "a"), false),
        (bounds(11, 99, "a"), false),
        (bounds(0, 99, "b"), false),
    ] {
        assert_eq!(same_log(&position, &found).is_ok(), fine, "{found:?}");
    }
    let unknown = Bounds { identity: None, ..bounds(0, 99, "b") };
    assert!(same_log(&position, &unknown).is_ok(), "a broker that can't say is believed");
}
