//! What is said about bad files.

use super::*;

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
fn one_unreadable_value_does_not_hide_the_next() {
    let text = format!("{LEAST}start = 'never'\nevent = {{ id = 'x', key = 'y' }}\ntimeout = 'a while'\n");
    insta::assert_snapshot!(report(&text), @r#"
    4 problems in orders.toml
      orders.toml:6:9: subscription.billing.start: `never` is not a start; write `earliest`, `latest` or a time with its zone such as `2026-01-31T12:00:00Z`
      orders.toml:7:16: subscription.billing.event.id: `x` is not a place in an event; write `broker`, `header:NAME`, `payload:/json/pointer` or, where it serves, `const:TEXT`
      orders.toml:7:27: subscription.billing.event.key: `y` is not a place in an event; write `broker`, `header:NAME`, `payload:/json/pointer` or, where it serves, `const:TEXT`
      orders.toml:8:11: subscription.billing.timeout: `a while` is not a duration; write whole numbers with the units d, h, m, s, ms, us or ns, largest first, such as "250ms" or "1h30m"
    "#);
}

#[test]
fn columns_are_characters() {
    insta::assert_snapshot!(report(&format!("{LEAST}event = {{ id = 'const:\u{e4}\u{f6}', kinds = 1 }}")), @"orders.toml:6:28: subscription.billing.event.kinds: unknown key; did you mean `kind`?");
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
fn a_kind_that_the_code_does_not_have_names_the_call() {
    insta::assert_snapshot!(report("[store.postgres]\n[broker.a.kafka]"), @"
    2 problems in orders.toml
      orders.toml:1:8: store.postgres: the code has no store of this kind; add its adapter by `.store(..)`, or write `files` or `memory`
      orders.toml:2:11: broker.a.kafka: the code has no broker of this kind; add its adapter by `.broker(..)`, or write `log` or `server`
    ");
    let text = Source::text("orders.toml", "[store.memory]\n[broker.a.kafka]");
    let lookup = Lookup { env: &|_| None, file: &|_| Err(std::io::ErrorKind::NotFound.into()) };
    let bare = Catalog::new().store::<NoKeys>("memory");
    let error = Config::parse_with(text, &bare, &lookup).unwrap_err().to_string();
    insta::assert_snapshot!(error, @"orders.toml:2:11: broker.a.kafka: the code has no broker of this kind; add its adapter by `.broker(..)`");
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
