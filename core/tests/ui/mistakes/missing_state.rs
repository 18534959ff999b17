use keylane::handler::IntoRouteTable;
use keylane::{Failure, RawEvent, Routes, State};

#[derive(Clone)]
struct Mailer;

async fn paid(_event: RawEvent, State(_mailer): State<Mailer>) -> Result<(), Failure> {
    Ok(())
}

fn subscription(_name: &str, _routes: impl IntoRouteTable) {}

fn main() {
    subscription("billing", Routes::new().on("order.paid", paid));
}
