//! One connection to the server: how it is opened, and how it ends within a limit.

use std::time::Duration;

use keylane::{Env, Error, ErrorKind};
use lapin::tcp::{AMQPUriTcpExt, OwnedIdentity, OwnedTLSConfig};
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties};

use crate::config::{RabbitMqConfig, TlsConfig};
use crate::error;
use crate::version::{self, Version};

/// How connections are opened.
pub(crate) struct Links {
    env: Env,
    uri: AMQPUri,
    tls: OwnedTLSConfig,
    client_name: String,
    connect_limit: Duration,
    /// How long one request may take.
    pub(crate) request_limit: Duration,
    /// The longest wait before the next try.
    pub(crate) reconnect_max: Duration,
}

impl Links {
    /// Reads the files that the configuration names.
    pub(crate) fn new(config: &RabbitMqConfig, env: Env) -> Result<Self, Error> {
        let wrong = || Error::new(ErrorKind::Config, "uri of rabbitmq can't be read");
        let mut uri: AMQPUri = config.uri.expose().parse().map_err(|_| wrong())?;
        // The server is told the seconds; a lower number of its own wins.
        let heartbeat = config.heartbeat.duration().as_secs().clamp(1, 600);
        uri.query.heartbeat = Some(u16::try_from(heartbeat).unwrap_or(600));
        Ok(Self {
            env,
            uri,
            tls: config.tls.as_ref().map_or(Ok(OwnedTLSConfig::default()), files)?,
            client_name: config.client_name.clone(),
            connect_limit: config.connect_max.duration(),
            request_limit: config.request_max.duration(),
            reconnect_max: config.reconnect_max.duration(),
        })
    }

    /// `purpose` is shown by the server beside the client's name.
    pub(crate) async fn open(&self, purpose: &str) -> Result<Connection, Error> {
        // lapin's own recovery stays off: after a channel's error its stream is silent for ever, and after a cut its
        // deliveries' tags mean other messages.
        let name = format!("{} {purpose}", self.client_name);
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let runtime = lapin::runtime::default_runtime().map_err(|cause| self.failed(cause))?;
        let opening =
            Connection::connect_uri_with_config(self.uri.clone(), properties, self.tls.clone(), runtime);
        let opened = self.env.timeout("connecting to rabbitmq", self.connect_limit, opening).await?;
        opened.map_err(|cause| self.failed(cause))
    }

    /// Which release the server is, by a connection that says no more than hello.
    pub(crate) async fn server(&self) -> Result<Version, Error> {
        let runtime = lapin::runtime::default_runtime().map_err(|cause| self.failed(cause))?;
        let asking = async {
            let opened = self.uri.connect_with_config_async(self.tls.as_ref(), &runtime).await;
            version::ask(opened.map_err(|cause| self.failed(cause.into()))?).await
        };
        self.env.timeout("asking a rabbitmq server for its release", self.connect_limit, asking).await?
    }

    fn failed(&self, cause: lapin::Error) -> Error {
        let authority = &self.uri.authority;
        error::error(format!("connecting to rabbitmq at {}:{}", authority.host, authority.port), cause)
    }

    /// One request, within its limit.
    pub(crate) async fn request<T>(
        &self,
        what: &'static str,
        request: impl Future<Output = lapin::Result<T>>,
    ) -> Result<lapin::Result<T>, Error> {
        self.env.timeout(what, self.request_limit, request).await
    }

    pub(crate) async fn channel(&self, connection: &Connection) -> Result<Channel, Error> {
        let channel = self.request("opening a rabbitmq channel", connection.create_channel()).await?;
        channel.map_err(|cause| error::error("opening a rabbitmq channel", cause))
    }
}

/// Says good-bye, for at most so long; then the connection is dropped all the same.
pub(crate) async fn part(env: &Env, connection: Connection, within: Duration) {
    let parted =
        env.timeout("closing a rabbitmq connection", within, connection.close(200, "closed".into())).await;
    match parted {
        Ok(Ok(())) => {}
        // It may be gone already.
        Ok(Err(cause)) => tracing::debug!(%cause, "rabbitmq: a connection ended without a good-bye"),
        Err(error) => tracing::debug!(%error, "rabbitmq: a connection ended without a good-bye"),
    }
}

fn files(tls: &TlsConfig) -> Result<OwnedTLSConfig, Error> {
    let read = |key: &str, path: &Option<String>| {
        let read = |path: &String| {
            std::fs::read(path).map_err(|cause| {
                let what = format!("{key} in the table `tls` of rabbitmq can't be read: {path}");
                Error::new(ErrorKind::Config, what).with_source(cause)
            })
        };
        path.as_ref().map(read).transpose()
    };
    let authorities = read("ca_file", &tls.ca_file)?;
    if authorities.as_deref().is_some_and(|pem| !pem.windows(10).any(|part| part == b"-----BEGIN")) {
        return Err(Error::new(ErrorKind::Config, "ca_file in the table `tls` of rabbitmq is no PEM file"));
    }
    let certificate = read("certificate_file", &tls.certificate_file)?;
    let key = read("key_file", &tls.key_file)?;
    let identity = certificate.zip(key).map(|(pem, key)| OwnedIdentity::PKCS8 { pem, key });
    Ok(OwnedTLSConfig {
        identity,
        cert_chain: authorities.map(|pem| String::from_utf8_lossy(&pem).into_owned()),
    })
}
