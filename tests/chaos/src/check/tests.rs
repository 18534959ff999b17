//! The checker fed with histories that break each promise: it must name what is broken, and nothing else.

use super::{Breach, Happened, History, Published, Verdict};
use crate::plan::Kind;
use crate::store::Effect;
use crate::turns::{End, Life, Turn};
use crate::workload::Numbered;

const MS: u64 = 1_000_000;
const SESSION: u64 = 1_000 * MS;

/// Two events of `a` by process 1, then one of `b` by process 2; both are promised all the time.
fn fine() -> History {
    let mut history = History { session: SESSION, ordered: true, gap: SESSION, ..History::default() };
    for pid in [1, 2] {
        let promises = (0..20).map(|n| (n * 300 * MS, true)).collect();
        history.lives.insert(pid, Life { promises: [(0, promises)].into(), ..Life::default() });
        history.deaths.insert(pid, 6_000 * MS);
    }
    for (nth, (id, pid)) in (1..).zip([("a.1", 1), ("a.2", 1), ("b.1", 2)]) {
        publish(&mut history, id, nth * 100 * MS);
        run(&mut history, pid, id, nth * 100 * MS + 10 * MS, Some(nth * 100 * MS + 20 * MS));
        effect(&mut history, pid, id, nth * 100 * MS + 30 * MS);
    }
    history
}

fn publish(history: &mut History, id: &str, at: u64) {
    let event = Numbered::of(id).unwrap();
    history.published.push(Published { event, at });
}

fn run(history: &mut History, pid: u32, id: &str, start: u64, end: Option<u64>) {
    let end = end.map(|at| (at, End::Done));
    history.lives.entry(pid).or_default().turns.push(Turn { id: id.to_owned(), token: 1, start, end });
}

fn effect(history: &mut History, worker: u32, id: &str, at: u64) {
    history.effects.push(Effect { id: id.to_owned(), token: 1, worker, place: (0, 0), at });
}

fn fault(history: &mut History, kind: Kind, pid: u32, from: u64, until: u64) {
    history.faults.push(Happened { kind, pid: Some(pid), from, until });
}

/// What is broken, each once.
fn broken(history: &History) -> Vec<Breach> {
    let mut broken: Vec<Breach> =
        Verdict::of(history).findings.into_iter().map(|found| found.breach).collect();
    broken.sort_unstable();
    broken.dedup();
    broken
}

#[test]
fn what_is_fine_is_fine() {
    let verdict = Verdict::of(&fine());
    assert!(verdict.holds(), "{:?}", verdict.findings);
    assert_eq!((verdict.published, verdict.effects, verdict.runs), (3, 3, 3));
}

#[test]
fn an_effect_too_few_is_lost_or_stuck() {
    let mut history = fine();
    history.effects.remove(0);
    assert_eq!(broken(&history), [Breach::Lost], "a later one of its key was done");
    let mut history = fine();
    history.effects.remove(1);
    assert_eq!(broken(&history), [Breach::Stuck], "nothing behind it was done");
}

#[test]
fn a_dead_letter_is_lost() {
    let mut history = fine();
    history.dead.push("a.2".into());
    assert_eq!(broken(&history), [Breach::Lost]);
}

#[test]
fn an_effect_too_many_is_doubled() {
    let mut history = fine();
    effect(&mut history, 2, "b.1", 900 * MS);
    assert_eq!(broken(&history), [Breach::Doubled]);
    let mut history = fine();
    run(&mut history, 2, "c.1", 900 * MS, Some(901 * MS));
    effect(&mut history, 2, "c.1", 902 * MS);
    assert_eq!(broken(&history), [Breach::Doubled], "an effect of an event that was never published");
}

#[test]
fn effects_in_the_wrong_order_are_seen_where_order_is_promised() {
    let mut history = fine();
    history.effects.swap(0, 1);
    assert_eq!(broken(&history), [Breach::OutOfOrder]);
    history.ordered = false;
    assert!(broken(&history).is_empty());
}

#[test]
fn beginnings_in_the_wrong_order_are_seen_though_effects_stand_well() {
    let mut history = fine();
    publish(&mut history, "a.3", 1_000 * MS);
    publish(&mut history, "a.4", 1_000 * MS);
    run(&mut history, 1, "a.4", 1_010 * MS, Some(1_020 * MS));
    run(&mut history, 1, "a.3", 1_030 * MS, Some(1_040 * MS));
    run(&mut history, 1, "a.4", 1_050 * MS, Some(1_060 * MS));
    effect(&mut history, 1, "a.3", 1_100 * MS);
    effect(&mut history, 1, "a.4", 1_110 * MS);
    assert_eq!(broken(&history), [Breach::OutOfOrder]);
}

#[test]
fn runs_of_a_key_that_overlap_are_seen_in_one_process_and_in_two() {
    for other in [1, 2] {
        let mut history = fine();
        run(&mut history, other, "a.1", 115 * MS, Some(118 * MS));
        assert_eq!(broken(&history), [Breach::Overlapping], "process {other}");
    }
    // Behind a short run, the long one before it still holds the key.
    let mut history = fine();
    run(&mut history, 1, "b.1", 400 * MS, Some(900 * MS));
    run(&mut history, 2, "b.1", 950 * MS, Some(951 * MS));
    assert!(broken(&history).is_empty());
    run(&mut history, 2, "b.1", 899 * MS, Some(899 * MS));
    assert_eq!(broken(&history), [Breach::Overlapping]);
}

#[test]
fn a_run_of_a_dead_process_ends_with_it_and_not_before() {
    let mut history = fine();
    history.deaths.insert(1, 500 * MS);
    run(&mut history, 1, "b.1", 450 * MS, None);
    run(&mut history, 2, "b.1", 510 * MS, Some(520 * MS));
    assert!(broken(&history).is_empty());
    run(&mut history, 2, "b.1", 490 * MS, Some(495 * MS));
    assert_eq!(broken(&history), [Breach::Overlapping]);
}

/// Process 1 stands still from 1.1 s to 5 s; its last renewal was sent at 0.9 s, so it had until 1.9 s.
fn stopped() -> History {
    let mut history = fine();
    let life = history.lives.get_mut(&1).unwrap();
    let promises = (0..4).map(|n| (n * 300 * MS, true)).chain([(5_001 * MS, false), (5_100 * MS, true)]);
    life.promises = [(0, promises.collect())].into();
    fault(&mut history, Kind::Stop, 1, 1_100 * MS, 5_000 * MS);
    run(&mut history, 1, "a.2", 1_050 * MS, Some(5_002 * MS));
    history
}

/// Its session in another database was renewed a little later than the one under which the run was begun.
#[test]
fn of_the_promises_of_several_databases_the_first_to_end_counts() {
    let mut history = stopped();
    run(&mut history, 2, "a.2", 1_950 * MS, Some(1_960 * MS));
    assert!(broken(&history).iter().all(|breach| *breach != Breach::Overlapping), "after its promise");
    let life = history.lives.get_mut(&1).unwrap();
    life.promises.insert(1, vec![(0, true), (600 * MS, true), (1_090 * MS, true)]);
    assert!(broken(&history).iter().all(|breach| *breach != Breach::Overlapping), "the other one counts");
    history.lives.get_mut(&1).unwrap().promises.remove(&0);
    assert!(broken(&history).contains(&Breach::Overlapping), "within the only one that is left");
}

#[test]
fn a_run_that_outlives_its_promise_counts_until_the_promise_ends() {
    let mut history = stopped();
    run(&mut history, 2, "a.2", 1_910 * MS, Some(1_920 * MS));
    assert!(broken(&history).is_empty());
    assert_eq!(Verdict::of(&history).outlived, 1);
    let mut history = stopped();
    run(&mut history, 2, "a.2", 1_890 * MS, Some(1_895 * MS));
    assert_eq!(broken(&history), [Breach::Overlapping]);
}

#[test]
fn what_begins_without_a_promise_is_late_after_a_stop_and_a_breach_otherwise() {
    let mut history = stopped();
    run(&mut history, 1, "b.1", 5_000 * MS + MS / 2, Some(5_002 * MS));
    assert!(broken(&history).is_empty());
    assert_eq!(Verdict::of(&history).late, 1);
    history.faults.clear();
    assert_eq!(broken(&history), [Breach::Unpromised]);
}

#[test]
fn an_effect_of_a_worker_that_was_replaced_is_seen() {
    let mut history = fine();
    run(&mut history, 2, "a.2", 225 * MS, Some(228 * MS));
    history.lives.get_mut(&2).unwrap().turns[1].token = 2;
    assert_eq!(broken(&history), [Breach::Stale], "a.2 was written under 1 at 230 ms");
    history.effects[1].token = 2;
    assert!(broken(&history).is_empty());
}

#[test]
fn a_process_that_gives_up_and_lines_that_say_nothing_are_seen() {
    let mut history = fine();
    history.unasked.push("1 ended by itself".into());
    assert_eq!(broken(&history), [Breach::Ended]);
    let mut history = fine();
    history.lives.get_mut(&1).unwrap().torn.push("begin".into());
    assert_eq!(broken(&history), [Breach::Evidence]);
    let mut history = fine();
    history.lives.get_mut(&2).unwrap().turns.clear();
    assert_eq!(broken(&history), [Breach::Evidence], "an effect that nobody began");
}

#[test]
fn recovery_is_the_longest_standstill_of_a_key_with_work() {
    let mut history = fine();
    history.quiet = (0, 390 * MS);
    fault(&mut history, Kind::Kill, 2, 400 * MS, 450 * MS);
    // Published before the kill; runs for a second, from 2 s on.
    publish(&mut history, "b.2", 350 * MS);
    run(&mut history, 1, "b.2", 2_000 * MS, Some(3_000 * MS));
    effect(&mut history, 1, "b.2", 3_010 * MS);
    // Published after the next fault: none of this one's.
    fault(&mut history, Kind::StoreKill, 1, 4_000 * MS, 4_500 * MS);
    publish(&mut history, "b.3", 4_100 * MS);
    run(&mut history, 1, "b.3", 4_800 * MS, Some(4_900 * MS));
    effect(&mut history, 1, "b.3", 4_900 * MS);
    let verdict = Verdict::of(&history);
    assert!(verdict.holds(), "{:?}", verdict.findings);
    assert_eq!(verdict.recovery[&Kind::Kill].times, [1_600 * MS]);
    assert_eq!(verdict.recovery[&Kind::StoreKill].times, [300 * MS], "an outage counts from its end");
}

#[test]
fn throughput_that_does_not_come_back_is_below_one() {
    let mut history = History { session: SESSION, gap: 4_000 * MS, ..History::default() };
    history.quiet = (0, 4_000 * MS);
    fault(&mut history, Kind::Kill, 1, 4_000 * MS, 4_100 * MS);
    for nth in 0..400 {
        effect(&mut history, 1, &format!("a.{nth}"), nth * 10 * MS);
    }
    for nth in 0..200 {
        effect(&mut history, 1, &format!("b.{nth}"), 4_000 * MS + nth * 20 * MS);
    }
    let throughput = Verdict::of(&history).throughput;
    assert!((throughput.before.0 - 1.0).abs() < 0.05, "{throughput:?}");
    assert!((throughput.after.0 - 0.5).abs() < 0.05, "{throughput:?}");
}
