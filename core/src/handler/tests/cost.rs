//! What a call costs: the runtime's fast path is a raw handler that records nothing.

use allocation_counter::measure;

use super::*;

fn allocations<F, H>(handler: H) -> u64
where
    H: IntoRoute<F, (), CallParts>,
{
    let table = Routes::new().on("any", handler).build();
    let (kind, call) = (Text::from("any"), call("any", &["payload"]));
    // Once before: a buffer's first clone makes it shared, which an adapter's buffers are already.
    drop(call.first().envelope.payload.clone());
    let counted = measure(|| {
        let route = table.lookup(&kind).expect("it is routed");
        assert!(ready(route.handler.call(call.clone())).expect("it waits for nothing").is_done());
    });
    counted.count_total
}

#[test]
fn a_call_costs_one_box() {
    assert_eq!(allocations(async |_: RawEvent| ()), 1);
    assert_eq!(allocations(async |_: RawEvent, _: Context, _: State<()>| ()), 1);
}

#[test]
fn only_who_asks_for_effects_pays_for_them() {
    assert_eq!(allocations(async |_: RawEvent, _: Effects<Notes>| ()), 2);
}
