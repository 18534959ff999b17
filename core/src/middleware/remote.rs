//! W3C trace context in an event's headers: one trace from the sender to the handler.
//!
//! It is read and written here instead of by OpenTelemetry's global propagator, because that one does
//! nothing until somebody sets it, and headers here are not always text. Version 00 of the format, and of
//! later versions what they share with it.

use bytes::Bytes;
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::event::Headers;
use crate::text::Text;

const PARENT: Text = Text::from_static("traceparent");
const STATE: Text = Text::from_static("tracestate");

/// The specification has every participant carry at least so much; a longer state is dropped whole.
const STATE_BYTES_MAX: usize = 512;

/// Makes the sender's span the remote parent of `span`. Without a well-formed `traceparent`, or without
/// a subscriber that takes part in OpenTelemetry, nothing happens. Call it before `span` is entered.
pub fn adopt(span: &Span, headers: &Headers) {
    if let Some(parent) = parent(headers) {
        // An error says that nobody records the span for OpenTelemetry: then there is nothing to join.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
}

/// Writes `span` into the headers of a record to be published, over what stood there. A span that
/// nobody records for OpenTelemetry leaves the headers as they are.
pub fn inject(span: &Span, headers: &mut Headers) {
    let context = span.context();
    let current = context.span().span_context().clone();
    if !current.is_valid() {
        return;
    }
    let flags = current.trace_flags() & TraceFlags::SAMPLED;
    let parent = format!("00-{}-{}-{:02x}", current.trace_id(), current.span_id(), flags.to_u8());
    headers.set(&PARENT, parent.into());
    let state = current.trace_state().header();
    if state.is_empty() {
        headers.remove(&STATE);
    } else {
        headers.set(&STATE, state.into());
    }
}

/// The sender's span as the headers tell it.
fn parent(headers: &Headers) -> Option<SpanContext> {
    let (trace, span, flags) = traceparent(any_case(headers, &PARENT)?)?;
    let state = any_case(headers, &STATE).filter(|state| state.len() <= STATE_BYTES_MAX);
    // A state that can't be read is dropped, as the specification says; the trace goes on.
    let state = state.and_then(|state| std::str::from_utf8(state).ok()?.parse::<TraceState>().ok());
    Some(SpanContext::new(trace, span, flags, true, state.unwrap_or_default())).filter(SpanContext::is_valid)
}

/// Header names have no letter case on some brokers.
fn any_case<'a>(headers: &'a Headers, name: &Text) -> Option<&'a Bytes> {
    let is_it = |found: &Text| found.as_bytes().eq_ignore_ascii_case(name.as_bytes());
    headers.iter().find(|(found, _)| is_it(found)).map(|(_, value)| value)
}

/// `version-trace-span-flags` in lower-case hexadecimal digits. A later version may add fields behind.
fn traceparent(value: &[u8]) -> Option<(TraceId, SpanId, TraceFlags)> {
    let mut fields = value.split(|byte| *byte == b'-');
    let version = digits(fields.next()?, 2)?;
    let trace = u128::from_str_radix(digits(fields.next()?, 32)?, 16).ok()?;
    let span = u64::from_str_radix(digits(fields.next()?, 16)?, 16).ok()?;
    let flags = u8::from_str_radix(digits(fields.next()?, 2)?, 16).ok()?;
    if version == "ff" || (version == "00" && fields.next().is_some()) {
        return None;
    }
    Some((trace.into(), span.into(), TraceFlags::new(flags) & TraceFlags::SAMPLED))
}

fn digits(field: &[u8], length: usize) -> Option<&str> {
    let sound = field.len() == length && field.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    std::str::from_utf8(field).ok().filter(|_| sound)
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::event::Record;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// The spans that `run` leaves behind in a process of its own.
    fn spans(run: impl FnOnce()) -> Vec<SpanData> {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), run);
        exporter.get_finished_spans().unwrap()
    }

    #[test]
    fn one_trace_at_both_ends() {
        let mut headers = Headers::new();
        headers.push(PARENT, "somebody else's".into());
        headers.push(STATE, "somebody=else".into());
        let sent = spans(|| inject(&tracing::info_span!("publish"), &mut headers));
        assert_eq!(headers.len(), 1, "{headers:?}");
        let handled = spans(|| {
            let span = tracing::info_span!("handle");
            adopt(&span, &headers);
            span.in_scope(|| tracing::info_span!("inside").in_scope(|| {}));
        });
        let [sent] = &sent[..] else { panic!("{sent:?}") };
        let [inside, handle] = &handled[..] else { panic!("{handled:?}") };
        for span in [inside, handle] {
            assert_eq!(span.span_context.trace_id(), sent.span_context.trace_id());
        }
        assert_eq!(handle.parent_span_id, sent.span_context.span_id());
        assert!(handle.parent_span_is_remote);
        assert_eq!(inside.parent_span_id, handle.span_context.span_id());
    }

    #[test]
    fn the_senders_state_is_handed_on() {
        let record =
            Record::default().with_header("TraceParent", EXAMPLE).with_header("tracestate", "a=1,b=2");
        let mut onward = Headers::new();
        spans(|| {
            let span = tracing::info_span!("handle");
            adopt(&span, &record.headers);
            inject(&span, &mut onward);
        });
        assert_eq!(onward.text("tracestate"), Some("a=1,b=2"));
        assert_eq!(&onward.text("traceparent").unwrap()[..36], &EXAMPLE[..36]);
    }

    #[test]
    fn without_opentelemetry_headers_stay_as_they_are() {
        let mut headers = Record::default().with_header("traceparent", EXAMPLE).headers;
        let before = headers.clone();
        tracing::subscriber::with_default(tracing_subscriber::registry(), || {
            let span = tracing::info_span!("handle");
            adopt(&span, &headers);
            inject(&span, &mut headers);
        });
        assert_eq!(headers, before);
    }

    #[test]
    fn what_the_format_allows() {
        let read = |value: &str| {
            let record = Record::default().with_header("traceparent", value.to_owned());
            parent(&record.headers).map(|span| (span.trace_id().to_string(), span.is_sampled()))
        };
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(read(EXAMPLE), Some((trace.into(), true)));
        assert_eq!(read(&format!("00-{trace}-00f067aa0ba902b7-fe")), Some((trace.into(), false)));
        assert_eq!(read(&format!("01-{trace}-00f067aa0ba902b7-01-later")), Some((trace.into(), true)));
        for wrong in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
