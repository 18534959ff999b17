//! TLS, and users who prove a password, at the real server's second listener.

use std::io::Write;
use std::sync::{Arc, Once};

use keylane::broker::{BrokerAdapter, ConsumerSpec, Outgoing, Reset};
use keylane::config::{Period, Section};
use keylane::event::Record;
use keylane::{Env, Error};
use keylane_kafka::{Kafka, KafkaConfig, Mechanism, SaslConfig, TlsConfig};
use tokio::time::timeout;

use crate::cluster::{PATIENCE, config, connect, make_topic, server};
use crate::member::Member;

const WRONG: &str = "geheim-but-wrong";

/// The listener, and who may come in.
struct Door {
    servers: String,
    ca_file: String,
    plain_user: String,
    scram_user: String,
    password: String,
}

impl Door {
    /// As `tests/brokers/up` says it, or nothing and one line that says so.
    fn found() -> Option<Self> {
        static SKIPPED: Once = Once::new();
        let said = |name: &str| std::env::var(format!("KEYLANE_TEST_KAFKA_{name}")).ok();
        let door = || {
            Some(Self {
                servers: said("TLS")?,
                ca_file: said("CA")?,
                plain_user: said("PLAIN_USER")?,
                scram_user: said("SCRAM_USER")?,
                password: said("PASSWORD")?,
            })
        };
        let found = door();
        if found.is_none() {
            let line = "skipped: kafka tests of TLS need KEYLANE_TEST_KAFKA_TLS, _CA, _PLAIN_USER, _SCRAM_USER and _PASSWORD (tests/brokers/up prints them, but of a container)";
            SKIPPED.call_once(|| drop(writeln!(std::io::stderr(), "{line}")));
        }
        found
    }

    fn user(&self, mechanism: Mechanism) -> &str {
        if mechanism == Mechanism::Plain { &self.plain_user } else { &self.scram_user }
    }

    fn config(&self, mechanism: Mechanism, user: &str, password: &str) -> KafkaConfig {
        KafkaConfig {
            tls: Some(TlsConfig { ca_file: Some(self.ca_file.clone()), ..TlsConfig::default() }),
            sasl: Some(SaslConfig { mechanism, username: user.into(), password: password.to_owned().into() }),
            ..config(&self.servers)
        }
    }
}

fn spec(topic: &Arc<str>) -> ConsumerSpec {
    ConsumerSpec {
        subscription: "test".into(),
        source: Arc::clone(topic),
        group: format!("g-{topic}").into(),
        reset: Reset::Earliest,
        unsettled_max: 1024,
        prefetch_bytes_max: 1 << 20,
        settings: Section::default(),
    }
}

async fn there_and_back(mechanism: Mechanism) {
    let (Some(door), Some(plain)) = (Door::found(), server()) else { return };
    let topic = make_topic(&plain, 1, &[]).await;
    let broker = connect(door.config(mechanism, door.user(mechanism), &door.password)).await;
    let record = Record::new("body").with_key("k").with_header("a", "1");
    let out = Outgoing { target: topic.to_string(), record };
    broker.publisher().await.unwrap().publish(vec![out]).await.remove(0).unwrap();
    let member = Member::new(broker.consumer(spec(&topic)).await.unwrap(), 1);
    member.assigned().await;
    member.start(&[0], 0).await;
    let read = member.read(1).await.remove(0).record;
    assert_eq!((read.key.as_deref(), &*read.payload), (Some(&b"k"[..]), &b"body"[..]));
    broker.close().await;
}

/// What a service is told that may not come in: at the start of a subscription, and by a publisher.
/// Both are bounded: `connect_is_lazy_or_bounded`.
async fn refusals(config: KafkaConfig) -> [Error; 2] {
    // As long as a request may take, nobody is sure that the brokers won't let it in after all.
    let broker = connect(KafkaConfig { request_max: Period::secs(6), ..config }).await;
    let refused = async {
        let reading = broker.consumer(spec(&"orders".into())).await.err().expect("a consumer came in");
        let out = Outgoing { target: "orders".into(), record: Record::new("x") };
        let writing = broker.publisher().await.unwrap().publish(vec![out]).await.remove(0);
        [reading, writing.expect_err("a publisher came in")]
    };
    let refused = timeout(PATIENCE, refused).await.expect("it hangs");
    timeout(PATIENCE, broker.close()).await.expect("closing hangs");
    refused
}

async fn wrong_password(mechanism: Mechanism) {
    let Some(door) = Door::found() else { return };
    for error in refusals(door.config(mechanism, door.user(mechanism), WRONG)).await {
        names(&error, &["uthentication", "password", "`sasl`", &door.servers], WRONG);
        assert!(!error.is_transient(), "{error}");
    }
}

/// As it is printed, with all that stands behind it.
fn whole(error: &Error) -> String {
    format!("{error}\n{error:?}\n{error:#?}")
}

fn names(error: &Error, words: &[&str], secret: &str) {
    let said = error.to_string();
    words.iter().for_each(|word| assert!(said.contains(word), "no {word:?} in: {said}"));
    assert!(!whole(error).contains(secret), "the password stands in: {}", whole(error));
}

#[tokio::test]
async fn records_go_out_and_in_by_tls_with_a_plain_password() {
    there_and_back(Mechanism::Plain).await;
}

#[tokio::test]
async fn records_go_out_and_in_by_tls_with_scram() {
    there_and_back(Mechanism::ScramSha512).await;
}

#[tokio::test]
async fn a_wrong_plain_password_is_an_error_that_says_so() {
    wrong_password(Mechanism::Plain).await;
}

#[tokio::test]
async fn a_wrong_scram_password_is_an_error_that_says_so() {
    wrong_password(Mechanism::ScramSha512).await;
}

#[tokio::test]
async fn a_user_of_another_mechanism_is_an_error_that_says_so() {
    let Some(door) = Door::found() else { return };
    for error in refusals(door.config(Mechanism::ScramSha512, &door.plain_user, &door.password)).await {
        names(&error, &["uthentication", "mechanism", "`sasl`"], &door.password);
    }
}

#[tokio::test]
async fn an_unknown_authority_is_an_error_that_says_so() {
    let Some(door) = Door::found() else { return };
    let right = door.config(Mechanism::Plain, &door.plain_user, &door.password);
    // Those that the system trusts don't include the server's.
    for error in refusals(KafkaConfig { tls: Some(TlsConfig::default()), ..right }).await {
        names(&error, &["certificate", "ca_file", "`tls`", &door.servers], &door.password);
    }
}

#[tokio::test]
async fn an_authority_that_cannot_be_read_is_named() {
    let tls = TlsConfig { ca_file: Some("no/such/ca.pem".into()), ..TlsConfig::default() };
    let config = KafkaConfig { tls: Some(tls), ..config("127.0.0.1:1") };
    let error = Kafka.connect(config, &Env::tokio()).await.err().expect("it connects without the file");
    names(&error, &["ca_file", "`tls`"], WRONG);
    assert!(!error.is_transient(), "{error}");
}
