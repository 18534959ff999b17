//! Kinds, options, middleware, mistakes.

use std::sync::Mutex;
use std::time::Duration;

use super::*;

fn says(what: &'static str) -> impl Fn(RawEvent) -> std::future::Ready<Result<(), Failure>> + Send + Sync {
    move |_| std::future::ready(Err(Failure::new(what)))
}

#[test]
fn a_kind_finds_its_own_handler_and_else_the_one_for_all() {
    let table = Routes::<()>::new().on("b", says("b")).all(says("all")).on("a", says("a")).build();
    for (kind, wanted) in [("a", "a"), ("b", "b"), ("", "all"), ("ab", "all"), ("c", "all")] {
        let route = table.lookup(&kind.into()).expect("every kind is routed");
        let outcome = ready(route.handler.call(call(kind, &[""]))).expect("it waits for nothing");
        assert_eq!(failures(&outcome), [(0, wanted.to_owned())], "kind `{kind}`");
    }
    assert_eq!(table.kinds().map(Text::as_str).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn an_unknown_kind_has_no_route() {
    assert!(Routes::<()>::new().on("b", says("b")).build().lookup(&"a".into()).is_none());
}

#[test]
fn options_belong_to_their_route() {
    async fn batch(_: Batch<bytes::Bytes, Raw>) {}
    let minute = Duration::from_secs(60);
    let table = Routes::<()>::new()
        .on("plain", says(""))
        .on("report", route(route(says("")).spawned()).timeout(minute))
        .on_batch("many", batch)
        .on_batch("few", route(batch).at_most(3))
        .build();
    assert_eq!(table.mistakes(), [""; 0]);
    let options = |kind: &str| {
        let route = table.lookup(&kind.into()).expect("it is routed");
        (route.spawned, route.timeout, route.batch_max)
    };
    assert_eq!(options("plain"), (false, None, None));
    assert_eq!(options("report"), (true, Some(minute), None));
    assert_eq!(options("many"), (false, None, Some(BATCH_MAX)));
    assert_eq!(options("few"), (false, None, Some(3)));
}

#[test]
fn all_mistakes_are_reported_together() {
    async fn batch(_: Batch<bytes::Bytes, Raw>) {}
    let table = Routes::new()
        .on("a", says("first"))
        .on("a", says("second"))
        .with_state(())
        .all(route(says("")).timeout(Duration::ZERO))
        .all_batches(batch)
        .on_batch("b", route(batch).at_most(0))
        .on("c", route(says("")).at_most(5))
        .on("", says(""))
        .build();
    assert_eq!(
        table.mistakes(),
        [
            "kind `a` is routed twice; keep one handler for it",
            "the route for all kinds has a timeout of zero, in which nothing can run; leave it out for the \
             subscription's",
            "the route for all kinds is routed twice; keep one handler for it",
            "kind `b` has batches of at most 0 items; write at least 1",
            "kind `c` has `at_most` but no batches; route it by `on_batch` or `all_batches`",
            "kind `` is empty; use `all` for events that carry no kind",
        ]
    );
    let none = Routes::new().build();
    assert_eq!(none.mistakes(), ["there are no routes; add one by `on(kind, handler)` or `all(handler)`"]);
}

type Trace = Arc<Mutex<Vec<&'static str>>>;

fn note(trace: &Trace, what: &'static str) {
    trace.lock().expect("nobody panics with the trace").push(what);
}

fn tracing(
    trace: &Trace,
    enter: &'static str,
    leave: &'static str,
) -> impl Fn(Call, Next) -> BoxFuture<'static, Outcome> + Send + Sync + 'static {
    let trace = trace.clone();
    move |call, next| {
        let trace = trace.clone();
        Box::pin(async move {
            note(&trace, enter);
            let outcome = next.run(call).await;
            note(&trace, leave);
            outcome
        })
    }
}

#[test]
fn middleware_encloses_every_handler_and_the_last_is_outermost() {
    async fn single(_: RawEvent, State(trace): State<Trace>) {
        note(&trace, "single");
    }
    async fn batch(_: Batch<bytes::Bytes, Raw>, State(trace): State<Trace>) {
        note(&trace, "batch");
    }
    let trace = Trace::default();
    let table = Routes::new()
        .wrap(tracing(&trace, "inner {", "}"))
        .on("single", single)
        .with_state(trace.clone())
        .wrap(tracing(&trace, "outer {", "}"))
        .on_batch("batch", {
            let trace = trace.clone();
            move |many: Batch<bytes::Bytes, Raw>| batch(many, State(trace.clone()))
        })
        .build();
    for (kind, payloads) in [("single", &["1"][..]), ("batch", &["1", "2"])] {
        let route = table.lookup(&kind.into()).expect("it is routed");
        assert!(ready(route.handler.call(call(kind, payloads))).expect("it waits for nothing").is_done());
        let seen = std::mem::take(&mut *trace.lock().unwrap());
        assert_eq!(seen, ["outer {", "inner {", kind, "}", "}"]);
    }
}

#[test]
fn middleware_may_decide_alone() {
    async fn closed(call: Call, _: Next) -> Outcome {
        Outcome::failed(call.events.as_slice().len(), &Failure::new("closed on mondays").unavailable())
    }
    async fn handler(_: RawEvent) {
        panic!("called")
    }
    let routes = Routes::new().all(handler).wrap(closed);
    assert_eq!(failures(&run(routes, call("any", &[""]))), [(0, "closed on mondays".to_owned())]);
}
