//! Does what the plan says, and notes when it was.

use std::time::Duration;

use keylane::Error;
use keylane_tests::process::Signal;

use super::Options;
use super::crew::Crew;
use super::ground::Ground;
use crate::check::Happened;
use crate::clock::{Nanos, nanos, now, seconds};
use crate::plan::{Fault, Kind};

/// Injects all faults, each at its time; returns when the last one's time is over.
pub(super) async fn inject(
    options: &Options,
    ground: &Ground,
    crew: &mut Crew,
    began: Nanos,
) -> Result<Vec<Happened>, Error> {
    let mut happened = Vec::new();
    let mut free = began;
    for fault in &options.plan.faults {
        // A server that took long to start again puts off what comes next.
        until(crew, free.max(began + nanos(fault.at))).await?;
        let pid = fault.place.and_then(|place| crew.pid(place));
        let from = now();
        act(fault, ground, crew).await?;
        // Who is added has no pid before.
        let pid = pid.or_else(|| fault.place.and_then(|place| crew.pid(place)));
        let until = now();
        free = until + nanos(options.session);
        if options.chatty {
            println!("{fault}  (at {:.1}s)", seconds(from - began));
        }
        happened.push(Happened { kind: fault.kind, pid, from, until });
    }
    until(crew, (free + nanos(options.plan.gap)).max(began + nanos(options.plan.lasts()))).await?;
    Ok(happened)
}

/// Waits, and meanwhile looks whether everybody is there.
async fn until(crew: &mut Crew, at: Nanos) -> Result<(), Error> {
    while now() < at {
        crew.mend().await?;
        let left = Duration::from_nanos(at.saturating_sub(now()));
        tokio::time::sleep(left.min(Duration::from_millis(50))).await;
    }
    Ok(())
}

async fn act(fault: &Fault, ground: &Ground, crew: &mut Crew) -> Result<(), Error> {
    let place = fault.place.unwrap_or_default();
    let over = |from: Nanos| from + nanos(fault.lasts);
    match fault.kind {
        Kind::Kill => {
            crew.kill(place)?;
            until(crew, over(now())).await?;
            crew.start(place)
        }
        Kind::Stop => {
            crew.signal(place, Signal::STOP)?;
            until(crew, over(now())).await?;
            crew.signal(place, Signal::CONT)
        }
        Kind::Add => crew.start(place),
        Kind::Drain => {
            crew.dismiss(place)?;
            until(crew, over(now())).await?;
            if fault.replaced { crew.start(place) } else { Ok(()) }
        }
        _ => ground.suffer(fault).await,
    }
}
