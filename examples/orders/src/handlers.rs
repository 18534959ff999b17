//! The handlers: what the service is for. Each shows another form that a handler can have.

use std::sync::Arc;

use keylane::{Batch, Context, Effects, Event, Failure, Handler, Routes, State, route};
use keylane_sqlite::Sqlite;

use crate::events::{
    CANCELLED, CREATED, OrderCancelled, OrderCreated, OrderPaid, OrderShipped, PAID, SHIPPED,
};
use crate::gateway::Gateway;
use crate::trace::Trace;
use crate::view::{self, Change, What};

/// All that happens to an order.
pub(crate) fn routes(gateway: Arc<Gateway>, trace: Arc<Trace>) -> Routes {
    Routes::new()
        .on_batch(CREATED, route(created).at_most(200))
        .on(PAID, paid)
        .on(SHIPPED, async |event: Event<OrderShipped>, mut fx: Effects<Sqlite>, cx: Context| {
            let change = Change::new(event.meta(), cx.attempt(), &event.order, event.version, What::Shipped);
            fx.commit_with(change, view::apply);
        })
        .on(CANCELLED, Refund { gateway: gateway.clone() })
        .wrap(move |call, next| trace.clone().around(call, next))
        .with_state(gateway)
}

/// New orders, many at once: one transaction for all of them.
async fn created(orders: Batch<OrderCreated>, mut fx: Effects<Sqlite>) -> Result<(), Failure> {
    let change = |order: keylane::handler::Item<'_, OrderCreated>| {
        let OrderCreated { customer, parcels, cents, .. } = order.payload().clone();
        let what = What::Created { customer, parcels, cents };
        Change::new(order.meta(), order.attempt(), &order.order, order.version, what)
    };
    fx.commit_with(orders.iter().map(change).collect(), view::apply_all);
    Ok(())
}

/// A payment: the bank first, under a key by which it knows a repetition; then the view, exactly once.
async fn paid(
    event: Event<OrderPaid>,
    State(gateway): State<Arc<Gateway>>,
    mut fx: Effects<Sqlite>,
    cx: Context,
) -> Result<(), Failure> {
    let receipt = gateway.charge(&cx.idempotency_key(), event.card, cx.attempt()).await?;
    let what = What::Paid { cents: event.cents, receipt };
    let change = Change::new(event.meta(), cx.attempt(), &event.order, event.version, what);
    fx.commit_with(change, view::apply);
    Ok(())
}

/// A refund: may take long, and so listens for the end.
struct Refund {
    gateway: Arc<Gateway>,
}

impl Handler for Refund {
    type Args = (Event<OrderCancelled>, Effects<Sqlite>, Context);

    async fn handle(&self, (event, mut fx, cx): Self::Args) -> Result<(), Failure> {
        // Biased: a service that is to stop does not wait for a bank.
        tokio::select! { biased;
            () = cx.cancelled() => return Err(Failure::new("stopping; the refund comes again").unavailable()),
            () = self.gateway.refund(event.slow) => {}
        }
        let what = What::Cancelled { refund_cents: event.refund_cents };
        let change = Change::new(event.meta(), cx.attempt(), &event.order, event.version, what);
        fx.commit_with(change, view::apply);
        Ok(())
    }
}
