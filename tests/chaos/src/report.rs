//! What is said of a run: a table, one line of JSON, and the evidence in a folder.

use std::fmt::Write as _;

use keylane::{Error, ErrorKind};
use serde_json::{Value, json};

use crate::check::{Breach, History, Verdict};
use crate::clock::seconds;
use crate::driver::Options;
use crate::plan::Plan;

/// The plan, a fault a line.
#[must_use]
pub fn plan(plan: &Plan) -> String {
    plan.faults.iter().fold(String::new(), |text, fault| format!("{text}{fault}\n"))
}

/// The table.
#[must_use]
pub fn table(options: &Options, verdict: &Verdict) -> String {
    let mut page = String::new();
    let mut line = |text: String| page.push_str(&(text + "\n"));
    line(format!("{:<28}{:>10}", "events published", verdict.published));
    line(format!("{:<28}{:>10}", "effects", verdict.effects));
    line(format!("{:<28}{:>10}", "runs of handlers", verdict.runs));
    line(format!("{:<28}{:>10}", "faults", options.plan.faults.len()));
    for breach in Breach::ALL {
        line(format!("{:<28}{:>10}", breach.name(), verdict.count(breach)));
    }
    line(format!("{:<28}{:>10}", "late runs (void)", verdict.late));
    line(format!("{:<28}{:>10}", "outlived runs (void)", verdict.outlived));
    line(String::new());
    line(format!("{:<28}{:>6}{:>9}{:>9}{:>9}", "recovery", "n", "p50", "p95", "max"));
    for (kind, recovery) in &verdict.recovery {
        let at = |percent| format!("{:.2}s", seconds(recovery.percentile(percent)));
        let (n, name) = (recovery.times.len(), kind.name());
        line(format!("{name:<28}{n:>6}{:>9}{:>9}{:>9}", at(50), at(95), at(100)));
    }
    line(format!("{:<28}{:>33}", "without a fault", format!("{:.2}s", seconds(verdict.undisturbed))));
    let through = &verdict.throughput;
    line(String::new());
    line(format!("{:<28}{:>9.1}/s", "throughput, quiet", through.quiet));
    line(format!("{:<28}{:>10.2}   least {:.2}", "before each fault", through.before.0, through.before.1));
    line(format!("{:<28}{:>10.2}   least {:.2}", "after each fault", through.after.0, through.after.1));
    page
}

/// The line of JSON.
#[must_use]
pub fn json(options: &Options, pair: &str, verdict: &Verdict) -> String {
    let breaches: serde_json::Map<String, Value> = Breach::ALL
        .iter()
        .map(|breach| (breach.name().replace(' ', "_"), verdict.count(*breach).into()))
        .collect();
    let recovery: serde_json::Map<String, Value> = verdict
        .recovery
        .iter()
        .map(|(kind, recovery)| {
            let at = |percent| seconds(recovery.percentile(percent));
            let figures = json!({ "n": recovery.times.len(), "p50": at(50), "p95": at(95), "max": at(100) });
            (kind.name().replace(' ', "_"), figures)
        })
        .collect();
    let through = &verdict.throughput;
    json!({
        "run": "chaos",
        "pair": pair,
        "seed": options.seed,
        "published": verdict.published,
        "effects": verdict.effects,
        "runs": verdict.runs,
        "faults": options.plan.faults.len(),
        "session": options.session.as_secs_f64(),
        "breaches": breaches,
        "late": verdict.late,
        "outlived": verdict.outlived,
        "recovery": recovery,
        "undisturbed": seconds(verdict.undisturbed),
        "throughput": {
            "quiet": through.quiet,
            "before": { "median": through.before.0, "least": through.before.1 },
            "after": { "median": through.after.0, "least": through.after.1 },
        },
        "holds": verdict.holds(),
    })
    .to_string()
}

/// Writes into the folder what the workers' files there don't tell, and the table.
///
/// # Errors
/// The folder can't be written.
pub fn keep(options: &Options, history: &History, verdict: &Verdict) -> Result<(), Error> {
    let folder = &options.folder;
    let mut published = String::new();
    for event in &history.published {
        let _ = writeln!(published, "{} {}", event.event.id(), event.at);
    }
    let mut effects = String::new();
    for effect in &history.effects {
        let (partition, offset) = effect.place;
        let _ = writeln!(
            effects,
            "{} {} {} {partition} {offset} {}",
            effect.id, effect.token, effect.worker, effect.at
        );
    }
    let mut faults = String::new();
    for fault in &history.faults {
        let pid = fault.pid.map_or("-".to_owned(), |pid| pid.to_string());
        let _ = writeln!(faults, "{} {} {pid} {}", fault.from, fault.until, fault.kind.name());
    }
    for (pid, at) in &history.deaths {
        let _ = writeln!(faults, "{at} {at} {pid} ended");
    }
    let mut findings = String::new();
    for finding in &verdict.findings {
        let _ = writeln!(findings, "{}: {}", finding.breach.name(), finding.about);
    }
    let table = table(options, verdict);
    for (name, text) in [
        ("published", published),
        ("effects", effects),
        ("faults", faults),
        ("findings", findings),
        ("table", table),
    ] {
        std::fs::write(folder.join(name), text).map_err(|error| {
            Error::new(ErrorKind::Config, format!("could not keep {name} in {}", folder.display()))
                .with_source(error)
        })?;
    }
    Ok(())
}
