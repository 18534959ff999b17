//! The handler: behaves as the seed says, and records one effect.

use std::sync::Arc;

use keylane::{Context, Effects, Event, Failure, Routes, State};

use super::Lines;
use crate::store::{EffectRow, EffectTable};
use crate::workload::{Numbered, conduct};

/// What handlers decide by.
pub(super) struct Scene {
    pub(super) seed: u64,
    pub(super) long: u64,
}

pub(super) fn routes<S: EffectTable>(scene: Arc<Scene>, lines: Arc<Lines>) -> Routes {
    Routes::new().all(handle::<S>).wrap(move |call, next| lines.clone().around(call, next)).with_state(scene)
}

async fn handle<S: EffectTable>(
    event: Event<Numbered>,
    State(scene): State<Arc<Scene>>,
    mut fx: Effects<S>,
    cx: Context,
) -> Result<(), Failure> {
    let id = event.id();
    let conduct = conduct(scene.seed, scene.long, &id, cx.attempt());
    if !conduct.takes.is_zero() {
        tokio::time::sleep(conduct.takes).await;
    }
    if conduct.fails {
        return Err(Failure::new("this attempt fails, the seed says"));
    }
    let Numbered { key, number } = Numbered::clone(&event);
    let place = event.meta().place;
    let (partition, offset) = (place.partition, place.offset);
    let row = EffectRow {
        id,
        key,
        number,
        token: cx.fencing_token(),
        worker: std::process::id(),
        partition,
        offset,
    };
    S::record(&mut fx, row);
    Ok(())
}
