//! `[broker.NAME.rabbitmq]`.

use std::net::IpAddr;

use keylane::config::{Component, Findings, Period, Secret, Size};
use lapin::uri::{AMQPScheme, AMQPUri, SASLMechanism};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A RabbitMQ server or cluster and how to reach it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["uri"]))]
pub struct RabbitMqConfig {
    /// Where and as whom: `amqps://USER:PASSWORD@HOST/VHOST`, percent-encoded. `amqp://` sends the password in clear
    /// text and is refused beyond this machine. The virtual host `/` is written `%2f`.
    pub uri: Secret,

    /// What to trust beside the authorities that the system trusts, and how to be trusted.
    pub tls: Option<TlsConfig>,

    /// By what name the server lists our connections.
    #[schemars(length(min = 1, max = 200))]
    pub client_name: String,

    /// After how much silence a connection counts as dead.
    #[schemars(extend("x-minimum" = "2s", "x-maximum" = "5m"))]
    pub heartbeat: Period,

    /// How long opening a connection may take.
    #[schemars(extend("x-minimum" = "100ms", "x-maximum" = "2m"))]
    pub connect_max: Period,

    /// How long one request may take: a check of the topology, a declaration, a start to consume.
    #[schemars(extend("x-minimum" = "100ms", "x-maximum" = "5m"))]
    pub request_max: Period,

    /// The longest wait before a lost connection is tried again; the first one is a tenth of a second.
    #[schemars(extend("x-minimum" = "100ms", "x-maximum" = "10m"))]
    pub reconnect_max: Period,

    /// How long publishing may take until the server has confirmed. A server that blocks publishers, because it is short
    /// of memory or disk, lets this run out.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "1h"))]
    pub publish_max: Period,

    /// The largest message to publish. The server has a limit of its own, from 4.0 on 16 MiB by default; to exceed that
    /// one ends the connection.
    #[schemars(extend("x-minimum" = "1KiB", "x-maximum" = "512MiB"))]
    pub record_max: Size,
}

/// How to trust the server and how to be trusted.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// PEM file of the authorities that sign the server's certificate, beside those the system trusts.
    pub ca_file: Option<String>,

    /// PEM file of our own certificate, where the server asks for one.
    pub certificate_file: Option<String>,

    /// PEM file of its private key.
    pub key_file: Option<String>,
}

impl Default for RabbitMqConfig {
    fn default() -> Self {
        Self {
            uri: String::new().into(),
            tls: None,
            client_name: "keylane".into(),
            heartbeat: Period::secs(10),
            connect_max: Period::secs(10),
            request_max: Period::secs(10),
            reconnect_max: Period::secs(10),
            publish_max: Period::secs(30),
            record_max: Size::mib(16),
        }
    }
}

impl Component for RabbitMqConfig {
    fn check(&self, found: &mut Findings) {
        match self.uri.expose().parse::<AMQPUri>() {
            // The parser's words may hold the password.
            Err(_) => found.wrong("uri", "can't be read; write amqps://USER:PASSWORD@HOST/VHOST"),
            Ok(uri) => self.check_uri(&uri, found),
        }
        if let Some(tls) = &self.tls
            && tls.certificate_file.is_some() != tls.key_file.is_some()
        {
            found.wrong("tls", "needs both of certificate_file and key_file, or neither");
        }
    }
}

impl RabbitMqConfig {
    fn check_uri(&self, uri: &AMQPUri, found: &mut Findings) {
        let mechanism = uri.query.auth_mechanism.unwrap_or_default();
        if uri.scheme == AMQPScheme::AMQPS {
            return;
        }
        if self.tls.is_some() {
            found.wrong("uri", "is amqp, which has no TLS, beside a table `tls`; write amqps://");
        } else if !is_loopback(&uri.authority.host) && mechanism != SASLMechanism::External {
            found.wrong(
                "uri",
                format!(
                    "would send the password to {} in clear text, beyond this machine; write amqps://",
                    uri.authority.host
                ),
            );
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use keylane::config::Section;

    use super::*;

    fn read(text: &str) -> Result<RabbitMqConfig, String> {
        Section::parse(text).unwrap().read().map_err(|error| error.to_string())
    }

    #[test]
    fn the_least_that_works() {
        for uri in ["amqp://guest:guest@127.0.0.1:5672/%2f", "amqp://a:b@[::1]/v", "amqps://a:b@mq.example/v"]
        {
            let config = read(&format!("uri = '{uri}'")).unwrap();
            assert_eq!(config.record_max, Size::mib(16));
            assert!(!format!("{config:?}").contains("guest"));
        }
        assert!(read("").unwrap_err().contains("uri"));
    }

    #[test]
    fn a_password_is_never_sent_in_the_clear_beyond_loopback() {
        let refusal = read("uri = 'amqp://me:geheim@mq.example/v'").unwrap_err();
        assert!(refusal.contains("amqps://") && !refusal.contains("geheim"), "{refusal}");
        let refusal = read("uri = 'ws://me:geheim@mq.example'").unwrap_err();
        assert!(refusal.contains("amqps://") && !refusal.contains("geheim"), "{refusal}");
    }

    #[test]
    fn tls_is_whole_or_not_there() {
        assert!(read("uri = 'amqp://a:b@127.0.0.1/v'\ntls = {}").unwrap_err().contains("amqps"));
        let half = "uri = 'amqps://a:b@127.0.0.1/v'\ntls = { certificate_file = 'x' }";
        assert!(read(half).unwrap_err().contains("key_file"));
    }
}
