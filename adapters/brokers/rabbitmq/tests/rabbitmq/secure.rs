//! TLS, at the real server's second listener.

use std::io::Write;
use std::sync::Once;

use keylane::broker::{BrokerAdapter, Outgoing};
use keylane::event::Record;
use keylane::{Class, Env};
use keylane_rabbitmq::{RabbitMq, RabbitMqConfig, TlsConfig};

use crate::reader::Reader;
use crate::server::{Admin, QUORUM, config, connect, server, spec};

/// The listener's address and its authority, or nothing and one line that says so.
fn door() -> Option<(String, String)> {
    static SKIPPED: Once = Once::new();
    let said = |name: &str| std::env::var(format!("KEYLANE_TEST_RABBITMQ_{name}")).ok();
    let found = said("TLS").zip(said("CA"));
    if found.is_none() {
        let line = "skipped: rabbitmq tests of TLS need KEYLANE_TEST_RABBITMQ_TLS and _CA (tests/brokers/up prints them, but of a container)";
        SKIPPED.call_once(|| drop(writeln!(std::io::stderr(), "{line}")));
    }
    found
}

fn tls(uri: &str, ca_file: Option<String>) -> RabbitMqConfig {
    RabbitMqConfig { tls: Some(TlsConfig { ca_file, ..TlsConfig::default() }), ..config(uri) }
}

#[tokio::test]
async fn records_go_out_and_in_by_tls() {
    let (Some((uri, ca)), Some(plain)) = (door(), server()) else { return };
    let queue = Admin::new(&plain).await.queue("quorum", &[]).await;
    let broker = connect(tls(&uri, Some(ca))).await;
    let out = Outgoing { target: queue.clone(), record: Record::new("body").with_key("k") };
    broker.publisher().await.unwrap().publish(vec![out]).await.remove(0).unwrap();
    let reader = Reader::new(&broker, spec(&queue, QUORUM)).await;
    assert_eq!(reader.take(1).await.remove(0).record.key.as_deref(), Some(&b"k"[..]));
}

#[tokio::test]
async fn an_unknown_authority_is_an_error_that_says_so() {
    let Some((uri, _)) = door() else { return };
    let broker = connect(tls(&uri, None)).await;
    let error = broker.consumer(spec("orders", QUORUM)).await.err().expect("it came in");
    assert!(error.class() == Class::Permanent && error.to_string().contains("ca_file"), "{error}");
}

#[tokio::test]
async fn an_authority_that_cannot_be_read_is_named() {
    let config = tls("amqps://guest:geheim@127.0.0.1:1/%2f", Some("no/such/ca.pem".into()));
    let error = RabbitMq.connect(config, &Env::tokio()).await.err().expect("it connects without the file");
    assert!(error.to_string().contains("ca_file") && !format!("{error:?}").contains("geheim"), "{error}");
}
