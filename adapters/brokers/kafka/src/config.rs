//! `[broker.NAME.kafka]` and `[subscription.NAME.kafka]`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use keylane::config::{Component, Findings, Period, Secret, Size};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::native;

/// A Kafka cluster and how to reach it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["bootstrap_servers"]))]
pub struct KafkaConfig {
    /// Some of the cluster's brokers, each `HOST:PORT`; the others are learned from them.
    #[schemars(length(min = 1, max = 64))]
    pub bootstrap_servers: Vec<String>,

    /// By what name the brokers log and limit this client.
    #[schemars(length(min = 1, max = 249))]
    pub client_id: String,

    /// Speak in clear text with brokers beyond this machine. Without it they need a table `tls`.
    pub clear_text: bool,

    /// Encrypt, and check the brokers' certificates. Left out: clear text.
    pub tls: Option<TlsConfig>,

    /// Say who we are. Left out: nobody.
    pub sasl: Option<SaslConfig>,

    /// How long one request may take: what a topic holds, a commit, a start.
    #[schemars(extend("x-minimum" = "100ms", "x-maximum" = "5m"))]
    pub request_max: Period,

    /// How long a published record may take until the brokers have it, retries included.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "1h"))]
    pub publish_max: Period,

    /// The largest record to publish. The topic has a limit of its own, which also holds.
    #[schemars(extend("x-minimum" = "1KiB", "x-maximum" = "900MiB"))]
    pub record_max: Size,

    /// Settings of librdkafka by its own names, for what has no key here. Those that this adapter
    /// relies on are refused.
    pub properties: BTreeMap<String, String>,
}

/// How to trust the brokers and how to be trusted.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// File of the authorities that sign the brokers' certificates. Left out: those the system trusts.
    pub ca_file: Option<String>,

    /// File of our own certificate, where brokers ask for one.
    pub certificate_file: Option<String>,

    /// File of its private key.
    pub key_file: Option<String>,

    /// What the private key is locked with.
    pub key_password: Option<Secret>,
}

/// By name and password.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["username", "password"]))]
pub struct SaslConfig {
    /// How the password is proven. `plain` sends it, so it needs the table `tls`.
    pub mechanism: Mechanism,

    /// Who.
    pub username: String,

    /// The password.
    pub password: Secret,
}

/// How a password is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// SCRAM with SHA-512.
    #[default]
    ScramSha512,
    /// SCRAM with SHA-256.
    ScramSha256,
    /// The password itself, inside TLS.
    Plain,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            bootstrap_servers: Vec::new(),
            client_id: "keylane".into(),
            clear_text: false,
            tls: None,
            sasl: None,
            request_max: Period::secs(10),
            publish_max: Period::secs(30),
            record_max: Size::b(1_000_000),
            properties: BTreeMap::new(),
        }
    }
}

impl Component for KafkaConfig {
    fn check(&self, found: &mut Findings) {
        if self.tls.is_none() && !self.clear_text {
            for server in self.bootstrap_servers.iter().filter(|server| !is_loopback(server)) {
                let what = "is beyond this machine and would be spoken to in clear text; add a table `tls`, or write clear_text = true";
                found.wrong("bootstrap_servers", format!("{server} {what}"));
            }
        }
        if self.tls.is_some() && !cfg!(feature = "ssl") {
            found.wrong("tls", "is not in this build; build keylane-kafka with its feature `ssl`");
        }
        if let Some(sasl) = &self.sasl {
            if sasl.mechanism == Mechanism::Plain && self.tls.is_none() {
                found.wrong(
                    "sasl.mechanism",
                    "is `plain`, which sends the password; add a table `tls`, or write `scram-sha-512`",
                );
            } else if sasl.mechanism != Mechanism::Plain && !cfg!(feature = "ssl") {
                found.wrong(
                    "sasl",
                    "needs SCRAM, which is not in this build; build keylane-kafka with its feature `ssl`",
                );
            }
        }
        for key in self.properties.keys() {
            if let Some(instead) = native::owned(key) {
                found.wrong("properties", format!("{key:?} is set by the adapter; {instead}"));
            }
        }
    }
}

/// How one subscription takes part in its group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaSubscription {
    /// By which protocol the group shares its partitions. All members use the same.
    pub protocol: Protocol,

    /// How long a member may be silent before its partitions go to others. With the `consumer`
    /// protocol the brokers' own setting rules and this is refused. Left out: 45s.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "30m"))]
    pub session: Option<Period>,

    /// How long this process may fail to ask for records before it counts as dead. Pausing and full
    /// budgets don't count: it goes on asking.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "1d"))]
    pub poll_interval_max: Period,

    /// How long a partition that goes to another member is kept back for the work in flight to end.
    /// Meanwhile the rest of this member's partitions stand still, so it is a matter of seconds; it
    /// should be above the runtime's `grace`.
    #[schemars(extend("x-minimum" = "0s", "x-maximum" = "10m"))]
    pub revoke_max: Period,

    /// Which records of transactions are read.
    pub isolation: Isolation,

    /// Read the records' headers. Without them events and dead letters have none, and reading takes
    /// about a sixth less time: the client library looks for them at some length also where there are
    /// none.
    pub headers: bool,

    /// The most that is fetched of one partition at a time. A larger record is fetched all the same.
    #[schemars(extend("x-minimum" = "1KiB", "x-maximum" = "900MiB"))]
    pub fetch_partition_max: Size,

    /// How long a broker waits for something to send.
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "30s"))]
    pub fetch_wait_max: Period,
}

/// How a group shares its partitions. Both move only the partitions that have to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// The members share them out themselves, by the `cooperative-sticky` assignor.
    #[default]
    Classic,
    /// The brokers share them out (KIP-848), from Apache Kafka 4.0.
    Consumer,
}

/// Which records of transactions are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Those of committed ones.
    #[default]
    ReadCommitted,
    /// All, also of open and aborted ones.
    ReadUncommitted,
}

impl Default for KafkaSubscription {
    fn default() -> Self {
        Self {
            protocol: Protocol::default(),
            session: None,
            poll_interval_max: Period::secs(300),
            revoke_max: Period::secs(10),
            isolation: Isolation::default(),
            headers: true,
            fetch_partition_max: Size::mib(1),
            fetch_wait_max: Period::millis(500),
        }
    }
}

impl KafkaSubscription {
    pub(crate) const SESSION: Period = Period::secs(45);
}

impl Component for KafkaSubscription {
    fn check(&self, found: &mut Findings) {
        if self.session.is_some() && self.protocol == Protocol::Consumer {
            found.wrong("session", "is the brokers' to say with protocol = \"consumer\" (group.consumer.session.timeout.ms); leave it out");
        }
        if self.protocol == Protocol::Classic {
            let (session, interval) = (self.session.unwrap_or(Self::SESSION), self.poll_interval_max);
            if interval < session {
                found.wrong(
                    "poll_interval_max",
                    format!("is {interval}, less than the session ({session}); raise it"),
                );
            }
        }
        if self.revoke_max.duration() * 2 > self.poll_interval_max.duration() {
            let (is, of) = (self.revoke_max, self.poll_interval_max);
            found.wrong("revoke_max", format!("is {is}, more than half of poll_interval_max ({of}), after which the group would not wait; lower it"));
        }
    }
}

fn is_loopback(server: &str) -> bool {
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    let host = host.rsplit_once("//").map_or(host, |(_, host)| host).trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use keylane::config::Section;

    use super::*;

    fn refusal<T: Component + std::fmt::Debug>(text: &str) -> String {
        Section::parse(text).unwrap().read::<T>().unwrap_err().to_string()
    }

    #[test]
    fn the_least_that_works() {
        let config: KafkaConfig =
            Section::parse("bootstrap_servers = ['127.0.0.1:9092', '[::1]:9092', 'localhost:1']")
                .unwrap()
                .read()
                .unwrap();
        assert_eq!(config.request_max, Period::secs(10));
        assert_eq!(Section::default().read::<KafkaSubscription>().unwrap(), KafkaSubscription::default());
    }

    #[test]
    fn clear_text_beyond_loopback_is_refused() {
        assert!(refusal::<KafkaConfig>("bootstrap_servers = ['kafka.example:9092']").contains("clear_text"));
        Section::parse("bootstrap_servers = ['kafka.example:9092']\nclear_text = true")
            .unwrap()
            .read::<KafkaConfig>()
            .unwrap();
    }

    #[test]
    fn a_password_is_never_sent_in_the_clear() {
        let text = "bootstrap_servers = ['127.0.0.1:1']\nsasl = { mechanism = 'plain', username = 'a', password = 'geheim' }";
        let refusal = refusal::<KafkaConfig>(text);
        assert!(refusal.contains("tls") && !refusal.contains("geheim"), "{refusal}");
    }

    #[test]
    fn properties_that_the_adapter_relies_on_are_refused() {
        let text =
            |key: &str| format!("bootstrap_servers = ['127.0.0.1:1']\nproperties = {{ '{key}' = 'x' }}");
        for key in ["enable.auto.commit", "group.id", "auto.offset.reset", "acks", "bootstrap.servers"] {
            assert!(refusal::<KafkaConfig>(&text(key)).contains(key), "{key}");
        }
    }

    #[test]
    fn a_session_is_the_brokers_with_the_consumer_protocol() {
        assert!(refusal::<KafkaSubscription>("protocol = 'consumer'\nsession = '10s'").contains("session"));
        assert!(refusal::<KafkaSubscription>("revoke_max = '10m'").contains("revoke_max"));
    }
}
