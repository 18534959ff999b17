//! Plain events, rules and limits.

use bytes::Bytes;
use proptest::prelude::*;

use super::{dead, event};
use crate::env::Timestamp;
use crate::event::{Field, IdRule, KeyRule, KindRule, Limits, Record, Rules, fuzz};
use crate::store::Death;

fn field(text: &str) -> Field {
    text.parse().unwrap()
}

fn inside() -> Rules {
    Rules {
        id: "payload:/id".parse().unwrap(),
        key: "payload:/customer".parse().unwrap(),
        kind: "payload:/kind".parse().unwrap(),
        sequence: Some(field("payload:/version")),
        ..Rules::default()
    }
}

#[test]
fn a_plain_record_is_named_by_its_place_and_ordered_by_its_key() {
    let record = Record {
        time: Some(Timestamp::from_millis(5)),
        ..Record::new("body").with_key("k").with_header("colour", "red")
    };
    let envelope = event(Rules::default(), record.clone());
    assert_eq!(envelope.meta.id.to_string(), "orders/3/1871");
    assert_eq!(envelope.meta.key.as_deref(), Some(&b"k"[..]));
    assert_eq!(envelope.meta.kind, "");
    assert_eq!(envelope.meta.sequence, None);
    assert_eq!(envelope.meta.time, record.time);
    assert_eq!(envelope.payload, "body");
    assert_eq!(envelope.record(), record);
}

#[test]
fn a_brokers_own_id_names_the_event() {
    let record = Record { id: Some("m-1".into()), ..Record::new("") };
    assert_eq!(event(Rules::default(), record).meta.id.to_string(), "m-1");
}

#[test]
fn rules_find_facts_in_headers() {
    let rules = Rules {
        id: IdRule::Field(field("header:id")),
        key: KeyRule::Field(field("header:customer")),
        kind: KindRule::Field(field("header:kind")),
        sequence: Some(field("header:version")),
        ..Rules::default()
    };
    let record = Record { id: Some("not this".into()), ..Record::new("{").with_key("nor this") };
    let record = record.with_header("id", "e-1").with_header("customer", &b"\xFF"[..]);
    let record = record.with_header("kind", "order.paid").with_header("version", "007");
    let meta = event(rules, record).meta;
    assert_eq!((&*meta.id.to_string(), &*meta.kind), ("e-1", "order.paid"));
    assert_eq!((meta.key.as_deref(), meta.sequence), (Some(&b"\xFF"[..]), Some(7)));
}

#[test]
fn rules_find_facts_in_the_payload() {
    let record = Record::new(r#"{"lines":[[]],"id":42,"customer":"c-9","kind":"order.paid","version":3}"#);
    let meta = event(inside(), record).meta;
    assert_eq!((&*meta.id.to_string(), &*meta.kind), ("42", "order.paid"));
    assert_eq!((meta.key.as_deref(), meta.sequence), (Some(&b"c-9"[..]), Some(3)));
}

#[test]
fn only_the_id_must_be_there() {
    let meta = event(inside(), Record::new(r#"{"id":"e-1","customer":null}"#)).meta;
    assert_eq!((meta.key, &*meta.kind, meta.sequence), (None, "", None));
    for payload in ["{}", r#"{"id":null}"#, r#"{"id":""}"#] {
        let (envelope, death, why) = dead(inside(), Record::new(payload));
        assert_eq!(death, Death::Undecodable);
        assert_eq!(why, "no event id at `payload:/id`");
        assert_eq!(envelope.meta.id.to_string(), "orders/3/1871");
    }
}

#[test]
fn a_constant_kind() {
    let rules = Rules { kind: KindRule::Const("order.paid".into()), ..Rules::default() };
    assert_eq!(event(rules, Record::new("")).meta.kind, "order.paid");
}

#[test]
fn what_can_not_be_read_dies_with_what_could() {
    for (payload, why) in [
        (&b"not json"[..], "payload is no JSON"),
        (b"{\"customer\":\"c\",\"kind\":\"\xFF\"}", "no JSON"),
        (br#"{"customer":"c","id":{}}"#, "payload at `/id` is no text, number or boolean"),
        (br#"{"customer":"c","id":"1","version":1.5}"#, "`1.5`, no whole number"),
        (br#"{"customer":"c","id":"1","version":"+1"}"#, "`+1`, no whole number"),
        (br#"{"customer":"c","id":"1","version":99999999999999999999}"#, "no whole number"),
    ] {
        let (envelope, death, said) = dead(inside(), Record::new(payload).with_key("broker's"));
        assert_eq!(death, Death::Undecodable);
        assert!(said.contains(why), "{said}");
        if payload.starts_with(b"{\"customer\":\"c\",\"id\"") {
            assert_eq!(envelope.meta.key.as_deref(), Some(&b"c"[..]), "the key was read");
        }
    }
    let rules = Rules { id: "header:id".parse().unwrap(), ..Rules::default() };
    let (envelope, death, why) = dead(rules, Record::new("").with_key("k").with_header("id", &b"\xFF"[..]));
    assert_eq!((death, &*why), (Death::Undecodable, "`header:id` is not UTF-8"));
    assert_eq!(envelope.meta.key.as_deref(), Some(&b"k"[..]));
}

/// Each limit, by a record at it and a record over it.
#[test]
fn limits_hold_while_decoding() {
    let limits = Limits {
        payload_max: 300,
        headers_max: 3,
        header_bytes_max: 50,
        depth_max: 5,
        key_bytes_max: 6,
        id_bytes_max: 7,
    };
    let rules = Rules { limits, kind: "header:kind".parse().unwrap(), ..Rules::default() };
    let nested = |depth: usize| Bytes::from(format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
    let with_headers = |n: usize| (0..n).fold(Record::new(""), |record, _| record.with_header("h", "v"));
    let with_id = |n: usize| Record { id: Some("i".repeat(n).into()), ..Record::new("") };
    for (name, at, over) in [
        ("payload_max", Record::new(vec![b'x'; 300]), Record::new(vec![b'x'; 301])),
        ("headers_max", with_headers(3), with_headers(4)),
        (
            "header_bytes_max",
            Record::new("").with_header("h", vec![0; 49]),
            Record::new("").with_header("h", vec![0; 50]),
        ),
        ("depth_max", Record::new(nested(5)), Record::new(nested(6))),
        ("key_bytes_max", Record::new("").with_key(vec![0; 6]), Record::new("").with_key(vec![0; 7])),
        ("id_bytes_max", with_id(7), with_id(8)),
        (
            "id_bytes_max",
            Record::new("").with_header("kind", "1234567"),
            Record::new("").with_header("kind", "12345678"),
        ),
    ] {
        event(rules.clone(), at);
        let (envelope, death, why) = dead(rules.clone(), over);
        assert_eq!(death, Death::OverLimit, "{name}");
        assert!(why.contains(name), "{name}: {why}");
        assert_eq!(envelope.meta.id.to_string(), "orders/3/1871");
    }
}

#[test]
fn hostile_records_die_with_their_raw_bytes() {
    let deep = "[".repeat(1_000_000);
    let objects = r#"{"id":"#.repeat(100_000);
    let many = (0..100_000).fold(Record::new("x"), |record, _| record.with_header("", ""));
    for (record, death) in [
        (Record::new(deep), Death::OverLimit),
        (Record::new(objects), Death::OverLimit),
        (Record::new(vec![0; 2 * 1024 * 1024]), Death::OverLimit),
        (many, Death::OverLimit),
        (Record::new("x").with_key(vec![7; 1_000_000]), Death::OverLimit),
        (Record::new(format!(r#"{{"id":"{}"}}"#, "9".repeat(500_000))), Death::OverLimit),
    ] {
        for rules in [inside(), Rules { key: KeyRule::Broker, ..inside() }] {
            // The giant key counts only where it is the key.
            if record.key.is_some() && rules.key != KeyRule::Broker {
                continue;
            }
            assert_eq!(dead(rules, record.clone()).1, death);
        }
    }
}

#[test]
fn a_dead_letter_shows_key_and_kind_where_they_stand_outside_the_payload() {
    let rules = Rules { kind: "header:kind".parse().unwrap(), ..Rules::default() };
    let record = Record::new("[".repeat(1000)).with_key("k").with_header("kind", "order.paid");
    let (envelope, ..) = dead(rules, record);
    assert_eq!((envelope.meta.key.as_deref(), &*envelope.meta.kind), (Some(&b"k"[..]), "order.paid"));
}

/// The buffers are shared already, as an adapter hands them over: finding the facts allocates nothing.
#[test]
fn a_plain_record_is_decoded_without_an_allocation() {
    let buffer = Bytes::from(vec![b'a'; 210]);
    let record = Record::new(buffer.slice(10..)).with_key(buffer.slice(..10));
    let decoder = crate::event::Decoder::new(Rules::default(), "billing".into(), "orders".into());
    let mut decoded = None;
    let spent = allocation_counter::measure(|| decoded = Some(decoder.decode(record, super::PLACE)));
    assert_eq!(spent.count_total, 0);
    drop(decoded);
}

/// What a rule points past is not kept: memory does not follow the payload.
#[test]
fn looking_into_a_payload_keeps_only_what_was_looked_for() {
    let items = r#"{"some":"thing \n else","n":[1,2,3]},"#.repeat(20_000);
    let payload = format!(r#"{{"items":[{items}0],"id":"e-1"}}"#);
    let decoder = crate::event::Decoder::new(inside(), "billing".into(), "orders".into());
    let record = Record::new(payload);
    let spent = allocation_counter::measure(|| drop(decoder.decode(record, super::PLACE)));
    assert!(spent.bytes_max < 4096, "{spent:?}");
}

proptest! {
    #[test]
    fn no_bytes_panic_or_lose_their_record(bytes: Vec<u8>, key: Option<Vec<u8>>) {
        fuzz::decode(&bytes);
        let record = Record { key: key.map(Bytes::from), ..Record::new(bytes) };
        fuzz::decode(&record.to_bytes());
    }

    #[test]
    fn no_text_like_json_panics(text in r#"[\[\]{}:,"\\a-c0-9 ]{0,60}"#) {
        fuzz::decode(text.as_bytes());
        fuzz::decode(format!(r#"{{"id":{text}}}"#).as_bytes());
    }
}
