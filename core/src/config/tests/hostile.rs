//! Files that are meant badly, and secrets that must not show.

use proptest::prelude::*;

use super::*;

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
