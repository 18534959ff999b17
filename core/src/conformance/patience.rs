//! Waiting in checks: for a condition with a limit, or inside a transaction until the check says so.

use std::time::Duration;

use tokio::sync::watch;

use crate::env::Env;

/// Asks until `attempt` answers, with a pause between. Past `limit` the check fails and names `what`.
pub(crate) async fn until<T>(
    env: &Env,
    what: &str,
    limit: Duration,
    mut attempt: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = env.now() + limit;
    let pause = (limit / 200).clamp(Duration::from_millis(5), Duration::from_millis(100));
    loop {
        if let Some(answer) = attempt().await {
            return answer;
        }
        assert!(env.now() < deadline, "waited {limit:?} in vain: {what}");
        env.sleep(pause).await;
    }
}

/// A place where an effect waits inside its transaction until the check opens it.
#[derive(Debug, Clone)]
pub struct Gate {
    reached: watch::Sender<bool>,
    open: watch::Sender<bool>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { reached: watch::Sender::new(false), open: watch::Sender::new(false) }
    }
}

impl Gate {
    /// Called by the effect: says that it is here, and waits.
    pub async fn pass(&self) {
        self.reached.send_replace(true);
        wait(&self.open).await;
    }

    /// Waits until an effect has come to the gate.
    pub async fn reached(&self) {
        wait(&self.reached).await;
    }

    /// Lets everyone through, now and later.
    pub fn open(&self) {
        self.open.send_replace(true);
    }
}

async fn wait(flag: &watch::Sender<bool>) {
    let mut flag = flag.subscribe();
    // The sender lives in `self`, so that the wait can't end by its loss.
    drop(flag.wait_for(|set| *set).await);
}
