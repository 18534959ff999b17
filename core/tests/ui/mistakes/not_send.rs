use std::rc::Rc;

use keylane::{Failure, RawEvent, Routes};

async fn mail() {}

async fn paid(event: RawEvent) -> Result<(), Failure> {
    let size = Rc::new(event.len());
    mail().await;
    println!("{size} bytes");
    Ok(())
}

fn main() {
    let _ = Routes::new().on("order.paid", paid).build();
}
