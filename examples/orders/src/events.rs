//! The events of an order, as producer and handlers agree on them.

use serde::{Deserialize, Serialize};

pub(crate) const CREATED: &str = "order.created";
pub(crate) const PAID: &str = "order.paid";
pub(crate) const SHIPPED: &str = "order.shipped";
pub(crate) const CANCELLED: &str = "order.cancelled";

/// A customer ordered something.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OrderCreated {
    pub(crate) order: String,
    /// The how-manieth event of its order this is, from 1 on; so in all four.
    pub(crate) version: u32,
    pub(crate) customer: String,
    pub(crate) parcels: u32,
    pub(crate) cents: i64,
}

/// The customer chose to pay: the card is to be charged now.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OrderPaid {
    pub(crate) order: String,
    pub(crate) version: u32,
    pub(crate) cents: i64,
    pub(crate) card: Card,
}

/// What the bank makes of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Card {
    Good,
    /// The bank refuses it, whoever asks and however often.
    Stolen,
    /// The bank never answers.
    Silent,
}

/// One parcel of the order left the house.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OrderShipped {
    pub(crate) order: String,
    pub(crate) version: u32,
    pub(crate) parcel: u32,
}

/// The customer wants the money back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OrderCancelled {
    pub(crate) order: String,
    pub(crate) version: u32,
    pub(crate) refund_cents: i64,
    /// The bank takes its time with this one.
    pub(crate) slow: bool,
}
