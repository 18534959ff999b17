//! Writing to the simulated broker: it takes everything.

use async_trait::async_trait;
use keylane::Error;
use keylane::broker::{Outgoing, Publisher, Receipt};

use super::SimServer;

pub(super) struct SimPublisher(pub(super) SimServer);

#[async_trait]
impl Publisher for SimPublisher {
    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt, Error>> {
        self.0.change(|lines| {
            let mut receipts = Vec::with_capacity(batch.len());
            for outgoing in batch {
                lines.publish(outgoing.record);
                receipts.push(Ok(Receipt { partition: None, offset: None }));
            }
            receipts
        })
    }

    async fn close(&self) {}
}
