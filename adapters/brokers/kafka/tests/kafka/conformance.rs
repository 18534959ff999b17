//! The broker's contract, on a real server; what needs a broker that goes away, on the mock cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keylane::Env;
use keylane::broker::{Broker, ConsumerSpec, Partition, Reset};
use keylane::config::{Period, Section};
use keylane::conformance::Cannot;
use keylane::conformance::broker::{Faults, Harness};
use keylane_kafka::KafkaConfig;

use crate::cluster::{committed, connect, make_topic};
use crate::mock::Mock;

mod server {
    keylane::broker_conformance!(match crate::cluster::server() {
        Some(servers) => super::Server { servers, env: keylane::Env::tokio() },
        None => return,
    });
}

mod mock {
    keylane::broker_conformance!(super::Mocked::start());
}

/// The quickest that a real broker allows.
const SETTINGS: &str = "session = '6s'\npoll_interval_max = '8s'\nrevoke_max = '4s'";

fn spec(source: &str, group: &str, reset: Reset, settings: &str) -> ConsumerSpec {
    ConsumerSpec {
        subscription: group.into(),
        source: source.into(),
        // One server serves all checks, and groups have no other place to live.
        group: format!("{group}-{source}").into(),
        reset,
        unsettled_max: 1024,
        prefetch_bytes_max: 1 << 20,
        settings: Section::parse(settings).unwrap(),
    }
}

fn config(servers: &str) -> KafkaConfig {
    let quick = [("topic.metadata.refresh.interval.ms", "500"), ("topic.metadata.propagation.max.ms", "500")];
    KafkaConfig {
        bootstrap_servers: vec![servers.to_owned()],
        publish_max: Period::secs(5),
        properties: quick
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect::<BTreeMap<_, _>>(),
        ..KafkaConfig::default()
    }
}

/// A real server.
struct Server {
    servers: String,
    env: Env,
}

#[async_trait]
impl Harness for Server {
    fn env(&self) -> Env {
        self.env.clone()
    }

    async fn broker(&self) -> Arc<dyn Broker> {
        connect(config(&self.servers)).await
    }

    async fn source(&self, partitions: u32) -> String {
        make_topic(&self.servers, i32::try_from(partitions).unwrap(), &[]).await.to_string()
    }

    fn spec(&self, source: &str, group: &str, reset: Reset) -> ConsumerSpec {
        spec(source, group, reset, SETTINGS)
    }

    fn idle_limit(&self) -> Duration {
        Duration::from_secs(9)
    }

    fn too_large(&self) -> Option<usize> {
        Some(2_000_000)
    }

    async fn committed(&self, source: &str, group: &str, partition: Partition) -> Option<Option<u64>> {
        let group = format!("{group}-{source}");
        let found = committed(&self.servers, source, &group, i32::try_from(partition).unwrap()).await;
        Some(found.map(|offset| u64::try_from(offset).unwrap()))
    }
}

/// A mock cluster that can be taken away.
struct Mocked {
    cluster: Mock,
    env: Env,
}

impl Mocked {
    fn start() -> Self {
        Self { cluster: Mock::start(), env: Env::tokio() }
    }
}

#[async_trait]
impl Harness for Mocked {
    fn env(&self) -> Env {
        self.env.clone()
    }

    async fn broker(&self) -> Arc<dyn Broker> {
        connect(config(&self.cluster.servers)).await
    }

    async fn source(&self, partitions: u32) -> String {
        let name = format!("keylane-{}", uuid::Uuid::new_v4());
        let (made, partitions) = (name.clone(), i32::try_from(partitions).unwrap());
        self.cluster.does(move |cluster| cluster.create_topic(&made, partitions, 1)).unwrap();
        name
    }

    fn spec(&self, source: &str, group: &str, reset: Reset) -> ConsumerSpec {
        spec(source, group, reset, "protocol = 'consumer'\nrevoke_max = '5s'")
    }

    fn too_large(&self) -> Option<usize> {
        Some(2_000_000)
    }

    fn cannot(&self) -> &[Cannot] {
        &[("origin_follows_the_reset", "the mock cluster looks nothing up by time")]
    }

    fn faults(&self) -> Option<&dyn Faults> {
        Some(self)
    }
}

#[async_trait]
impl Faults for Mocked {
    async fn cut(&self) {
        self.cluster.does(|cluster| cluster.broker_down(1)).unwrap();
    }

    async fn mend(&self) {
        self.cluster.does(|cluster| cluster.broker_up(1)).unwrap();
    }

    async fn delete(&self, _source: &str) -> bool {
        false
    }
}
