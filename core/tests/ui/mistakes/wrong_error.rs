use keylane::{RawEvent, Routes};

async fn paid(_event: RawEvent) -> Result<(), String> {
    Err("no such order".to_owned())
}

fn main() {
    let _ = Routes::new().on("order.paid", paid).build();
}
