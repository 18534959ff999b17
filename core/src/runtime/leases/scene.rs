//! The scene of each key's handlers.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::env::Env;
use crate::handler::{Begin, Scene};

/// What every scene of the subscription has.
pub(super) struct SceneOf {
    pub(super) env: Env,
    pub(super) subscription: Arc<str>,
    pub(super) begin: Begin,
}

impl SceneOf {
    pub(super) fn scene(&self, cancelled: &CancellationToken) -> Arc<Scene> {
        let Self { env, subscription, begin } = self;
        Arc::new(Scene {
            env: env.clone(),
            subscription: subscription.clone(),
            cancelled: cancelled.clone(),
            begin: begin.clone(),
        })
    }
}
