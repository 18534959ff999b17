//! The bank: slow, moody, sometimes away. A stand-in for what every service has to call.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keylane::Failure;

use crate::chance::Chance;
use crate::events::Card;

/// A payment gateway whose faults are a function of the seed.
#[derive(Debug)]
pub(crate) struct Gateway {
    seed: u64,
    calls: AtomicU64,
}

/// Every so many calls the bank is away,
const AWAY_EVERY: u64 = 400;
/// for so many calls.
const AWAY_FOR: u64 = 8;
/// So many first tries in a hundred fail, and of the second ones again, and so on.
const MOODS_PERCENT: u64 = 12;

impl Gateway {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, calls: AtomicU64::new(0) }
    }

    /// Charges a card, and returns the receipt. The bank knows a repetition by `key` and gives the same
    /// receipt again instead of charging twice.
    ///
    /// # Errors
    /// Each in its class: away (`unavailable`), refused (`permanent`), or a mood that may pass.
    pub(crate) async fn charge(&self, key: &str, card: Card, attempt: u32) -> Result<String, Failure> {
        let mut chance = Chance::of(self.seed, key, attempt);
        tokio::time::sleep(Duration::from_micros(300 + chance.below(1_500))).await;
        if self.calls.fetch_add(1, Ordering::Relaxed) % AWAY_EVERY >= AWAY_EVERY - AWAY_FOR {
            return Err(Failure::new("the bank is closed for a moment").unavailable());
        }
        match card {
            Card::Stolen => Err(Failure::new("the card was reported stolen").permanent()),
            Card::Silent => Err(Failure::new("the bank did not answer")),
            Card::Good if attempt < 4 && chance.percent(MOODS_PERCENT) => {
                Err(Failure::new("the bank is in a mood"))
            }
            Card::Good => Ok(format!("r-{:08x}", Chance::of(self.seed, key, 0).next() >> 32)),
        }
    }

    /// Gives money back. Some banks take a while.
    pub(crate) async fn refund(&self, slow: bool) {
        let takes = if slow { Duration::from_millis(1_500) } else { Duration::from_micros(800) };
        tokio::time::sleep(takes).await;
    }
}

#[cfg(test)]
mod tests {
    use keylane::handler::FailureClass;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_repetition_gets_the_same_receipt() {
        let bank = Gateway::new(7);
        let first = bank.charge("orders/a", Card::Good, 5).await.unwrap();
        assert_eq!(bank.charge("orders/a", Card::Good, 6).await.unwrap(), first);
        assert_ne!(bank.charge("orders/b", Card::Good, 5).await.unwrap(), first);
    }

    #[tokio::test(start_paused = true)]
    async fn every_class_of_failure_occurs() {
        let bank = Gateway::new(7);
        let (mut moods, mut away) = (0, 0);
        for payment in 0..u32::try_from(AWAY_EVERY).unwrap() {
            match bank.charge(&payment.to_string(), Card::Good, 1).await.map_err(|f| f.class()) {
                Err(FailureClass::Transient { .. }) => moods += 1,
                Err(FailureClass::Unavailable { .. }) => away += 1,
                Err(class) => panic!("{class:?}"),
                Ok(_) => {}
            }
        }
        assert_eq!(away, AWAY_FOR);
        assert!((20..80).contains(&moods), "{moods}");
        let stolen = bank.charge("x", Card::Stolen, 1).await.unwrap_err();
        assert_eq!(stolen.class(), FailureClass::Permanent);
    }
}
