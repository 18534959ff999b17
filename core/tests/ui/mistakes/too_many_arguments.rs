use keylane::{Context, Failure, RawEvent, Routes, State};

async fn paid(
    _event: RawEvent,
    _cx: Context,
    _mailer: State<u8>,
    _prices: State<u8>,
    _taxes: State<u8>,
) -> Result<(), Failure> {
    Ok(())
}

fn main() {
    let _ = Routes::new().on("order.paid", paid).with_state(1).build();
}
