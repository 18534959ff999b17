//! Rounds of arms, interleaved A-B-A-B, so that whatever else the machine does meets all of them alike.

use crate::Broken;
use crate::keys::Spread;
use crate::report::{Measured, Report, median};

/// One way to do the work, and its name.
pub(crate) struct Arm<'a> {
    pub(crate) name: &'static str,
    pub(crate) run: Box<dyn FnMut() -> Result<Measured, Broken> + 'a>,
}

impl<'a> Arm<'a> {
    pub(crate) fn new(name: &'static str, run: impl FnMut() -> Result<Measured, Broken> + 'a) -> Self {
        Self { name, run: Box::new(run) }
    }
}

/// Runs every arm in every round, and reports the others' rates against the first one's.
pub(crate) fn against_first(
    report: &mut Report,
    keys: Spread,
    rounds: usize,
    mut arms: Vec<Arm<'_>>,
) -> Result<(), Broken> {
    let mut all: Vec<Vec<Measured>> = arms.iter().map(|_| Vec::with_capacity(rounds)).collect();
    for round in 1..=rounds {
        for (arm, measured) in arms.iter_mut().zip(&mut all) {
            let run = (arm.run)().map_err(|error| format!("arm {} in round {round}: {error}", arm.name))?;
            report.arm(keys, arm.name, round, &run)?;
            measured.push(run);
        }
    }
    let (first, others) = all.split_first().ok_or("no arms")?;
    for (arm, measured) in arms.iter().skip(1).zip(others) {
        let ratios: Vec<f64> =
            measured.iter().zip(first).map(|(ours, raw)| ours.rate() / raw.rate()).collect();
        let cpu: Vec<f64> =
            measured.iter().map(|run| run.cost.cpu.as_nanos() as f64 / run.events as f64).collect();
        report.ratios(keys, arm.name, &ratios, Some(median(&cpu)))?;
    }
    Ok(())
}
