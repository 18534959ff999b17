//! What others see of a service: one trace from the sender to the handler, and metrics under agreed names.

use keylane::event::{Headers, Record};
use keylane::middleware::remote;
use keylane::testing::Service;
use keylane::{Batch, Failure, RawEvent, Routes};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use metrics_util::{CompositeKey, MetricKind};
use opentelemetry::trace::{SpanId, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt as _;

/// Keeps the spans of this thread until it is asked for them. Runtime and broker of a [`Service`] live on it too.
struct Collected {
    exporter: InMemorySpanExporter,
    _guard: DefaultGuard,
}

impl Collected {
    /// Every call site has been met before, and is asked again who listens: one that another thread is meeting for
    /// the first time just now may have decided that nobody does.
    async fn here() -> Self {
        let own = Self::new();
        let service = Service::start(Routes::new().all(handle)).await;
        service.publish("key", "kind", "payload").await;
        service.settled().await;
        tracing::callsite::rebuild_interest_cache();
        own.exporter.reset();
        own
    }

    fn new() -> Self {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        Self { exporter, _guard: guard }
    }

    fn named(&self, name: &str) -> Vec<SpanData> {
        let spans = self.exporter.get_finished_spans().expect("nobody panicked holding them");
        spans.into_iter().filter(|span| span.name == name).collect()
    }
}

/// A handler whose own spans stand below the runtime's.
async fn handle(_: RawEvent) -> Result<(), Failure> {
    tracing::info_span!("inside").in_scope(|| Ok(()))
}

#[tokio::test]
async fn one_trace_from_the_sender_through_the_broker_to_the_handler() {
    let collected = Collected::here().await;
    let service = Service::start(Routes::new().all(handle)).await;
    let mut record = Record::new("payload").with_key("key");
    remote::inject(&tracing::info_span!("send"), &mut record.headers);
    assert!(record.headers.text("traceparent").is_some());
    service.publish_record(record).await;
    service.settled().await;

    let [sent] = &collected.named("send")[..] else { panic!("the sender has one span") };
    let [process] = &collected.named("process")[..] else { panic!("the event is handled once") };
    let [inside] = &collected.named("inside")[..] else { panic!("the handler has one span") };
    assert_eq!(process.span_context.trace_id(), sent.span_context.trace_id());
    assert_eq!(process.parent_span_id, sent.span_context.span_id());
    assert!(process.parent_span_is_remote);
    assert_eq!(inside.span_context.trace_id(), sent.span_context.trace_id());
    assert_eq!(inside.parent_span_id, process.span_context.span_id());
}

#[tokio::test]
async fn each_try_of_an_event_joins_its_senders_trace() {
    async fn fails(_: RawEvent) -> Result<(), Failure> {
        Err(Failure::new("always"))
    }
    let collected = Collected::here().await;
    let retry = "[subscription.service.retry]\nattempts_max = 3";
    let service = Service::configured(Routes::new().all(fails), retry).await;
    let mut record = Record::new("payload").with_key("key");
    remote::inject(&tracing::info_span!("send"), &mut record.headers);
    service.publish_record(record.clone()).await;
    service.settled().await;
    let sent = collected.named("send")[0].span_context.clone();
    let tries = collected.named("process");
    assert_eq!(tries.len(), 3);
    assert!(tries.iter().all(|span| span.parent_span_id == sent.span_id()), "{tries:?}");
    // What is kept for later still says whose it was.
    assert_eq!(service.dead_letters().await[0].record.headers, record.headers);
}

#[tokio::test]
async fn a_hostile_or_absent_parent_gives_a_root_span_and_no_error() {
    let hostile: [&[u8]; 8] = [
        b"",
        b"00",
        b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        b"\xff\xfe\0\r\n",
        &[b'-'; 4096],
    ];
    let mut all: Vec<Headers> = vec![Headers::new()];
    all.extend(hostile.map(|value| Record::default().with_header("traceparent", value.to_vec()).headers));
    let events = all.len();
    let collected = Collected::here().await;
    let service = Service::start(Routes::new().all(handle)).await;
    for headers in all {
        service.publish_record(Record { headers, ..Record::new("payload").with_key("key") }).await;
    }
    service.settled().await;

    assert!(service.dead_letters().await.is_empty());
    let handled = collected.named("process");
    assert_eq!(handled.len(), events);
    assert!(handled.iter().all(|span| span.parent_span_id == SpanId::INVALID), "{handled:?}");
    let mut traces: Vec<_> = handled.iter().map(|span| span.span_context.trace_id()).collect();
    traces.sort_unstable_by_key(|trace| trace.to_bytes());
    traces.dedup();
    assert_eq!(traces.len(), events, "a root span begins a trace of its own");
}

/// Labels, unit, and the value as text.
type Metric<'a> = (Vec<(&'a str, &'a str)>, Option<metrics::Unit>, String);

/// All that was recorded.
struct Seen(Vec<(CompositeKey, Option<metrics::Unit>, DebugValue)>);

impl Seen {
    fn of(snapshotter: &Snapshotter) -> Self {
        let all = snapshotter.snapshot().into_vec();
        Self(all.into_iter().map(|(key, unit, _, value)| (key, unit, value)).collect())
    }

    fn named(&self, kind: MetricKind, name: &str) -> Vec<Metric<'_>> {
        let same = |key: &CompositeKey| key.kind() == kind && key.key().name() == name;
        let found = self.0.iter().filter(|(key, ..)| same(key));
        found
            .map(|(key, unit, value)| {
                let labels = key.key().labels().map(|label| (label.key(), label.value())).collect();
                (labels, *unit, said(value))
            })
            .collect()
    }
}

fn said(value: &DebugValue) -> String {
    match value {
        DebugValue::Counter(n) => n.to_string(),
        DebugValue::Gauge(n) => n.to_string(),
        DebugValue::Histogram(all) => all.iter().map(|n| format!("{n} ")).collect(),
    }
}

const ABOUT: [(&str, &str); 3] = [
    ("messaging.system", "memory"),
    ("messaging.destination.name", "events"),
    ("messaging.consumer.group.name", "service"),
];

fn about(more: (&'static str, &'static str)) -> Vec<(&'static str, &'static str)> {
    ABOUT.into_iter().chain([more]).collect()
}

/// A handler that lasts as long as its limit, which is the only way for time to pass in a test.
async fn lasts(event: RawEvent) -> Result<(), Failure> {
    if **event == *b"slow" { std::future::pending().await } else { Ok(()) }
}

#[tokio::test]
async fn metrics_bear_opentelemetrys_names_and_units() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let toml = "timeout = \"2s\"\n[subscription.service.retry]\nattempts_max = 2";
    let service = Service::configured(Routes::new().all(lasts), toml).await;
    for (id, payload) in [("a", "quick"), ("a", "quick"), ("b", "slow")] {
        service.publish_as(id, "key", "kind", payload).await;
    }
    service.settled().await;

    let seen = Seen::of(&snapshotter);
    let one = |kind, name| seen.named(kind, name).pop().expect("the metric is there");
    let (labels, unit, value) = one(MetricKind::Counter, "messaging.client.consumed.messages");
    assert_eq!(labels, about(("messaging.operation.name", "poll")));
    assert_eq!((unit, &*value), (Some(metrics::Unit::Count), "3"));
    let (labels, unit, value) = one(MetricKind::Histogram, "messaging.process.duration");
    assert_eq!(labels, about(("messaging.operation.name", "process")));
    // Seconds, as OpenTelemetry has them: two tries of the slow one, up to their limit.
    assert_eq!((unit, &*value), (Some(metrics::Unit::Seconds), "0 2 2 "));
    for (outcome, n) in [("handled", "1"), ("duplicate", "1"), ("retried", "1"), ("dead", "1")] {
        let all = seen.named(MetricKind::Counter, "keylane.process.events");
        let found = all.iter().find(|(labels, ..)| *labels == about(("keylane.outcome", outcome)));
        let (_, unit, value) = found.unwrap_or_else(|| panic!("{outcome} is not counted: {all:?}"));
        assert_eq!((*unit, &**value), (Some(metrics::Unit::Count), n), "{outcome}");
    }
}

#[tokio::test]
async fn no_label_carries_what_a_sender_chose() {
    async fn any(batch: Batch<String>) -> Result<(), Failure> {
        batch.iter().try_for_each(|item| if item.len() > 1 { Ok(()) } else { Err(Failure::new("short")) })
    }
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let routes = Routes::new().on_batch("chosen-kind", any).all(lasts);
    let service = Service::start(routes).await;
    for n in 0..20 {
        let (id, kind) = (format!("chosen-id-{n}"), if n % 2 == 0 { "chosen-kind" } else { "chosen-other" });
        service.publish_as(&id, &format!("chosen-key-{n}"), kind, format!("\"chosen-payload-{n}\"")).await;
        service.publish_as(&id, &format!("chosen-key-{n}"), kind, "\"chosen-conflict\"").await;
    }
    service.publish("chosen-key", "chosen-kind", "no JSON").await;
    service.settled().await;

    let seen = Seen::of(&snapshotter);
    assert!(!seen.0.is_empty());
    for (key, ..) in &seen.0 {
        for label in key.key().labels() {
            assert!(!label.value().contains("chosen"), "{label:?} of {}", key.key().name());
        }
    }
    // As many as one event would make: what senders choose multiplies no series.
    assert_eq!(seen.0.len(), 6, "{:?}", seen.0.iter().map(|(key, ..)| key).collect::<Vec<_>>());
}
