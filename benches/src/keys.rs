//! The keys of a run: as many draws as there are events, from one seeded generator.

use clap::ValueEnum;
use serde::Serialize;

/// How events are spread over keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Spread {
    /// Every key alike.
    Uniform,
    /// The n-th key has 1/n of the first one's share: Zipf with exponent 1.
    Zipf,
}

/// Every run of a bench sees the same keys.
const SEED: u64 = 0x6b65_796c_616e_6531;

/// The keys of `events` events, as numbers below `keys`.
pub(crate) fn draw(spread: Spread, keys: u32, events: u64) -> Vec<u32> {
    let mut chance = fastrand::Rng::with_seed(SEED);
    match spread {
        Spread::Uniform => (0..events).map(|_| chance.u32(0..keys)).collect(),
        Spread::Zipf => {
            let shares = shares(keys);
            let whole = shares.last().copied().unwrap_or(0.0);
            let key = |at: f64| shares.partition_point(|share| *share <= at * whole).min(keys as usize - 1);
            (0..events).map(|_| u32::try_from(key(chance.f64())).unwrap_or(0)).collect()
        }
    }
}

/// A key's name, as a producer would write it.
pub(crate) fn name(key: u32) -> String {
    format!("order-{key:06}")
}

/// The key with the most events, and how many keys have any.
pub(crate) fn hottest(drawn: &[u32]) -> (u32, u64) {
    let mut counts = vec![0_u64; drawn.iter().max().map_or(0, |key| *key as usize + 1)];
    for key in drawn {
        counts[*key as usize] += 1;
    }
    let hottest = (0..).zip(&counts).max_by_key(|(_, count)| **count).map_or(0, |(key, _)| key);
    let distinct = counts.iter().filter(|count| **count > 0).count();
    (hottest, distinct as u64)
}

/// The sum of the shares of each key and all before it.
fn shares(keys: u32) -> Vec<f64> {
    let sums = (1..=keys).scan(0.0, |sum, n| {
        *sum += 1.0 / f64::from(n);
        Some(*sum)
    });
    sums.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_of_zipf_has_its_share() {
        let drawn = draw(Spread::Zipf, 10_000, 100_000);
        // The 10,000th harmonic number is 9.7876.
        let first = drawn.iter().filter(|key| **key == 0).count();
        assert!((9_900..10_600).contains(&first), "{first}");
        assert_eq!(hottest(&drawn).0, 0);
    }

    #[test]
    fn uniform_keys_are_all_met() {
        let drawn = draw(Spread::Uniform, 1_000, 100_000);
        assert_eq!(hottest(&drawn).1, 1_000);
        assert_eq!(drawn, draw(Spread::Uniform, 1_000, 100_000));
    }
}
