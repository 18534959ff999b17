use keylane::{Failure, RawEvent, Routes, Runtime, State};

#[derive(Clone)]
struct Mailer;

async fn paid(_event: RawEvent, State(_mailer): State<Mailer>) -> Result<(), Failure> {
    Ok(())
}

fn main() {
    let routes = Routes::new().on("order.paid", paid);
    let _ = Runtime::from_text("").subscription("billing", routes);
}
