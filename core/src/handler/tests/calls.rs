//! Arguments of single events.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

#[test]
fn arguments_come_by_type_in_any_order() {
    async fn paid(
        cx: Context,
        State(factor): State<u64>,
        event: Event<Paid>,
        raw: RawEvent,
    ) -> Result<(), Failure> {
        assert_eq!(event.cents * factor, 84);
        assert_eq!(event.meta().id.to_text(), "e0");
        assert_eq!(raw.into_inner(), r#"{"cents": 42}"#);
        assert_eq!((cx.attempt(), cx.fencing_token()), (1, 7));
        Err(Failure::new("seen"))
    }
    let routes = Routes::new().on("order.paid", paid).with_state(2_u64);
    let outcome = run(routes, call("order.paid", &[r#"{"cents": 42}"#]));
    assert_eq!(failures(&outcome), [(0, "seen".to_owned())]);
}

#[test]
fn each_attempt_decodes_anew_from_the_raw_bytes() {
    static DECODED: AtomicU32 = AtomicU32::new(0);
    struct Counting;
    impl Codec<Vec<u8>> for Counting {
        fn decode(bytes: &bytes::Bytes) -> Result<Vec<u8>, Failure> {
            DECODED.fetch_add(1, Ordering::Relaxed);
            Ok(bytes.to_vec())
        }
    }
    let handler = async |event: Event<Vec<u8>, Counting>| {
        let mut payload = event.into_inner();
        assert_eq!(payload, b"abc");
        payload.clear();
    };
    let table = Routes::new().all(handler).build();
    let route = table.lookup(&"any".into()).expect("all kinds are routed");
    let call = call("any", &["abc"]);
    for _ in 0..2 {
        assert!(ready(route.handler.call(call.clone())).expect("it waits for nothing").is_done());
    }
    assert_eq!(DECODED.load(Ordering::Relaxed), 2);
}

#[test]
fn what_can_t_be_decoded_never_reaches_the_handler() {
    async fn handler(_: Event<Paid>) {
        panic!("called")
    }
    let outcome = run(Routes::new().on("order.paid", handler), call("order.paid", &["{}"]));
    let failure = outcome.failure().expect("it failed");
    assert_eq!(failure.class(), FailureClass::Undecodable);
    let message = failure.to_string();
    assert!(message.starts_with("payload of kind `order.paid` is not a `"), "{message}");
    assert!(message.contains("missing field `cents`"), "{message}");
}

#[test]
fn a_part_of_the_state_is_taken_by_its_type() {
    #[derive(Clone)]
    struct App {
        name: String,
    }
    impl FromRef<App> for String {
        fn from_ref(app: &App) -> String {
            app.name.clone()
        }
    }
    async fn both(State(name): State<String>, State(app): State<App>) {
        assert_eq!((name.as_str(), app.name.as_str()), ("shop", "shop"));
    }
    let routes = Routes::new().all(both).with_state(App { name: "shop".to_owned() });
    assert!(run(routes, call("any", &[""])).is_done());
}

#[test]
fn the_idempotency_key_tells_subscriptions_and_events_apart() {
    let key = |subscription: &str, id: &str| {
        let mut meta = item("k", 0, "").envelope.meta.clone();
        meta.id = id.into();
        super::super::context::idempotency_key(subscription, &meta)
    };
    // The form is a promise: other systems keep these.
    assert_eq!(key("billing", "e1"), "billing/e1");
    assert_eq!(key("a/b%", "c"), "a%2Fb%25/c");
    assert_ne!(key("a/b", "c"), key("a", "b/c"));
}

#[test]
fn cancelled_is_ready_when_the_scene_is() {
    let stop = CancellationToken::new();
    let call = Call { events: Items::One(item("any", 0, "")), scene: scene(stop.clone()) };
    let handler = async |_: RawEvent, cx: Context| cx.cancelled().await;
    let table = Routes::new().all(handler).build();
    let mut running = table.lookup(&"any".into()).expect("routed").handler.call(call);
    assert!(ready(running.as_mut()).is_none());
    stop.cancel();
    assert!(ready(running).expect("the handler came to its end").is_done());
}

#[test]
fn a_single_event_s_handler_refuses_a_batch() {
    let outcome = run(Routes::new().all(async |_: RawEvent| ()), call("any", &["a", "b"]));
    assert_eq!(outcome.failures.len(), 2);
}
