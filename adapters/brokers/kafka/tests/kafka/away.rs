//! Brokers that are away or misbehave: librdkafka's mock cluster, and an address where nobody listens.

use std::sync::Arc;
use std::time::Duration;

use keylane::broker::{Base, Broker, Change, ConsumerSpec, Outgoing, Pulled, Reset};
use keylane::config::{Period, Section};
use keylane::event::Record;
use keylane_kafka::KafkaConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tokio::time::timeout;

use crate::cluster::{PATIENCE, connect};
use crate::member::Member;

async fn broker(servers: &str) -> Arc<dyn Broker> {
    let config = KafkaConfig {
        bootstrap_servers: vec![servers.to_owned()],
        request_max: Period::millis(500),
        publish_max: Period::secs(1),
        ..KafkaConfig::default()
    };
    connect(config).await
}

fn spec(settings: &str) -> ConsumerSpec {
    ConsumerSpec {
        subscription: "test".into(),
        source: "orders".into(),
        group: "g".into(),
        reset: Reset::Earliest,
        unsettled_max: 1024,
        prefetch_bytes_max: 1 << 20,
        settings: Section::parse(settings).unwrap(),
    }
}

/// A cluster in this process, with a topic `orders` of two partitions.
async fn mock() -> (MockCluster<'static, DefaultProducerContext>, Arc<dyn Broker>) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("orders", 2, 1).unwrap();
    let broker = broker(&cluster.bootstrap_servers()).await;
    (cluster, broker)
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it hangs")
}

#[tokio::test]
async fn connect_is_lazy_or_bounded() {
    let broker = broker("127.0.0.1:1").await;
    let error = within(broker.consumer(spec(""))).await.err().expect("a consumer without a broker");
    assert!(error.is_transient(), "{error}");
    let publisher = within(broker.publisher()).await.unwrap();
    let out = Outgoing { target: "orders".into(), record: Record::new("x") };
    let results = within(publisher.publish(vec![out])).await;
    assert!(results[0].as_ref().is_err_and(keylane::Error::is_transient), "{results:?}");
    within(publisher.close()).await;
    within(broker.close()).await;
}

#[tokio::test]
async fn close_is_bounded_with_the_broker_away() {
    let (cluster, broker) = mock().await;
    let member = Member::new(broker.consumer(spec("")).await.unwrap(), 1);
    let partitions = member.assigned().await;
    member.start(&partitions, 0).await;
    drop(cluster);
    // A commit under way must not hold the close up either.
    let consumer = Arc::clone(&member.consumer);
    let commit =
        tokio::spawn(async move { consumer.commit(vec![Base { partition: 0, epoch: 1, offset: 1 }]).await });
    let limit = Duration::from_secs(1);
    timeout(limit * 5, member.consumer.close(limit)).await.expect("close goes on for long");
    assert!(within(commit).await.unwrap().is_err());
}

#[tokio::test]
async fn a_broker_that_goes_away_is_a_transient_error_and_pull_resumes_by_itself() {
    let (cluster, broker) = mock().await;
    let publisher = broker.publisher().await.unwrap();
    let out = |text: &'static str| {
        vec![Outgoing { target: "orders".into(), record: Record::new(text).with_key("k") }]
    };
    publisher.publish(out("before")).await.remove(0).unwrap();
    let member = Member::new(broker.consumer(spec("")).await.unwrap(), 1);
    let partitions = member.assigned().await;
    member.start(&partitions, 0).await;
    assert_eq!(member.read(1).await[0].record.payload, "before");
    cluster.broker_down(1).unwrap();
    let error = member.pull(10).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    cluster.broker_up(1).unwrap();
    let written = async { while publisher.publish(out("after")).await.remove(0).is_err() {} };
    let read = async {
        loop {
            match member.pull(10).await {
                Ok(Pulled::Deliveries(some)) => return some,
                Ok(Pulled::Change(change)) => panic!("{change:?}"),
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
        }
    };
    let ((), read) = within(async { tokio::join!(written, read) }).await;
    assert_eq!(read[0].record.payload, "after");
}

#[tokio::test]
async fn lost_commits_nothing() {
    let (cluster, broker) = mock().await;
    let member = Member::new(broker.consumer(spec("session = '6s'")).await.unwrap(), 1);
    let partitions = member.assigned().await;
    member.start(&partitions, 0).await;
    // The coordinator says that it does not know this member.
    cluster.request_errors(RDKafkaApiKey::Heartbeat, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]);
    let lost = match member.pull(0).await.unwrap() {
        Pulled::Change(Change::Lost(mut lost)) => {
            lost.sort_unstable();
            lost
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(lost, partitions);
    // Of another epoch or of nobody: not even sent, so that it can't fail.
    cluster.request_errors(
        RDKafkaApiKey::OffsetCommit,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID; 3],
    );
    member.consumer.commit(vec![Base { partition: 0, epoch: 1, offset: 1 }]).await.unwrap();
    // It joins again and is given them anew.
    assert_eq!(member.assigned().await, partitions);
}

#[tokio::test]
async fn a_refused_commit_is_an_error() {
    let (cluster, broker) = mock().await;
    let member = Member::new(broker.consumer(spec("")).await.unwrap(), 1);
    let partitions = member.assigned().await;
    member.start(&partitions, 0).await;
    cluster.request_errors(
        RDKafkaApiKey::OffsetCommit,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 5],
    );
    let error =
        within(member.consumer.commit(vec![Base { partition: 0, epoch: 1, offset: 1 }])).await.unwrap_err();
    assert!(!error.is_transient(), "{error}");
}
