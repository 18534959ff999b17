//! CloudEvents 1.0, binary and structured.

use proptest::prelude::*;

use super::{dead, event};
use crate::config::Format;
use crate::event::{IdRule, Record, Rules, fuzz};
use crate::store::Death;

const STRUCTURED: &str = "application/cloudevents+json; charset=UTF-8";

fn binary(prefix: &str) -> Record {
    let attributes = [
        ("specversion", "1.0"),
        ("id", "A234-1234"),
        ("source", "/shop"),
        ("type", "order.paid"),
        ("sequence", "3"),
    ];
    attributes.iter().fold(Record::new("<xml/>").with_key("k"), |record, (name, value)| {
        record.with_header(format!("{prefix}{name}"), *value)
    })
}

fn structured(members: &str) -> Record {
    let required = r#""specversion":"1.0","id":"A234-1234","source":"/shop","type":"order.paid""#;
    Record::new(format!("{{{required},{members}}}")).with_header("content-type", STRUCTURED)
}

#[test]
fn the_binary_mode_under_every_prefix() {
    for prefix in ["ce_", "ce-", "Ce-", "cloudEvents:", "cloudEvents_"] {
        let rules = Rules { sequence: Some("header:Ce-sequence".parse().unwrap()), ..Rules::default() };
        let record = binary(prefix).with_header(format!("{prefix}time"), "2018-04-05T17:31:00.5+02:00");
        let envelope = event(rules, record);
        assert_eq!(envelope.meta.id.to_string(), "A234-1234 /shop");
        assert_eq!(envelope.meta.kind, "order.paid");
        assert_eq!(envelope.meta.time.unwrap().to_string(), "2018-04-05T15:31:00.5Z");
        assert_eq!(envelope.meta.key.as_deref(), Some(&b"k"[..]));
        // A header is a header: only the exact name is read from it.
        assert_eq!(envelope.meta.sequence, (prefix == "Ce-").then_some(3));
        assert_eq!(envelope.payload, "<xml/>");
    }
}

/// The examples of the specification's JSON format, and of its rules on `data`.
#[test]
fn the_structured_modes_payload_is_its_data() {
    for (members, payload) in [
        (r#""data":{"a": [1, "x"]}"#, r#"{"a": [1, "x"]}"#),
        (r#""datacontenttype":"application/json","data":"text""#, r#""text""#),
        (r#""datacontenttype":"application/vnd.shop+json; v=1","data":null"#, "null"),
        (r#""datacontenttype":"text/xml","data":"<much wow=\"xml\"/>""#, r#"<much wow="xml"/>"#),
        (r#""datacontenttype":"text/plain","data":42"#, "42"),
        (r#""datacontenttype":"application/vnd.x","data_base64":"AAECAw==""#, "\0\u{1}\u{2}\u{3}"),
        (r#""data":1,"data_base64":null"#, "1"),
        (r#""comexampleextension1":"value","othervalue":5"#, ""),
    ] {
        let envelope = event(Rules::default(), structured(members));
        assert_eq!(envelope.payload, payload, "{members}");
        assert_eq!(envelope.meta.id.to_string(), "A234-1234 /shop");
        assert_eq!(envelope.meta.kind, "order.paid");
        assert!(envelope.body.starts_with(b"{\"specversion\""));
    }
}

#[test]
fn structured_data_shares_the_body() {
    let envelope = event(Rules::default(), structured(r#""data":{"a":1}"#));
    assert_eq!(
        envelope.payload.as_ptr_range().end,
        envelope.body[..envelope.body.len() - 1].as_ptr_range().end
    );
}

#[test]
fn rules_reach_attributes_and_data_of_a_structured_event() {
    let rules = Rules {
        id: "header:ce_id".parse().unwrap(),
        key: "header:ce_partitionkey".parse().unwrap(),
        sequence: Some("header:ce_sequence".parse().unwrap()),
        kind: "payload:/kind".parse().unwrap(),
        ..Rules::default()
    };
    let members = r#""data":{"kind":"inner","sequence":9},"sequence":"00000007","partitionkey":"\u0063-1""#;
    let meta = event(rules, structured(members)).meta;
    assert_eq!((&*meta.id.to_string(), &*meta.kind), ("A234-1234", "inner"));
    assert_eq!((meta.key.as_deref(), meta.sequence), (Some(&b"c-1"[..]), Some(7)));
}

/// Source and id are unique together only; no two pairs may be taken for one event.
#[test]
fn l4_events_of_two_sources_are_two_events() {
    let of = |id: &str, source: &str| {
        let record = Record::new("").with_header("ce_specversion", "1.0").with_header("ce_type", "t");
        let record = record.with_header("ce_id", id.to_owned()).with_header("ce_source", source.to_owned());
        event(Rules::default(), record).meta.id
    };
    assert_ne!(of("1", "/a"), of("1", "/b"));
    assert_ne!(of("1 /a", "/b"), of("1", "/b"));
    assert_ne!(of("1 /a", "/b"), of("1", "/a"));
}

#[test]
fn a_binary_event_without_what_is_required_dies() {
    for (leave_out, name) in [
        ("ce_id", "`id`"),
        ("ce_source", "`source`"),
        ("ce_type", "`type`"),
        ("ce_specversion", "`specversion`"),
    ] {
        for emptied in [false, true] {
            let mut record = binary("ce_");
            record.headers.remove(leave_out);
            if emptied {
                record = record.with_header(leave_out, "");
            }
            let (envelope, death, why) = dead(Rules::default(), record);
            assert_eq!(death, Death::Undecodable);
            assert!(why.contains(name) || (emptied && why.contains("specversion")), "{why}");
            assert_eq!(envelope.meta.key.as_deref(), Some(&b"k"[..]));
            assert_eq!(envelope.meta.id.to_string(), "orders/3/1871");
            assert_eq!(envelope.meta.kind, if leave_out == "ce_type" { "" } else { "order.paid" });
        }
    }
}

#[test]
fn attributes_that_are_wrong() {
    for (name, value, why) in [
        ("ce_specversion", &b"0.3"[..], "`0.3`; send `1.0`"),
        ("ce_source", b"/two words", "no URI reference"),
        ("ce_time", b"yesterday", "no RFC 3339 time"),
        ("ce_id", b"\xFF", "header `ce_id` is not UTF-8"),
        ("content-type", b"application/cloudevents-batch+json", "is not supported"),
        ("content-type", b"Application/CloudEvents+avro", "is not supported"),
    ] {
        let mut record = binary("ce_");
        record.headers.set(&name.into(), value.into());
        let (_, death, said) = dead(Rules::default(), record);
        assert_eq!(death, Death::Undecodable);
        assert!(said.contains(why), "{said}");
    }
    let mut long = binary("ce_");
    long.headers.set(&"ce_source".into(), vec![b's'; 600].into());
    assert_eq!(dead(Rules::default(), long).1, Death::OverLimit);
}

#[test]
fn a_structured_event_that_is_wrong() {
    for (members, why) in [
        (r#""data":1,"data":2"#, "stands twice"),
        (r#""id":"B","data":1"#, "stands twice"),
        (r#""data":1,"data_base64":"AA==""#, "both"),
        (r#""data_base64":"not base64""#, "no base64"),
        (r#""data_base64":12"#, "no base64"),
        (r#""time":"2018""#, "no RFC 3339 time"),
        (r#""time":{}"#, "is no text"),
        (r#""data":[1,}"#, "no structured CloudEvent"),
    ] {
        let (_, death, said) = dead(Rules::default(), structured(members));
        assert_eq!(death, Death::Undecodable);
        assert!(said.contains(why), "{members}: {said}");
    }
    for (body, why) in [("", "no JSON object"), ("[1]", "no JSON object"), ("{}", "`specversion` is missing")]
    {
        let record = Record::new(body).with_header("Content-Type", STRUCTURED);
        let (_, _, said) = dead(Rules::default(), record);
        assert!(said.contains(why), "{body}: {said}");
    }
}

#[test]
fn a_structured_event_is_as_deep_as_its_body() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    event(Rules::default(), structured(&format!(r#""data":{}"#, nested(63))));
    let (_, death, _) = dead(Rules::default(), structured(&format!(r#""data":{}"#, nested(64))));
    assert_eq!(death, Death::OverLimit);
    let hidden = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, nested(65));
    let (_, death, _) = dead(Rules::default(), structured(&format!(r#""data_base64":"{hidden}""#)));
    assert_eq!(death, Death::OverLimit);
}

#[test]
fn the_format_decides_what_headers_mean() {
    let mut bare = binary("ce_");
    bare.headers.remove("ce_specversion");
    let own = |format| Rules {
        format,
        id: "header:ce_id".parse().unwrap(),
        kind: "header:ce_type".parse().unwrap(),
        ..Rules::default()
    };
    // Rules that name headers need no CloudEvent around them.
    assert_eq!(event(own(Format::Auto), bare.clone()).meta.id.to_string(), "A234-1234");
    assert_eq!(dead(own(Format::Cloudevents), bare.clone()).1, Death::Undecodable);
    let plain = Rules { format: Format::Plain, ..Rules::default() };
    for record in [bare, structured(r#""data":1"#)] {
        let envelope = event(plain.clone(), record);
        assert_eq!((&*envelope.meta.id.to_string(), &*envelope.meta.kind), ("orders/3/1871", ""));
        assert_eq!(envelope.payload, envelope.body);
    }
    let only = Rules { format: Format::Cloudevents, ..Rules::default() };
    assert_eq!(dead(only.clone(), Record::new("x")).2.split(';').next(), Some("record is no CloudEvent"));
    event(only.clone(), binary("ce_"));
    event(only, structured(r#""data":1"#));
}

#[test]
fn the_brokers_id_may_stand_above_a_cloudevents() {
    let rules = Rules { id: IdRule::Broker, ..Rules::default() };
    for record in [binary("ce_"), structured(r#""data":1"#)] {
        assert_eq!(event(rules.clone(), record.clone()).meta.id.to_string(), "orders/3/1871");
        let record = Record { id: Some("m-1".into()), ..record };
        assert_eq!(event(rules.clone(), record).meta.id.to_string(), "m-1");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_or_lose_their_record(bytes: Vec<u8>) {
        fuzz::cloudevents(&bytes);
    }

    #[test]
    fn no_members_panic(
        members in proptest::collection::vec((
            prop::sample::select(&["specversion", "id", "source", "type", "time", "data", "data_base64", "sequence", "x"][..]),
            prop::sample::select(&["\"1.0\"", "\"/s\"", "null", "{}", "[1]", "\"\\ud800\"", "5", "true", "\"AA==\"", "\"2020-01-01T00:00:00Z\""][..]),
        ), 0..9),
    ) {
        let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        fuzz::cloudevents(format!("{{{}}}", members.join(",")).as_bytes());
        fuzz::cloudevents(members.join("\n").as_bytes());
    }
}
