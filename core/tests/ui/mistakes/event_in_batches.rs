use keylane::{Context, Failure, RawEvent, Routes};

async fn paid(_event: RawEvent, _cx: Context) -> Result<(), Failure> {
    Ok(())
}

fn main() {
    let _ = Routes::new().on_batch("order.paid", paid).build();
}
