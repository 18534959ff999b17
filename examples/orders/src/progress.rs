//! Progress: a bar in a terminal, a line now and then elsewhere. What it shows is read from the database,
//! so that a run that goes on shows what earlier ones did.

use std::time::{Duration, Instant};

use console::style;
use indicatif::{ProgressBar, ProgressStyle};
use keylane::Error;

use crate::facts::Sample;
use crate::report::number;
use crate::service::Service;
use crate::trace::Trace;

/// How often is it looked at.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// How often is a line written where no bar can be.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// Shows how far things are until all is done.
pub(crate) async fn watch(service: &Service, trace: &Trace, quiet: bool) -> Result<(), Error> {
    let mut screen = Screen::new(quiet);
    loop {
        let sample = service.sample().await?;
        screen.show(&sample, u64::from(service.run.events), trace.failed());
        if service.is_finished(&sample).await? {
            screen.close();
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

enum Screen {
    Bar(ProgressBar, Pace),
    Lines(Pace, Option<Instant>),
    Quiet,
}

/// How fast things go.
struct Pace {
    /// The first look, and what was settled then.
    first: Option<(Instant, u64)>,
}

impl Pace {
    fn of(&mut self, settled: u64) -> u64 {
        let (began, before) = *self.first.get_or_insert((Instant::now(), settled));
        if settled == before {
            // Not begun yet; the clock runs from the last look before the first change.
            self.first = Some((Instant::now(), before));
            return 0;
        }
        let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        settled.saturating_sub(before).saturating_mul(1000) / millis.max(1)
    }
}

impl Screen {
    fn new(quiet: bool) -> Self {
        let pace = Pace { first: None };
        match () {
            () if quiet => Self::Quiet,
            () if console::user_attended_stderr() && std::env::var_os("RUST_LOG").is_none() => {
                let look = "  {spinner:.cyan} {bar:30.cyan/black.bright} {percent:>3} %  {msg}";
                let style = ProgressStyle::with_template(look).expect("the template is a constant");
                let bar = ProgressBar::new(1).with_style(style.progress_chars("━╸━"));
                bar.enable_steady_tick(Duration::from_millis(100));
                Self::Bar(bar, pace)
            }
            () => Self::Lines(pace, None),
        }
    }

    fn show(&mut self, sample: &Sample, planned: u64, retried: u64) {
        let all = sample.published.max(planned);
        match self {
            Self::Bar(bar, pace) => {
                bar.set_length(all);
                bar.set_position(sample.settled());
                bar.set_message(figures(sample, retried, pace.of(sample.settled())));
            }
            Self::Lines(pace, last) => {
                let rate = pace.of(sample.settled());
                if last.is_none_or(|last| last.elapsed() >= LINE_EVERY) || sample.settled() == all {
                    *last = Some(Instant::now());
                    let percent = sample.settled() * 100 / all.max(1);
                    eprintln!("  {percent:>3} %  {}", figures(sample, retried, rate));
                }
            }
            Self::Quiet => {}
        }
    }

    fn close(&self) {
        if let Self::Bar(bar, _) = self {
            bar.finish_and_clear();
        }
    }
}

fn figures(sample: &Sample, retried: u64, rate: u64) -> String {
    let mut told = vec![
        format!("handled {}", style(number(sample.handled)).for_stderr().green()),
        format!("retried {}", style(number(retried)).for_stderr().yellow()),
        format!("duplicate {}", style(number(sample.duplicates)).for_stderr().blue()),
        format!("dead {}", style(number(sample.dead)).for_stderr().red()),
    ];
    let pace = match rate {
        0 if sample.settled() > 0 => "until the keys of the killed run are free".to_owned(),
        0 => String::new(),
        rate => format!("{}/s", number(rate)),
    };
    told.push(style(pace).for_stderr().dim().to_string());
    told.join("  ")
}
