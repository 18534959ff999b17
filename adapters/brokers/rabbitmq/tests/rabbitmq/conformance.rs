//! The broker's contract, on a real server: shared queues of both kinds, and an ordered subscription.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use keylane::Env;
use keylane::broker::{Broker, ConsumerSpec, Reset};
use keylane::config::{Section, Size};
use keylane::conformance::broker::{Faults, Harness};
use keylane_rabbitmq::RabbitMqConfig;

use crate::proxy::Proxy;
use crate::server::{Admin, CLASSIC, QUORUM, config, connect, link, server};

mod quorum {
    keylane::broker_conformance!(match super::Queues::new("quorum", false).await {
        Some(queues) => queues,
        None => return,
    });
}

mod classic {
    keylane::broker_conformance!(match super::Queues::new("classic", false).await {
        Some(queues) => queues,
        None => return,
    });
}

mod ordered {
    keylane::broker_conformance!(match super::Queues::new("quorum", true).await {
        Some(queues) => queues,
        None => return,
    });
}

/// Queues of one kind, read and written through a link that can be cut.
struct Queues {
    kind: &'static str,
    ordered: bool,
    uri: String,
    proxy: Option<Proxy>,
    admin: Admin,
    env: Env,
    /// How many queues each source has.
    made: Mutex<BTreeMap<String, u32>>,
}

impl Queues {
    async fn new(kind: &'static str, ordered: bool) -> Option<Self> {
        let direct = server()?;
        let admin = Admin::new(&direct).await;
        let (proxy, uri) = link(&direct).map_or((None, direct), |(proxy, uri)| (Some(proxy), uri));
        Some(Self { kind, ordered, uri, proxy, admin, env: Env::tokio(), made: Mutex::default() })
    }
}

#[async_trait]
impl Harness for Queues {
    fn env(&self) -> Env {
        self.env.clone()
    }

    async fn broker(&self) -> Arc<dyn Broker> {
        connect(RabbitMqConfig { record_max: Size::mib(1), ..config(&self.uri) }).await
    }

    async fn source(&self, partitions: u32) -> String {
        if self.ordered {
            let source = format!("/exchanges/{}", self.admin.ordered(self.kind, partitions).await);
            self.made.lock().unwrap().insert(source.clone(), partitions);
            return source;
        }
        self.admin.queue(self.kind, &[]).await
    }

    fn spec(&self, source: &str, group: &str, reset: Reset) -> ConsumerSpec {
        let kind = if self.kind == "quorum" { QUORUM } else { CLASSIC };
        let queues = self.made.lock().unwrap().get(source).copied().unwrap_or(1);
        let queues = if self.ordered { format!("\nqueues = {queues}") } else { String::new() };
        ConsumerSpec {
            subscription: group.into(),
            source: source.into(),
            group: group.into(),
            reset,
            unsettled_max: 1024,
            prefetch_bytes_max: 16 << 20,
            settings: Section::parse(&format!("{kind}{queues}")).unwrap(),
        }
    }

    fn idle_limit(&self) -> Duration {
        // Longer than a silent connection may be.
        Duration::from_secs(5)
    }

    fn too_large(&self) -> Option<usize> {
        Some((1 << 20) + 1)
    }

    fn faults(&self) -> Option<&dyn Faults> {
        Some(self)
    }
}

#[async_trait]
impl Faults for Queues {
    fn can_cut(&self) -> bool {
        self.proxy.is_some()
    }

    async fn cut(&self) {
        self.proxy.iter().for_each(Proxy::cut);
    }

    async fn mend(&self) {
        self.proxy.iter().for_each(Proxy::mend);
    }

    async fn delete(&self, source: &str) -> bool {
        let queue = match source.strip_prefix("/exchanges/") {
            Some(exchange) => format!("{exchange}.0"),
            None => source.to_owned(),
        };
        self.admin.delete(&queue).await;
        true
    }
}
