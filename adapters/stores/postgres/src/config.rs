//! The store's keys in the configuration: `[store.postgres]`.

use keylane::config::{Component, Findings, Period, Secret};
use keylane::{Error, ErrorKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A store in PostgreSQL (14 or later), for services on many machines.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresConfig {
    /// The database: `postgres://user:password@host:port/database`. Further keys of the URL are those of sqlx, such as
    /// `sslmode` and `sslrootcert`. Beyond loopback the server's certificate is verified unless `sslmode` says
    /// otherwise. Left out where the service hands its own pool over.
    pub url: Option<Secret>,
    /// Several databases in place of one: each key lies in one of them, chosen by its hash. Write all of them, always in
    /// the same order: each knows its place, and another list is refused. See the guide.
    #[schemars(length(min = 1, max = 64))]
    pub urls: Option<Vec<Secret>>,
    /// The schema in which all tables lie. It is created where it does not exist.
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z_][a-z0-9_]*$"))]
    pub schema: String,
    /// What stands between this service and the server: nothing, or a pooler that gives a connection for a transaction
    /// at a time, such as pgbouncer in transaction mode. Then every limit is set anew in each transaction and no
    /// statement is kept prepared.
    pub pooler: Pooler,
    /// How many connections commits have for themselves, and as many again those with recorded writes.
    #[schemars(range(min = 1, max = 64))]
    pub commit_connections: u32,
    /// How many connections all else shares, apart from one for the heartbeat and one that listens. Not opened
    /// where the service hands its own pool over.
    #[schemars(range(min = 1, max = 256))]
    pub connections_max: u32,
    /// How long the recorded writes of one transaction may take together: more than a third of `runtime.session` is
    /// refused. Left out: three tenths of it. Given, recorded statements run one by one.
    #[schemars(extend("x-minimum" = "10ms", "x-maximum" = "1m"))]
    pub effect_limit: Option<Period>,
}

/// What stands before the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Pooler {
    /// Nothing: a connection is a connection.
    #[default]
    None,
    /// A connection is one for the time of a transaction.
    Transaction,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self {
            url: None,
            urls: None,
            schema: "keylane".to_owned(),
            pooler: Pooler::None,
            commit_connections: 4,
            connections_max: 8,
            effect_limit: None,
        }
    }
}

impl Component for PostgresConfig {
    fn check(&self, found: &mut Findings) {
        if !is_name(&self.schema) {
            found.wrong("schema", "is no plain name; write lower-case letters, digits and underscores");
        }
        if self.url.is_some() && self.urls.is_some() {
            found.wrong("urls", "stands beside `url`; keep `url` for one database, `urls` for several");
        }
    }
}

impl PostgresConfig {
    /// One configuration for each database, in order.
    pub(crate) fn each(&self) -> Result<Vec<Self>, Error> {
        let one = |url: &Secret| Self { url: Some(url.clone()), urls: None, ..self.clone() };
        match &self.urls {
            None => Ok(vec![self.clone()]),
            Some(urls) if self.url.is_none() && !urls.is_empty() => Ok(urls.iter().map(one).collect()),
            Some(_) => {
                let what =
                    "store.postgres.urls is empty, or stands beside url; write either, with what it needs";
                Err(Error::new(ErrorKind::Config, what))
            }
        }
    }
}

/// Plain enough to stand in a statement as it is.
pub(crate) fn is_name(schema: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c == '_';
    schema.len() <= 40 && schema.starts_with(plain) && schema.chars().all(|c| plain(c) || c.is_ascii_digit())
}
