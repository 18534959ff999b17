//! Many seeds, on all cores.

use std::time::Duration;

use crate::run::{Options, Told, run};

/// What many seeds came to.
#[derive(Debug, Default)]
pub struct Swept {
    /// How many ran.
    pub seeds: u64,
    /// Their virtual time together.
    pub time: Duration,
    /// Those that broke a promise, in their order.
    pub broken: Vec<Told>,
}

impl Swept {
    /// Virtual hours.
    #[must_use]
    pub fn hours(&self) -> f64 {
        self.time.as_secs_f64() / 3600.0
    }
}

/// Runs `count` seeds from `from` on, on `threads` threads; each stops after `most` broken ones.
#[must_use]
pub fn sweep(from: u64, count: u64, options: Options, threads: u64, most: usize) -> Swept {
    let part = |part: u64| {
        let mut swept = Swept::default();
        for seed in (from..from + count).filter(|seed| seed % threads == part) {
            let told = run(seed, options);
            swept.seeds += 1;
            swept.time += told.time;
            if !told.wrong.is_empty() {
                swept.broken.push(told);
                if swept.broken.len() >= most {
                    break;
                }
            }
        }
        swept
    };
    let mut all = Swept::default();
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads).map(|number| scope.spawn(move || part(number))).collect();
        for part in parts {
            let swept = part.join().expect("a seed's panic is part of what it tells");
            all.seeds += swept.seeds;
            all.time += swept.time;
            all.broken.extend(swept.broken);
        }
    });
    all.broken.sort_by_key(|told| told.seed);
    all
}
