use keylane::{Failure, RawEvent, Routes};

async fn paid(_event: &RawEvent) -> Result<(), Failure> {
    Ok(())
}

fn main() {
    let _ = Routes::new().on("order.paid", paid).build();
}
