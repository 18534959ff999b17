//! Everything at once, by seed: databases go and come back, workers come, drain and die, and events go on coming.

use std::time::Duration;

use keylane::{Env, Handle};

use super::Stage;

/// So many of each kind; many more were run once.
const SEEDS: u64 = 3;

struct Storm {
    stage: Stage,
    chance: u64,
    workers: Vec<(Env, Handle)>,
    started: u64,
    broker: &'static str,
}

impl Storm {
    fn draw(&mut self, below: usize) -> usize {
        self.chance =
            self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.chance >> 33).unwrap() % below
    }

    async fn start(&mut self) {
        self.started += 1;
        // It starts only where all databases are there.
        if let Ok(worker) = self.stage.start_on(self.started, self.broker).await {
            self.workers.push(worker);
        }
    }

    async fn step(&mut self) {
        match self.draw(12) {
            0 | 1 => {
                let home = self.draw(self.stage.homes.len());
                self.stage.homes[home].set_away(true);
            }
            2..=4 => {
                let home = self.draw(self.stage.homes.len());
                self.stage.homes[home].set_away(false);
            }
            5 if self.workers.len() < 3 => self.start().await,
            6 if self.workers.len() > 1 => {
                let (_, handle) = self.workers.swap_remove(0);
                handle.shutdown();
            }
            7 if self.workers.len() > 1 => {
                let (env, _) = self.workers.swap_remove(0);
                env.abandon();
            }
            _ => {
                let each = 1 + self.draw(30);
                self.stage.publish(15, each).await;
            }
        }
        let millis = [3, 40, 400, 4_000][self.draw(4)];
        self.stage.clock.pass(Duration::from_millis(millis)).await;
    }
}

async fn storm(seed: u64, broker: &'static str) {
    let mut stage = Stage::with(3, 3);
    stage.more = match seed % 3 {
        0 => "budget = { messages_max = 30, waiting_max = 60 }",
        1 if broker == "memory" => {
            "ledger.mode = \"position\"\nbudget = { messages_max = 60, waiting_max = 60 }"
        }
        _ => "",
    };
    stage.publish(15, 1).await;
    let mut storm = Storm { stage, chance: seed, workers: Vec::new(), started: 0, broker };
    storm.start().await;
    for _ in 0..60 {
        storm.step().await;
    }
    for home in &storm.stage.homes {
        home.set_away(false);
    }
    storm.start().await;
    storm.stage.until_all().await;
    storm.stage.clock.pass(Duration::from_secs(20)).await;
    storm.stage.holds(broker == "memory").await;
    if broker == "memory" {
        storm.stage.until_told(3).await;
    }
}

/// Each seed on a clock of its own.
fn storms(seeds: std::ops::Range<u64>, broker: &'static str) {
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        println!("seed {seed}");
        runtime.block_on(storm(seed, broker));
    }
}

#[test]
fn s10_storms_over_partitions() {
    storms(0..SEEDS, "memory");
}

#[test]
fn s10_storms_over_a_queue() {
    storms(0..SEEDS, "memory_queues");
}
