//! Effects a second before and after each fault, against the quiet time. Events are published at a steady pace:
//! below 1 after a fault means that it was not overcome.

use super::History;
use super::recovery::Recovered;
use crate::clock::{Nanos, seconds};

/// Rates; ratios to the quiet one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Throughput {
    /// Effects a second without faults.
    pub quiet: f64,
    /// In the two seconds before each fault: the median, and the least.
    pub before: (f64, f64),
    /// From the recovery of each fault, or from two seconds before the next one if that is earlier, to the next
    /// one: the median, and the least.
    pub after: (f64, f64),
}

/// How long a rate is measured at least.
const WINDOW: Nanos = 2_000_000_000;

impl Throughput {
    /// Of all faults, of each of which it is known when it was overcome.
    pub(super) fn of(history: &History, recovered: &[Recovered]) -> Self {
        let mut times: Vec<Nanos> = history.effects.iter().map(|effect| effect.at).collect();
        times.sort_unstable();
        let rate = |from: Nanos, until: Nanos| {
            let count = times.partition_point(|at| *at < until) - times.partition_point(|at| *at < from);
            count as f64 / seconds(until.saturating_sub(from)).max(f64::EPSILON)
        };
        let quiet = rate(history.quiet.0, history.quiet.1);
        let ratio = |from: Nanos, until: Nanos| rate(from, until) / quiet.max(f64::EPSILON);
        let before = history.faults.iter().map(|fault| ratio(fault.from.saturating_sub(WINDOW), fault.from));
        let after = recovered.iter().map(|fault| {
            let from = fault.at.min(fault.next.saturating_sub(WINDOW));
            ratio(from, fault.next)
        });
        Self { quiet, before: median_and_least(before.collect()), after: median_and_least(after.collect()) }
    }
}

fn median_and_least(mut ratios: Vec<f64>) -> (f64, f64) {
    ratios.sort_by(f64::total_cmp);
    let median = ratios.get(ratios.len() / 2).copied().unwrap_or_default();
    (median, ratios.first().copied().unwrap_or_default())
}
