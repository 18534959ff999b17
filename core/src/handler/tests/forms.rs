//! Functions, closures, structs, and what they return.

use super::*;

fn outcome<F, H>(handler: H) -> Vec<(usize, String)>
where
    H: IntoRoute<F, (), CallParts>,
{
    failures(&run(Routes::new().all(handler), call("any", &["7"])))
}

#[test]
fn functions_of_one_to_four_arguments_are_handlers() {
    async fn one(_: RawEvent) {}
    async fn two(_: RawEvent, _: Context) {}
    async fn three(_: RawEvent, _: Context, _: State<()>) {}
    async fn four(_: RawEvent, _: Context, _: State<()>, _: Effects<Notes>) {}
    for failures in [outcome(one), outcome(two), outcome(three), outcome(four)] {
        assert_eq!(failures, []);
    }
}

#[test]
fn closures_are_handlers() {
    assert_eq!(outcome(async |event: Event<u32>| assert_eq!(*event, 7)), []);
    let limit = Arc::new(5);
    let captures = move |event: Event<u32>| {
        let limit = limit.clone();
        async move { if *event > *limit { Err(Failure::new("too much")) } else { Ok(()) } }
    };
    assert_eq!(outcome(captures), [(0, "too much".to_owned())]);
}

#[test]
fn structs_are_handlers() {
    struct Above(u32);
    impl Handler for Above {
        type Args = (Event<u32>, Context);
        async fn handle(&self, (event, cx): Self::Args) -> Result<(), Failure> {
            if *event > self.0 { Err(Failure::new(cx.idempotency_key())) } else { Ok(()) }
        }
    }
    assert_eq!(outcome(Above(7)), []);
    assert_eq!(outcome(Above(6)), [(0, "billing/e0".to_owned())]);
}

#[test]
fn a_struct_handles_batches_by_its_arguments() {
    struct Sum;
    impl Handler for Sum {
        type Args = (Batch<u32>,);
        async fn handle(&self, (batch,): Self::Args) -> Result<(), Failure> {
            Err(Failure::new(batch.into_inner().iter().sum::<u32>().to_string()))
        }
    }
    let outcome = run(Routes::new().all_batches(Sum), call("any", &["1", "2"]));
    assert_eq!(failures(&outcome), [(0, "3".to_owned()), (1, "3".to_owned())]);
}

#[test]
fn any_error_is_a_transient_failure() {
    async fn fails(_: RawEvent) -> Result<(), std::num::ParseIntError> {
        "x".parse::<u32>().map(drop)
    }
    let outcome = run(Routes::new().all(fails), call("any", &[""]));
    let failure = outcome.failure().expect("it failed");
    assert_eq!(failure.class(), FailureClass::Transient { after: None });
    assert_eq!(failure.to_string(), "invalid digit found in string");
}
