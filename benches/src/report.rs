//! One JSON line a result, and the ratio that a bench is about as the last.

use serde::Serialize;

use crate::Broken;
use crate::keys::Spread;
use crate::measure::Cost;

/// What one run of one arm brought.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) events: u64,
    pub(crate) cost: Cost,
    pub(crate) rss: Option<u64>,
    pub(crate) latency: Option<Latency>,
    pub(crate) server: Option<Server>,
}

/// From when an event was to be sent until it was over, in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// What a server had to do for an event.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Server {
    pub(crate) server_cpu_us_per_event: f64,
    pub(crate) wal_bytes_per_event: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) round_trips_per_event: Option<f64>,
}

impl Measured {
    pub(crate) fn new(events: u64, cost: Cost) -> Self {
        Self { events, cost, rss: None, latency: None, server: None }
    }

    pub(crate) fn rate(&self) -> f64 {
        self.events as f64 / self.cost.wall.as_secs_f64()
    }
}

#[derive(Serialize)]
struct ArmLine<'a> {
    bench: &'a str,
    arm: &'a str,
    round: usize,
    keys: Spread,
    events: u64,
    seconds: f64,
    events_per_second: f64,
    cpu_ns_per_event: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rss: Option<u64>,
    #[serde(flatten)]
    latency: Option<Latency>,
    #[serde(flatten)]
    server: Option<Server>,
}

#[derive(Serialize)]
struct RatioLine<'a> {
    bench: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arm: Option<&'a str>,
    ratio: f64,
    ratio_min: f64,
    ratio_max: f64,
    target: f64,
    /// What the ratio is of, in CPU time: the median over the rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_ns_per_event: Option<f64>,
}

/// Which side of its target a ratio has to be on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

/// The results of one bench.
pub(crate) struct Report {
    bench: &'static str,
    target: Target,
    medians: Vec<Ratio>,
}

#[derive(Debug, Clone, Copy)]
struct Ratio {
    median: f64,
    min: f64,
    max: f64,
}

impl Report {
    pub(crate) fn new(bench: &'static str, target: Target) -> Self {
        Self { bench, target, medians: Vec::new() }
    }

    /// One arm's run in one round.
    pub(crate) fn arm(
        &self,
        keys: Spread,
        arm: &str,
        round: usize,
        measured: &Measured,
    ) -> Result<(), Broken> {
        print(&ArmLine {
            bench: self.bench,
            arm,
            round,
            keys,
            events: measured.events,
            seconds: rounded(measured.cost.wall.as_secs_f64()),
            events_per_second: measured.rate().round(),
            cpu_ns_per_event: (measured.cost.cpu.as_nanos() as f64 / measured.events as f64).round(),
            rss: measured.rss,
            latency: measured.latency,
            server: measured.server,
        })
    }

    /// An arm's ratios, one a round, over one distribution of keys.
    pub(crate) fn ratios(
        &mut self,
        keys: Spread,
        arm: &str,
        ratios: &[f64],
        cpu: Option<f64>,
    ) -> Result<(), Broken> {
        let ratio = Ratio::of(ratios);
        self.medians.push(ratio);
        print(&self.line(Some(keys), Some(arm), ratio, cpu))
    }

    /// Ratios that are told and don't count.
    pub(crate) fn aside(&self, keys: Spread, arm: &str, ratios: &[f64]) -> Result<(), Broken> {
        print(&self.line(Some(keys), Some(arm), Ratio::of(ratios), None))
    }

    /// The last line: the distribution and arm that are farthest from the target.
    pub(crate) fn end(self) -> Result<(), Broken> {
        let worst = |a: &Ratio, b: &Ratio| match self.target {
            Target::AtLeast(_) => {
                if a.median <= b.median {
                    *a
                } else {
                    *b
                }
            }
            Target::AtMost(_) => {
                if a.median >= b.median {
                    *a
                } else {
                    *b
                }
            }
        };
        let ratio =
            self.medians.iter().copied().reduce(|a, b| worst(&a, &b)).ok_or("nothing was measured")?;
        print(&self.line(None, None, ratio, None))
    }

    fn line<'a>(
        &'a self,
        keys: Option<Spread>,
        arm: Option<&'a str>,
        ratio: Ratio,
        cpu: Option<f64>,
    ) -> RatioLine<'a> {
        let (Target::AtLeast(target) | Target::AtMost(target)) = self.target;
        RatioLine {
            bench: self.bench,
            keys,
            arm,
            ratio: rounded(ratio.median),
            ratio_min: rounded(ratio.min),
            ratio_max: rounded(ratio.max),
            target,
            cpu_ns_per_event: cpu.map(f64::round),
        }
    }
}

impl Ratio {
    fn of(ratios: &[f64]) -> Self {
        let fold = |pick: fn(f64, f64) -> f64| ratios.iter().copied().reduce(pick).unwrap_or(f64::NAN);
        Self { median: median(ratios), min: fold(f64::min), max: fold(f64::max) }
    }
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// Four significant digits: more would not be measured.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10_f64.powf(3.0 - value.abs().log10().floor());
    (value * scale).round() / scale
}

fn print(line: &impl Serialize) -> Result<(), Broken> {
    println!("{}", serde_json::to_string(line)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn four_digits_are_kept() {
        assert_eq!(rounded(0.123_456), 0.1235);
        assert_eq!(rounded(98_765.4), 98_770.0);
    }
}
