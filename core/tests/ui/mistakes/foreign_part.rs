use keylane::{Failure, RawEvent, Routes, State};

#[derive(Clone)]
struct Mailer;

#[derive(Clone)]
struct App;

async fn paid(_event: RawEvent, State(_mailer): State<Mailer>) -> Result<(), Failure> {
    Ok(())
}

fn main() {
    let _ = Routes::<App>::new().on("order.paid", paid).with_state(App).build();
}
