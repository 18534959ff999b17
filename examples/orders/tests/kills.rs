//! Twenty times SIGKILL, at moments of chance, on the embedded default.

use std::time::{Duration, Instant};

use crate::eyes::{Seen, published_in_log};
use crate::process::Scene;
use crate::turns;

const KILLS: u32 = 20;

/// Chance from a seed that is printed: `ORDERS_TEST_SEED` runs the same moments again.
pub(crate) struct Moments(u64);

impl Moments {
    pub(crate) fn new() -> Self {
        let given = std::env::var("ORDERS_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()) * 7919);
        println!("ORDERS_TEST_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }
}

/// Every trouble of the workload is a dead letter of its sort, and nothing else is one: attempts that a
/// kill cut off were not counted as failures.
pub(crate) fn assert_dead_letters_are_the_workload_s(seen: &Seen) {
    let found: Vec<_> = seen.dead.iter().map(|(reason, ids)| (*reason, ids.len())).collect();
    let expected =
        [("conflict", 2), ("exhausted", 3), ("rejected", 4), ("undecodable", 3), ("unknown_kind", 2)];
    assert_eq!(found, expected, "{:?}", seen.dead);
}

/// Notices breaches of C1, C2, C3, C5, U1, T1, A3, S1 and L3 in a whole service.
#[test]
fn killed_twenty_times_every_event_has_one_effect_in_order() {
    let shipped = include_str!("../subscriptions.toml");
    let sooner = [
        ("session = \"2s\"", "session = \"1s\""),
        ("member_expiry = \"2s\"", "member_expiry = \"1s\""),
        // No kill may make a dead letter here: then the dead are known beforehand.
        ("crashes_max = 20", "crashes_max = 100"),
    ];
    let scene = Scene::new(shipped, &sooner);
    let mut moments = Moments::new();
    let mut killed = 0;
    while killed < KILLS {
        let mut orders = scene.start(&["--orders", "2500"]);
        let (began, traced) = (Instant::now(), scene.traced());
        // One in four dies young, wherever it is then; the others after some more lines of handlers.
        let (young, after) = (moments.below(4) == 0, moments.below(30_000));
        let waited = if young {
            let wait = Duration::from_millis(moments.below(250));
            orders.until(|| began.elapsed() >= wait)
        } else {
            orders.until(|| scene.traced() > traced + after)
        };
        assert!(waited && orders.kill(), "it ended before kill {}:\n{}", killed + 1, orders.said());
        scene.note(&format!("killed {}", orders.pid()));
        killed += 1;
    }
    let mut last = scene.start(&[]);
    let status = last.end();
    println!("{}", last.said());

    let turns = turns::check(&std::fs::read_to_string(scene.trace()).unwrap());
    assert_eq!(turns.violations, Vec::<String>::new());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let seen = runtime.block_on(async {
        let published = published_in_log(&scene.database(), "orders").await;
        Seen::in_file(&scene.database(), "orders", published).await
    });
    assert_eq!(seen.wrong(), Vec::<String>::new());
    assert_dead_letters_are_the_workload_s(&seen);
    assert!(seen.effects.iter().all(|(event, ..)| turns.done.contains(event)), "an effect nobody made");
    // The service's own word is asked for last.
    assert!(status.success(), "its account does not add up");
    println!("{} records, {} effects, {KILLS} kills", seen.records, seen.effects.len());
}
