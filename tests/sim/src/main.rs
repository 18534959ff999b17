//! Runs seeds and tells of those that break a promise.

use std::process::ExitCode;
use std::time::Instant;

use keylane_sim::{Focus, Options, Profile, Told, sweep};

const USAGE: &str =
    "keylane-sim [--seeds N] [--seed S] [--mutant M] [--profile log|queue|visibility|ordered] \
    [--focus wide|late|grace|line|leave] [--each EVENTS_OF_A_KEY] [--threads N]
    --seeds N   runs N seeds from S (or 0) on; without it, --seed S runs that one and tells all of it";

struct Arguments {
    seed: Option<u64>,
    seeds: Option<u64>,
    threads: u64,
    options: Options,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(what) => {
            eprintln!("{what}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if std::env::var_os("RUST_LOG").is_some() {
        let level = tracing_subscriber::filter::LevelFilter::DEBUG;
        tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).init();
    }
    let alone = arguments.seeds.is_none() && arguments.seed.is_some();
    let (from, count) =
        (arguments.seed.unwrap_or(0), arguments.seeds.unwrap_or(if alone { 1 } else { 1000 }));
    let began = Instant::now();
    let swept = sweep(from, count, arguments.options, arguments.threads, 3);
    let took = began.elapsed().as_secs_f64();
    for told in &swept.broken {
        tell(told, alone);
    }
    println!(
        "{} seeds from {from} on, {:.1} simulated hours in {took:.1} s ({:.0} seeds a second), {} broken",
        swept.seeds,
        swept.hours(),
        swept.seeds as f64 / took,
        swept.broken.len()
    );
    if swept.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(told: &Told, all: bool) {
    const LINES: usize = 60;
    let from = if all { 0 } else { told.trace.len().saturating_sub(LINES) };
    println!("seed {} is broken\n{}", told.seed, told.mix);
    for line in &told.trace[from..] {
        println!("{line}");
    }
    for what in told.wrong.iter().take(10) {
        println!("  ! {what}");
    }
    println!("to see all of it: --seed {}\n", told.seed);
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let mut parsed = Arguments { seed: None, seeds: None, threads, options: Options::default() };
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} wants a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{name} wants a number, not {value:?}"));
        match name.as_str() {
            "--seed" => parsed.seed = Some(number()?),
            "--seeds" => parsed.seeds = Some(number()?),
            "--threads" => parsed.threads = number()?.max(1),
            "--each" => parsed.options.each = number()?,
            "--profile" => {
                let profile =
                    Profile::named(&value).ok_or_else(|| format!("no profile is called {value:?}"))?;
                parsed.options.profile = Some(profile);
            }
            "--focus" => {
                let focus = Focus::named(&value).ok_or_else(|| format!("no focus is called {value:?}"))?;
                parsed.options.focus = Some(focus);
            }
            "--mutant" => {
                let mutant = keylane_sim::mutants::named(&value)?;
                parsed.options.mutant = Some(mutant.name);
                parsed.options.profile = parsed.options.profile.or(mutant.profile);
                parsed.options.focus = parsed.options.focus.or(Some(mutant.focus));
            }
            _ => return Err(format!("there is no {name}")),
        }
    }
    Ok(parsed)
}
