//! Whole files: what is read from them, and what is said about bad ones.

use proptest::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::*;
use crate::broker::Reset;
use crate::error::ErrorKind;

/// Stands for an embedded store.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["path"]))]
struct Files {
    /// Where the database lies.
    path: String,
}

/// Stands for a server.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Server {
    /// Where it is.
    hosts: Vec<String>,
    /// Its password.
    password: Option<Secret>,
    /// How long a call may take.
    timeout: Period,
    /// How many connections.
    #[schemars(range(min = 1, max = 8))]
    connections: u32,
}

/// Stands for an adapter's keys of a subscription.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["fetch_max"]))]
struct Fetch {
    /// How much at once.
    fetch_max: Size,
}

impl Component for Files {}

impl Component for Server {
    fn check(&self, found: &mut Findings) {
        if let Some(host) = self.hosts.iter().find(|host| !host.contains(':')) {
            found.wrong("hosts", format!("`{host}` has no port; write it as `host:9092`"));
        }
    }
}

impl Component for Fetch {}

fn catalog() -> Catalog {
    Catalog::new()
        .store::<Files>("files")
        .store::<NoKeys>("memory")
        .broker::<NoKeys, NoKeys>("log")
        .broker::<Server, Fetch>("server")
}

fn parse(text: &str) -> Result<Config, Error> {
    let env = |name: &str| match name {
        "PASSWORD" => Some("hunter2".to_owned()),
        "HOST" => Some("example.org:9092".to_owned()),
        "BARE_HOST" => Some("sesame".to_owned()),
        _ => None,
    };
    Config::parse(Source::text("orders.toml", text), &catalog(), &env)
}

/// What `main` would print.
fn report(text: &str) -> String {
    let error = parse(text).expect_err("the configuration is bad");
    assert_eq!(error.kind(), ErrorKind::Config);
    format!("{error:?}")
}

const LEAST: &str = "
[store.memory]
[broker.main.log]
[subscription.billing]
source = 'orders'
";

#[test]
fn the_least_that_works_has_defaults_for_everything_else() {
    let config = parse(LEAST).unwrap();
    assert_eq!(config.runtime, RuntimeConfig::default());
    assert_eq!(config.store.kind, "memory");
    assert_eq!(config.brokers["main"].kind, "log");
    let billing = &config.subscriptions["billing"];
    assert_eq!((billing.broker.as_str(), billing.group()), ("main", "billing"));
    assert_eq!(billing.config, SubscriptionConfig { source: "orders".into(), ..Default::default() });
    assert_eq!((billing.config.messages_max(), billing.config.per_key_max()), (1024, 512));
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
        budget = { messages_max = 5000, bytes_max = "1GiB", per_key_max = 7 }
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
    insta::assert_debug_snapshot!(billing.config);
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    insta::assert_snapshot!(report(
        r#"
[runtime]
shards = 0
sesion = "15s"
session = 15
handover_max = "1s"

[store.file]
path = "a.db"

[broker.main.server]
hosts = ["127.0.0.1"]
connections = "${PASSWORD}"
timeout = "5 minutes"
passwort = "open"

[broker."a b".log]

[subscription.billing]
broker = "man"
concurrency = "64"
attempts_max = 3
start = 2026-01-31T12:00:00Z

[subscription.billing.retry]
on_exhausted = "hold"
delay_max = "10m"

[subscription.mails]
broker = "main"
source = ""
unknown_kind = "ignore"
ledger = { mode = "ids", keep = "1s" }
event.kind = "broker"
event.sequence = "version"

[subscription.mails.log]

[subscription.mails.circuit]
window = "30s"
"#
    ), @r#"
    22 problems in orders.toml
      orders.toml:3:10: runtime.shards: is 0; write 1 to 1024
      orders.toml:4:1: runtime.sesion: unknown key; did you mean `session`?
      orders.toml:5:11: runtime.session: wants a duration such as "30s", not a whole number
      orders.toml:8:8: store.file: unknown store kind; did you mean `files`?
      orders.toml:13:15: broker.main.server.connections: wants a whole number, not text; `${…}` gives text and serves only where text is wanted
      orders.toml:14:11: broker.main.server.timeout: `5 minutes` is not a duration; write whole numbers with the units d, h, m, s, ms, us or ns, largest first, such as "250ms" or "1h30m"
      orders.toml:15:1: broker.main.server.passwort: unknown key; did you mean `password`?
      orders.toml:17:9: broker."a b": can't be a name; write 1 to 100 ASCII letters, digits, `-`, `_` and `.`
      orders.toml:19:1: subscription.billing.source: is missing; it has no default
      orders.toml:20:10: subscription.billing.broker: there is no broker `man`; did you mean `main`?
      orders.toml:21:15: subscription.billing.concurrency: wants a whole number, not text; leave out the quotes
      orders.toml:22:1: subscription.billing.attempts_max: unknown key; it belongs one table down: `retry.attempts_max`
      orders.toml:23:9: subscription.billing.start: wants text in quotes, not a date without quotes
      orders.toml:26:16: subscription.billing.retry.on_exhausted: `hold` is not there yet: holding the key's later events back needs the parking table; write `skip` or `stop`
      orders.toml:29:1: subscription.mails.server.fetch_max: is missing; it has no default
      orders.toml:31:10: subscription.mails.source: is empty; write it or leave the key out
      orders.toml:32:16: subscription.mails.unknown_kind: `ignore` is not known; write `dead` or `skip`
      orders.toml:33:19: subscription.mails.ledger.mode: `ids` is not known; did you mean `id`?
      orders.toml:33:33: subscription.mails.ledger.keep: is 1s; write 1m to 3650d
      orders.toml:35:18: subscription.mails.event.sequence: `version` is not a place in an event; write `broker`, `header:NAME`, `payload:/json/pointer` or, where it serves, `const:TEXT`
      orders.toml:37:1: subscription.mails.log: the broker `main` is of kind `server`; its keys stand in `server`
      orders.toml:39:21: subscription.mails.circuit: unknown key; write `broker`, `source`, `group`, `concurrency`, `start`, `unknown_kind`, `lock`, `ahead`, `timeout`, `event`, `ledger`, `retry`, `limits`, `budget`, `log` or `server`
    "#);
}

#[test]
fn one_mistake_is_one_line() {
    let report = report("[store.memory]\n[broker.main.log]\n[runtime]\n  drain = '5s'\n");
    insta::assert_snapshot!(report, @"orders.toml:4:3: runtime.drain: unknown key; did you mean `drain_max`?");
}

#[test]
fn what_is_missing_is_named() {
    insta::assert_snapshot!(report(""), @"
    2 problems in orders.toml
      orders.toml:1:1: broker: is missing; add `[broker.main.KIND]`, KIND being `log` or `server`
      orders.toml:1:1: store: is missing; add `[store.files]` or `[store.memory]`
    ");
    insta::assert_snapshot!(report("[store]\n[broker.main]\n[subscription.billing]\n"), @"
    3 problems in orders.toml
      orders.toml:1:1: store: names no kind; write `files` or `memory` under it
      orders.toml:2:1: broker.main: names no kind; write `log` or `server` under it
      orders.toml:3:1: subscription.billing.source: is missing; it has no default
    ");
    insta::assert_snapshot!(report("store = 1\nbroker = { a = { log = {}, server = {} } }\n[subscription]\nx = 1"), @"
    3 problems in orders.toml
      orders.toml:1:9: store: wants a table, not a whole number
      orders.toml:2:37: broker.a: has `log` and `server`; keep one
      orders.toml:4:5: subscription.x: wants a table, not a whole number
    ");
}

#[test]
fn a_brokers_own_mistake_is_not_repeated_by_its_subscriptions() {
    insta::assert_snapshot!(report(
        "[store.memory]\n[broker.a.logg]\n[broker.b.server]\n[subscription.x]\nsource = 's'\nbroker = 'a'"
    ), @"orders.toml:2:11: broker.a.logg: unknown broker kind; did you mean `log`?");
}

#[test]
fn what_an_adapter_requires_of_a_subscription_is_missed_without_its_table() {
    insta::assert_snapshot!(report("[store.memory]\n[broker.b.server]\n[subscription.x]\nsource = 's'"), @"orders.toml:3:1: subscription.x.server.fetch_max: is missing; it has no default");
}

#[test]
fn text_that_is_not_toml() {
    insta::assert_snapshot!(report("[store.memory\n[broker.main.log]\na = 5 minutes\na = 99999999999999999999\n"), @"
    3 problems in orders.toml
      orders.toml:1:14: not TOML: unclosed table, expected `]`
      orders.toml:3:5: not TOML: string values must be quoted, expected literal string
      orders.toml:4:1: not TOML: duplicate key
    ");
    insta::assert_snapshot!(report("[runtime]\nshards = 99999999999999999999\n"), @"orders.toml:2:10: the number does not fit 64 bits; write a smaller one");
}

#[test]
fn several_brokers_ask_which_one() {
    let text = LEAST.replace("[broker.main.log]", "[broker.main.log]\n[broker.other.log]");
    insta::assert_snapshot!(report(&text), @"orders.toml:5:1: subscription.billing.broker: is missing, and there are several; write `main` or `other`");
}

#[test]
fn what_interpolation_puts_in_is_never_printed() {
    let text = |hosts: &str, timeout: &str| {
        format!("[store.memory]\n[broker.main.server]\nhosts = ['{hosts}']\ntimeout = '{timeout}'\n")
    };
    let report = report(&text("${BARE_HOST}", "1s")) + "\n" + &report(&text("a:1", "in ${PASSWORD} s"));
    assert!(!report.contains("sesame") && !report.contains("hunter2"), "{report}");
    insta::assert_snapshot!(report, @r#"
    orders.toml:3:9: broker.main.server.hosts: `${BARE_HOST}` has no port; write it as `host:9092`
    orders.toml:4:11: broker.main.server.timeout: `in ${PASSWORD} s` is not a duration; write whole numbers with the units d, h, m, s, ms, us or ns, largest first, such as "250ms" or "1h30m"
    "#);
    let config = parse(&text("a:1", "1s").replace("a:1", "${HOST}")).unwrap();
    assert!(!format!("{config:?}").contains("example.org"));
}

#[test]
fn interpolation_that_fails_says_what_to_do() {
    insta::assert_snapshot!(report(
        r#"
[store.files]
path = "${file:/nonexistent/path}"
[broker.main.server]
hosts = ["a:1", "${MISSING}", "${NOT A NAME}", "${OPEN", "${PASSWORD"]
timeout = "${}"
"#
    ), @"
    6 problems in orders.toml
      orders.toml:3:8: store.files.path: can't read `/nonexistent/path`: No such file or directory (os error 2); make the file or correct the path
      orders.toml:5:17: broker.main.server.hosts: the environment variable `MISSING` is not set; set it, or write the value here
      orders.toml:5:31: broker.main.server.hosts: `${NOT A NAME}` names no environment variable; write `${NAME}` or `${file:/path}`, or `$${` for a plain `${`
      orders.toml:5:48: broker.main.server.hosts: `${` without a `}`; write `$${` for a plain `${`
      orders.toml:5:58: broker.main.server.hosts: `${` without a `}`; write `$${` for a plain `${`
      orders.toml:6:11: broker.main.server.timeout: `${}` names no environment variable; write `${NAME}` or `${file:/path}`, or `$${` for a plain `${`
    ");
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
    let path = |name: &str| std::path::PathBuf::from(name);
    assert!(interpolate::read_file(&path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))).is_ok());
    for refused in ["/dev/zero", concat!(env!("CARGO_MANIFEST_DIR"), "/src"), "/nonexistent"] {
        assert!(interpolate::read_file(&path(refused)).is_err(), "{refused}");
    }
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
fn what_is_wrong_in_defaults_is_told_once_and_there() {
    insta::assert_snapshot!(report(
        r#"
[store.memory]
[broker.main.log]
[defaults]
start = "never"
timout = "5s"
[subscription.one]
source = "s"
[subscription.two]
source = "s"
"#
    ), @"
    2 problems in orders.toml
      orders.toml:5:9: defaults.start: `never` is not a start; write `earliest`, `latest` or a time with its zone such as `2026-01-31T12:00:00Z`
      orders.toml:6:1: defaults.timout: unknown key; did you mean `timeout`?
    ");
}

#[test]
fn what_does_not_fit_together_is_told_where_it_stands() {
    let text = format!(
        "[defaults.retry]\ndelay = '1m'\n{LEAST}retry.delay_max = '10s'\nbudget.bytes_max = '1MiB'\n\
         event = {{ id = 'const:x', key = 'const:x', kind = 'broker', sequence = 'broker' }}\n\
         [subscription.other]\nsource = 's'\nconcurrency = 9\nbudget = {{ messages_max = 8, per_key_max = 10 }}\n"
    );
    insta::assert_snapshot!(report(&text), @"
    10 problems in orders.toml
      orders.toml:2:9: defaults.retry.delay: is 1m, longer than delay_max (10s); shorten it or raise delay_max
      orders.toml:2:9: defaults.retry.delay: is 1m, longer than delay_max (5s); shorten it or raise delay_max
      orders.toml:8:19: subscription.billing.retry.delay_max: is 10s, longer than in_lane_max (5s), and longer waits need the parking table, which is not there yet; write at most 5s or raise in_lane_max
      orders.toml:9:20: subscription.billing.budget.bytes_max: is 1MiB, less than one event may have by its limits; write at least 1089KiB
      orders.toml:10:16: subscription.billing.event.id: can't be `const:x`; write `broker`, `header:NAME` or `payload:/json/pointer`
      orders.toml:10:33: subscription.billing.event.key: can't be `const:x`; write `broker`, `header:NAME` or `payload:/json/pointer`
      orders.toml:10:51: subscription.billing.event.kind: can't be `broker`; write `header:NAME` or `payload:/json/pointer`, or `const:KIND`
      orders.toml:10:72: subscription.billing.event.sequence: can't be `broker`; write `header:NAME` or `payload:/json/pointer`
      orders.toml:14:27: subscription.other.budget.messages_max: is 8, less than concurrency (9), so that some of it would never be used; raise it
      orders.toml:14:44: subscription.other.budget.per_key_max: is 10, more than messages_max (8); lower it
    ");
}

#[test]
fn a_table_of_a_larger_file() {
    let text = LEAST
        .replace('[', "[keylane.")
        .replace("[keylane.store", "name = '${UNSET}'\n[http]\nport = 1\n[keylane.store");
    let source = |text: &str| Source::text("service.toml", text).table("keylane");
    let none = |_: &str| None;
    assert!(Config::parse(source(&text), &catalog(), &none).unwrap().subscriptions.contains_key("billing"));
    let report = |text: &str| format!("{:?}", Config::parse(source(text), &catalog(), &none).unwrap_err());
    insta::assert_snapshot!(report(&text.replace("source", "sauce")), @"
    2 problems in service.toml
      service.toml:7:1: keylane.subscription.billing.source: is missing; it has no default
      service.toml:8:1: keylane.subscription.billing.sauce: unknown key; did you mean `source`?
    ");
    insta::assert_snapshot!(report("[http]\nport = 1\n"), @"service.toml:1:1: keylane: is missing; add this table with the configuration in it");
}

#[test]
fn an_ordered_subscription_without_on_exhausted_is_refused() {
    let config =
        parse(&format!("{LEAST}[subscription.mails]\nsource = 's'\nretry.attempts_max = 3")).unwrap();
    assert!(config.check_order(|_| false).is_ok());
    let error = config.check_order(|_| true).unwrap_err();
    insta::assert_snapshot!(format!("{error:?}"), @"
    2 problems in orders.toml
      orders.toml:4:1: subscription.billing.retry.on_exhausted: is missing, and the broker keeps an order; write `stop` (the subscription stops until somebody acts) or `skip` (the event becomes a dead letter and its key goes on)
      orders.toml:8:1: subscription.mails.retry.on_exhausted: is missing, and the broker keeps an order; write `stop` (the subscription stops until somebody acts) or `skip` (the event becomes a dead letter and its key goes on)
    ");
}

#[test]
fn what_a_broker_can_not_do_is_refused_with_its_line() {
    let config = parse(&format!("{LEAST}start = 'latest'")).unwrap();
    let error = config.subscriptions["billing"].section.refuse("start", "a queue has no start; leave it out");
    insta::assert_snapshot!(format!("{error:?}"), @"orders.toml:6:9: subscription.billing.start: a queue has no start; leave it out");
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
fn a_flood_of_mistakes_is_cut() {
    let text: String = (0..3000).map(|n| format!("key{n} = {n}\n")).collect();
    let report = report(&text);
    assert_eq!(report.lines().count(), 52);
    assert!(
        report.starts_with("3002 problems in orders.toml\n") && report.ends_with("\n  and 2952 more"),
        "{report}"
    );
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
    assert_eq!(
        found,
        ["subscription.source is empty; write it or leave the key out"],
        "required, so without a default"
    );
}

#[test]
#[should_panic(expected = "a broker's kind can't be `retry`")]
fn a_kind_can_not_be_named_like_a_key() {
    let _ = Catalog::new().broker::<NoKeys, NoKeys>("retry");
}

/// Text that gets further than random text: our words, brackets and dollars.
fn nearly_toml() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "store",
        "memory",
        "broker",
        "main",
        "subscription",
        "defaults",
        "runtime",
        "source",
        "retry",
        "keylane",
        "[",
        "]",
        "[[",
        "]]",
        ".",
        "=",
        "'",
        "\"",
        "{",
        "}",
        ",",
        "\n",
        " ",
        "1",
        "-1",
        "1.5",
        "nan",
        "true",
        "2026-01-31",
        "'1s'",
        "'${A}'",
        "'${X}'",
        "'$${'",
        "'${file:/a}'",
        "\u{e9}",
        "#",
        "delay",
        "\\",
        "e9",
        "0x",
    ]);
    prop::collection::vec(word, 0..60).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzz::config(&bytes);
        fuzz::period(&bytes);
        fuzz::size(&bytes);
        fuzz::event_text(&bytes);
    }

    #[test]
    fn no_text_panics(text in nearly_toml(), other: String) {
        fuzz::config(text.as_bytes());
        fuzz::config(format!("{LEAST}{text}").as_bytes());
        fuzz::event_text(other.as_bytes());
        fuzz::event_text(format!("payload:/{other}").as_bytes());
    }

    #[test]
    fn no_interpolated_text_shows_in_an_error(secret in "[A-Z]{8,80}", key in "[a-z]{1,9}") {
        let text = format!("[store.memory]\n{key} = '${{S}}'\n[broker.main.server]\nhosts = ['a${{S}}b']\n\
            timeout = '${{S}}'\npassword = ['${{S}}']\nconnections = '${{S}}'\n[subscription.x]\nsource = 's'\n\
            broker = '${{S}}'\nstart = '${{S}}'\nlock = '${{S}}'\nevent.id = 'const:${{S}}'");
        let env = |_: &str| Some(secret.clone());
        let error = Config::parse(Source::text("t", text), &catalog(), &env).unwrap_err();
        let report = format!("{error} {error:?}");
        prop_assert!(!report.contains(&secret), "{}", report);
    }
}
