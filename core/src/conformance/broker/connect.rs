//! Connecting, and staying connected.

use std::collections::BTreeSet;

use super::Harness;
use super::member::{Came, Member, text};
use super::stage::{Stage, cuts, numbered};
use crate::broker::Reset;
use crate::conformance::skipped;
use crate::error::Error;

/// Making a consumer or publisher succeeds or fails within a limit, also while the broker is away.
pub async fn connect_is_lazy_or_bounded<H: Harness>(harness: &H) {
    let stage = Stage::new(harness, 1).await;
    let Some(faults) = cuts(harness, "connect_is_lazy_or_bounded") else { return };
    let (env, limit) = (harness.env(), harness.patience());
    faults.cut().await;
    let spec = harness.spec(&stage.source, "g", Reset::Earliest);
    let consumer = env.timeout("making a consumer", limit, stage.broker.consumer(spec)).await;
    let publisher = env.timeout("making a publisher", limit, stage.broker.publisher()).await;
    faults.mend().await;
    let refused = consumer.expect("a consumer is made or refused in time").err();
    assert!(refused.is_none_or(|error| error.is_transient()), "a broker that is away may come back");
    let refused = publisher.expect("a publisher is made or refused in time").err();
    assert!(refused.is_none_or(|error| error.is_transient()), "a broker that is away may come back");
    drop(stage.join("h").await);
}

/// A source that does not exist is an error that names it, never an empty stream.
pub async fn unknown_source_is_refused<H: Harness>(harness: &H) {
    let stage = Stage::new(harness, 1).await;
    let missing = format!("{}-missing", stage.source);
    let spec = harness.spec(&missing, "g", Reset::Earliest);
    let refusal = async {
        let consumer = match stage.broker.consumer(spec).await {
            Ok(consumer) => consumer,
            Err(error) => return error,
        };
        loop {
            match consumer.pull(1).await {
                Err(error) if names(&error, &missing) => return error,
                Err(_) => harness.env().sleep(harness.quiet()).await,
                Ok(pulled) => panic!("a source that does not exist gave {pulled:?}"),
            }
        }
    };
    let error = harness.env().timeout("a refusal", harness.patience(), refusal).await;
    let error = error.expect("a source that does not exist is refused in time");
    assert!(names(&error, &missing), "the error names the source: {error}");
}

fn names(error: &Error, source: &str) -> bool {
    error.to_string().contains(source)
}

/// After a cut the next pulls mend the connection and nothing is lost; a deleted source is an error.
pub async fn pull_resumes_by_itself<H: Harness>(harness: &H) {
    let stage = Stage::new(harness, 1).await;
    let mut member = stage.join("g").await;
    stage.publish_texts(numbered(0..3)).await;
    let before = member.take(3).await;
    member.finish(before).await;
    if let Some(faults) = cuts(harness, "pull_resumes_by_itself after a cut") {
        faults.cut().await;
        // During the cut: errors that may pass, the word that the connection is gone, or waiting; never the end.
        let came = member.pull(10, harness.quiet()).await;
        assert!(matches!(came, Came::Nothing | Came::Void(_)), "{came:?} from a broker that is away");
        faults.mend().await;
        stage.publish_again(numbered(3..6)).await;
        let mut seen = BTreeSet::new();
        while !numbered(3..6).all(|text| seen.contains(&text)) {
            seen.extend(member.take(1).await.iter().map(text));
        }
    }
    deletion_is_noticed(&stage, &member).await;
}

async fn deletion_is_noticed<H: Harness>(stage: &Stage<'_, H>, member: &Member<'_, H>) {
    const CHECK: &str = "pull_resumes_by_itself from a source that is deleted";
    let harness = stage.harness;
    let Some(faults) = harness.faults() else { return skipped(CHECK, "the harness brings about no faults") };
    if !faults.delete(&stage.source).await {
        return skipped(CHECK, "the harness can't delete one");
    }
    let env = harness.env();
    let notice = async {
        loop {
            match member.consumer.pull(10).await {
                Err(error) => return error,
                // What was on its way, or that the partitions are gone.
                Ok(_) => env.sleep(harness.quiet() / 10).await,
            }
        }
    };
    let error = env.timeout("an error", harness.patience(), notice).await;
    error.expect("a source that was deleted under its reader is an error, never silence");
}
