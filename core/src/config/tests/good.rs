//! What is read from sound files.

use super::*;
use crate::broker::Reset;

#[test]
fn the_least_that_works_has_defaults_for_everything_else() {
    let config = parse(LEAST).unwrap();
    assert_eq!(config.runtime, RuntimeConfig::default());
    assert_eq!(config.store.kind, "memory");
    assert_eq!(config.brokers["main"].kind, "log");
    let billing = &config.subscriptions["billing"];
    assert_eq!((billing.broker.as_str(), billing.group()), ("main", "billing"));
    assert_eq!(billing.config, SubscriptionConfig { source: "orders".into(), ..Default::default() });
    assert_eq!((billing.config.messages_max(), billing.config.per_key_max()), (8192, 4096));
}

#[test]
fn every_key_reaches_its_component() {
    let config = parse(
        r#"
        [runtime]
        shards = 2
        session = "10s"
        [store.files]
        path = "a.db"
        [broker.main.server]
        hosts = ["${HOST}", "127.0.0.1:9092"]
        password = "${PASSWORD}"
        timeout = "1m30s"
        connections = 8
        [subscription.billing]
        source = "orders"
        group = "g"
        concurrency = 2000
        start = "2026-01-31T12:00:00Z"
        unknown_kind = "skip"
        lock = "local"
        ahead = true
        timeout = "5s"
        event = { id = "header:id", key = "payload:/k", kind = "const:paid", sequence = "payload:/n", format = "plain" }
        ledger = { mode = "position", keep = "30d" }
        retry = { attempts_max = 3, delay = "1s", delay_max = "2s", in_lane_max = "3s", on_exhausted = "stop", crashes_max = 1 }
        limits = { payload_max = "2MiB", headers_max = 1, header_bytes_max = "1KiB", depth_max = 2, key_bytes_max = "3B", id_bytes_max = "4B" }
        budget = { messages_max = 5000, bytes_max = "1GiB", per_key_max = 7, waiting_max = 9, waiting_bytes_max = "2GiB" }
        server.fetch_max = "5MiB"
        "#,
    )
    .unwrap();
    assert_eq!((config.runtime.shards.map(u16::from), config.runtime.session), (Some(2), Period::secs(10)));
    let server = config.brokers["main"].section.read::<Server>().unwrap();
    assert_eq!(server.hosts, ["example.org:9092", "127.0.0.1:9092"]);
    assert_eq!(server.password.unwrap().expose(), "hunter2");
    let billing = &config.subscriptions["billing"];
    assert_eq!(billing.adapter.read::<Fetch>().unwrap().fetch_max, Size::mib(5));
    assert_eq!(
        billing.config.start,
        Start(Reset::Time(crate::env::Timestamp::from_millis(1_769_860_800_000)))
    );
    insta::assert_snapshot!(serde_json::to_string(&billing.config).unwrap(), @r#"{"broker":null,"source":"orders","group":"g","concurrency":2000,"start":"2026-01-31T12:00:00Z","unknown_kind":"skip","lock":"local","ahead":true,"timeout":"5s","event":{"format":"plain","id":"header:id","key":"payload:/k","kind":"const:paid","sequence":"payload:/n"},"ledger":{"mode":"position","keep":"30d"},"retry":{"attempts_max":3,"delay":"1s","delay_max":"2s","in_lane_max":"3s","on_exhausted":"stop","crashes_max":1},"limits":{"payload_max":"2MiB","headers_max":1,"header_bytes_max":"1KiB","depth_max":2,"key_bytes_max":"3B","id_bytes_max":"4B"},"budget":{"messages_max":5000,"bytes_max":"1GiB","per_key_max":7,"waiting_max":9,"waiting_bytes_max":"2GiB"}}"#);
}

#[test]
fn interpolation_happens_inside_text_only() {
    let config = parse("[store.files]\npath = 'a$b $${HOST} ${HOST}$'\n[broker.main.log]\n").unwrap();
    assert_eq!(config.store.section.read::<Files>().unwrap().path, "a$b ${HOST} example.org:9092$");
}

#[test]
fn files_are_read_without_their_last_line_break() {
    let env = |_: &str| None;
    let file = |path: &std::path::Path| Ok(format!("<{}>\r\n", path.display()));
    let source = Source::text("t", "[store.files]\npath = '${file:/run/db} x'\n[broker.main.log]\n");
    let config = Config::parse_with(source, &catalog(), &Lookup { env: &env, file: &file }).unwrap();
    assert_eq!(config.store.section.read::<Files>().unwrap().path, "</run/db> x");
}

#[test]
fn only_small_regular_files_are_read() {
    let large = std::env::temp_dir().join(format!("keylane-large-{}", std::process::id()));
    std::fs::write(&large, vec![b'x'; (64 << 10) + 1]).unwrap();
    let error = |path: &str| interpolate::read_file(path.as_ref()).unwrap_err().to_string();
    let refused = [error("/dev/null"), error(env!("CARGO_MANIFEST_DIR")), error(large.to_str().unwrap())];
    std::fs::remove_file(&large).unwrap();
    assert_eq!(refused, ["not a regular file", "not a regular file", "larger than 64KiB"]);
    assert!(interpolate::read_file(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").as_ref()).is_ok());
}

#[test]
fn defaults_hold_where_a_subscription_does_not_say_otherwise() {
    let config = parse(
        r#"
        [store.memory]
        [broker.a.log]
        [broker.b.server]
        [defaults]
        broker = "a"
        concurrency = 8
        retry = { attempts_max = 3, on_exhausted = "skip" }
        server = { fetch_max = "3B" }
        [subscription.one]
        source = "s"
        [subscription.two]
        source = "s"
        broker = "b"
        concurrency = 9
        retry.on_exhausted = "stop"
        "#,
    )
    .unwrap();
    let (one, two) = (&config.subscriptions["one"], &config.subscriptions["two"]);
    assert_eq!((one.broker.as_str(), one.config.concurrency), ("a", 8));
    assert_eq!((two.broker.as_str(), two.config.concurrency), ("b", 9));
    assert_eq!((one.config.retry.attempts_max, one.config.retry.on_exhausted), (3, Some(OnExhausted::Skip)));
    assert_eq!((two.config.retry.attempts_max, two.config.retry.on_exhausted), (3, Some(OnExhausted::Stop)));
    assert_eq!(two.adapter.read::<Fetch>().unwrap().fetch_max, Size::b(3));
}

#[test]
fn a_section_of_text_reads_like_one_of_a_file() {
    assert_eq!(
        Section::parse("fetch_max = '1KiB'").unwrap().read::<Fetch>().unwrap().fetch_max,
        Size::kib(1)
    );
    assert_eq!(Section::default().read::<Fetch>().unwrap().fetch_max, Size::b(0));
    insta::assert_snapshot!(Section::parse("fetch = '1KiB'").unwrap().read::<Fetch>().unwrap_err(), @"2 problems in text, the first: text:1:1: fetch: unknown key; did you mean `fetch_max`?");
}

#[test]
fn all_defaults_lie_within_their_ranges() {
    fn faults(path: &str, table: &serde_json::Value) -> Vec<String> {
        let mut found = Vec::new();
        for (key, schema) in schema::keys(table) {
            let path = format!("{path}.{key}");
            found.extend(faults(&path, schema));
            let Some(default) = schema.get("default") else { continue };
            let value = match default {
                serde_json::Value::String(text) => node::Value::Text(text.clone()),
                serde_json::Value::Number(number) => node::Value::Integer(number.as_i64().unwrap()),
                serde_json::Value::Bool(value) => node::Value::Boolean(*value),
                _ => continue,
            };
            found.extend(fits::fault(&value, schema).map(|what| format!("{path} {what}")));
        }
        found
    }
    let mut found = faults("runtime", &component::schema_of::<RuntimeConfig>());
    found.extend(faults("subscription", &component::schema_of::<SubscriptionConfig>()));
    assert_eq!(found, [] as [String; 0]);
}
