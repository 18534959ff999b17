//! Effects a second before and after each fault, against the quiet time. Events are published at a steady pace:
//! below 1 after a fault means that it was not overcome when the next one came.

use super::History;
use crate::clock::{Nanos, seconds};

/// Rates; ratios to the quiet one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Throughput {
    /// Effects a second without faults.
    pub quiet: f64,
    /// In the window right before each fault: the median, and the least.
    pub before: (f64, f64),
    /// In the last window before the next fault: the median, and the least.
    pub after: (f64, f64),
}

/// How long a rate is measured.
const WINDOW: Nanos = 1_500_000_000;

impl Throughput {
    /// Of all faults.
    #[must_use]
    pub fn of(history: &History) -> Self {
        let mut times: Vec<Nanos> = history.effects.iter().map(|effect| effect.at).collect();
        times.sort_unstable();
        let rate = |from: Nanos, until: Nanos| {
            let count = times.partition_point(|at| *at < until) - times.partition_point(|at| *at < from);
            count as f64 / seconds(until.saturating_sub(from)).max(f64::EPSILON)
        };
        let quiet = rate(history.quiet.0, history.quiet.1);
        let ratio = |until: Nanos| rate(until.saturating_sub(WINDOW), until) / quiet.max(f64::EPSILON);
        let starts: Vec<Nanos> = history.faults.iter().map(|fault| fault.from).collect();
        let ends = starts.iter().skip(1).copied().chain(starts.last().map(|last| last + history.gap));
        Self {
            quiet,
            before: median_and_least(starts.iter().map(|start| ratio(*start)).collect()),
            after: median_and_least(ends.map(ratio).collect()),
        }
    }
}

fn median_and_least(mut ratios: Vec<f64>) -> (f64, f64) {
    ratios.sort_by(f64::total_cmp);
    let median = ratios.get(ratios.len() / 2).copied().unwrap_or_default();
    (median, ratios.first().copied().unwrap_or_default())
}
