//! The same configuration in librdkafka's words.

use std::time::Duration;

use rdkafka::ClientConfig;

use crate::config::{Isolation, KafkaConfig, KafkaSubscription, Mechanism, Protocol};

/// Names that `properties` may not set, and what to write instead. A trailing dot stands for all
/// names that begin so.
const OWNED: [(&str, &str); 26] = [
    ("bootstrap.servers", "write bootstrap_servers"),
    ("metadata.broker.list", "write bootstrap_servers"),
    ("client.id", "write client_id"),
    ("security.protocol", "write the tables `tls` and `sasl`"),
    ("sasl.mechanism", "write the table `sasl`"),
    ("sasl.mechanisms", "write the table `sasl`"),
    ("sasl.username", "write the table `sasl`"),
    ("sasl.password", "write the table `sasl`"),
    ("ssl.", "write the table `tls`"),
    ("enable.ssl.certificate.verification", "certificates are always checked"),
    ("group.", "the subscription says `group`, and its table `kafka` the protocol"),
    ("partition.assignment.strategy", "it is cooperative-sticky"),
    ("session.timeout.ms", "write `session` in [subscription.NAME.kafka]"),
    ("max.poll.interval.ms", "write `poll_interval_max` in [subscription.NAME.kafka]"),
    ("isolation.level", "write `isolation` in [subscription.NAME.kafka]"),
    ("enable.auto.", "positions are committed when the work is durable"),
    ("auto.offset.reset", "the subscription says `start`"),
    ("auto.commit.interval.ms", "positions are committed when the work is durable"),
    ("enable.partition.eof", "nothing here would read it"),
    ("queued.max.messages.kbytes", "the subscription's budget says it"),
    ("enable.idempotence", "publishing is always idempotent"),
    ("acks", "publishing always waits for all in-sync replicas"),
    ("request.required.acks", "publishing always waits for all in-sync replicas"),
    ("partitioner", "keys choose the partition as Java's clients do"),
    ("message.timeout.ms", "write publish_max"),
    ("message.max.bytes", "write record_max"),
];

/// Batches stay below what topics allow for a whole batch, so that a record that is too large fails
/// alone.
const BATCH: u32 = 128 * 1024;

/// What to write instead of a property that is ours.
pub(crate) fn owned(property: &str) -> Option<&'static str> {
    let is = |name: &str| property == name || (name.ends_with('.') && property.starts_with(name));
    OWNED.iter().find(|(name, _)| is(name)).map(|(_, instead)| *instead)
}

/// What every client of the cluster shares.
pub(crate) fn client(config: &KafkaConfig) -> ClientConfig {
    let mut native = ClientConfig::new();
    for (key, value) in &config.properties {
        native.set(key, value);
    }
    native.set("bootstrap.servers", config.bootstrap_servers.join(","));
    native.set("client.id", &config.client_id);
    native.set("socket.timeout.ms", millis(config.request_max.duration().max(Duration::from_secs(1))));
    native.set("security.protocol", security(config));
    if let Some(tls) = &config.tls {
        let mut set = |key: &str, value: Option<&str>| {
            if let Some(value) = value {
                native.set(key, value);
            }
        };
        set("ssl.ca.location", tls.ca_file.as_deref());
        set("ssl.certificate.location", tls.certificate_file.as_deref());
        set("ssl.key.location", tls.key_file.as_deref());
        set("ssl.key.password", tls.key_password.as_ref().map(keylane::config::Secret::expose));
    }
    if let Some(sasl) = &config.sasl {
        let mechanism = match sasl.mechanism {
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::Plain => "PLAIN",
        };
        native.set("sasl.mechanisms", mechanism);
        native.set("sasl.username", &sasl.username);
        native.set("sasl.password", sasl.password.expose());
    }
    native
}

/// A member of a group. `held` is what librdkafka may hold of fetched records.
pub(crate) fn consumer(
    config: &KafkaConfig,
    of: &KafkaSubscription,
    group: &str,
    held: usize,
) -> ClientConfig {
    let mut native = client(config);
    native.set("group.id", group);
    native.set("enable.auto.commit", "false");
    native.set("enable.auto.offset.store", "false");
    // Reading begins where `start` says. If that is no longer there, jumping elsewhere would lose
    // records in silence (rule L2).
    native.set("auto.offset.reset", "error");
    native.set("max.poll.interval.ms", millis(of.poll_interval_max.duration()));
    match of.protocol {
        Protocol::Classic => {
            let session = of.session.unwrap_or(KafkaSubscription::SESSION).duration();
            native.set("group.protocol", "classic");
            native.set("partition.assignment.strategy", "cooperative-sticky");
            native.set("session.timeout.ms", millis(session));
            native.set("heartbeat.interval.ms", millis((session / 4).min(Duration::from_secs(3))));
        }
        Protocol::Consumer => {
            native.set("group.protocol", "consumer");
        }
    }
    let isolation = match of.isolation {
        Isolation::ReadCommitted => "read_committed",
        Isolation::ReadUncommitted => "read_uncommitted",
    };
    native.set("isolation.level", isolation);
    let held = held.clamp(16 * 1024, 2_000_000_000);
    native.set("queued.max.messages.kbytes", (held / 1024).to_string());
    let fetch = of.fetch_partition_max.as_usize().min(held);
    native.set("max.partition.fetch.bytes", fetch.to_string());
    native.set("fetch.wait.max.ms", millis(of.fetch_wait_max.duration()));
    let unless_said = [
        // A consumer whose queue was full for a moment should not stand still for a second.
        ("fetch.queue.backoff.ms", "20"),
        // Measured for every record, and pushed to brokers that rarely ask.
        ("enable.metrics.push", "false"),
    ];
    for (key, value) in unless_said {
        if !config.properties.contains_key(key) {
            native.set(key, value);
        }
    }
    native
}

/// A publisher.
pub(crate) fn producer(config: &KafkaConfig) -> ClientConfig {
    let mut native = client(config);
    native.set("enable.idempotence", "true");
    native.set("acks", "all");
    native.set("partitioner", "murmur2_random");
    native.set("message.timeout.ms", millis(config.publish_max.duration()));
    native.set("message.max.bytes", config.record_max.bytes().max(1000).to_string());
    for (key, value) in [("batch.size", BATCH.to_string()), ("linger.ms", "1".into())] {
        if !config.properties.contains_key(key) {
            native.set(key, value);
        }
    }
    native
}

fn security(config: &KafkaConfig) -> &'static str {
    match (config.tls.is_some(), config.sasl.is_some()) {
        (false, false) => "plaintext",
        (false, true) => "sasl_plaintext",
        (true, false) => "ssl",
        (true, true) => "sasl_ssl",
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().max(1).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_owned_whole() {
        assert!(owned("ssl.ca.location").is_some());
        assert!(owned("enable.auto.offset.store").is_some());
        assert!(owned("socket.nagle.disable").is_none());
        assert!(owned("acksx").is_none());
    }

    #[test]
    fn librdkafka_takes_what_is_written() {
        let config = KafkaConfig { bootstrap_servers: vec!["127.0.0.1:1".into()], ..KafkaConfig::default() };
        for protocol in [Protocol::Classic, Protocol::Consumer] {
            let of = KafkaSubscription { protocol, ..KafkaSubscription::default() };
            consumer(&config, &of, "g", 1024).create_native_config().unwrap();
        }
        producer(&config).create_native_config().unwrap();
    }
}
