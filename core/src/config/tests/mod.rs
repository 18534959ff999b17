//! Whole files: what is read from them, and what is said about bad ones. Here is what the tests share.

mod bad;
mod generated;
mod good;
mod hostile;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::*;
use crate::error::ErrorKind;

/// Stands for an embedded store.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["path"]))]
struct Files {
    /// Where the database lies.
    path: String,
}

/// Stands for a server.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Server {
    /// Where it is.
    hosts: Vec<String>,
    /// Its password.
    password: Option<Secret>,
    /// How long a call may take.
    timeout: Period,
    /// How many connections.
    #[schemars(range(min = 1, max = 8))]
    connections: u32,
}

/// Stands for an adapter's keys of a subscription.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["fetch_max"]))]
struct Fetch {
    /// How much at once.
    fetch_max: Size,
}

impl Component for Files {}

impl Component for Server {
    fn check(&self, found: &mut Findings) {
        if let Some(host) = self.hosts.iter().find(|host| !host.contains(':')) {
            found.wrong("hosts", format!("`{host}` has no port; write it as `host:9092`"));
        }
    }
}

impl Component for Fetch {}

fn catalog() -> Catalog {
    Catalog::new()
        .store::<Files>("files")
        .store::<NoKeys>("memory")
        .broker::<NoKeys, NoKeys>("log")
        .broker::<Server, Fetch>("server")
}

fn parse(text: &str) -> Result<Config, Error> {
    let env = |name: &str| match name {
        "PASSWORD" => Some("hunter2".to_owned()),
        "HOST" => Some("example.org:9092".to_owned()),
        "BARE_HOST" => Some("sesame".to_owned()),
        _ => None,
    };
    Config::parse(Source::text("orders.toml", text), &catalog(), &env)
}

/// What `main` would print.
fn report(text: &str) -> String {
    let error = parse(text).expect_err("the configuration is bad");
    assert_eq!(error.kind(), ErrorKind::Config);
    format!("{error:?}")
}

const LEAST: &str = "
[store.memory]
[broker.main.log]
[subscription.billing]
source = 'orders'
";
