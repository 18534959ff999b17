//! What the readers decide, step by step on a clock that is set by hand.

use std::time::Duration;

use crate::broker::{Base, Start};
use crate::delivery::{Delivery, Place, Ticket};
use crate::env::Instant;
use crate::event::Record;
use crate::runtime::spread::Room;
use crate::runtime::spread::pump::{HOLD, PULL_MAX};
use crate::runtime::spread::readers::{Plan, Readers};

const ROOM: Room = Room { messages: 10, bytes: 1 << 30, kept: 10 };

fn at(millis: u64) -> Instant {
    Instant::at(Duration::from_millis(millis))
}

/// Two homes over one partition of which even offsets are the first one's, both started at 0.
struct Stage {
    readers: Readers,
    epoch: u64,
    next: u64,
}

impl Stage {
    fn new() -> Self {
        let mut readers = Readers::new(2, ROOM);
        readers.assigned(0, at(0));
        for home in 0..2 {
            readers.start(home, &Start { partition: 0, offset: 0, epoch: 3 }, at(0));
        }
        let mut stage = Self { readers, epoch: 0, next: 0 };
        stage.plan(0);
        stage
    }

    /// Does as the plan says.
    fn plan(&mut self, millis: u64) -> Plan {
        let plan = self.readers.plan(at(millis));
        for start in &plan.starts {
            assert!(start.epoch > self.epoch, "the epoch grows");
            (self.epoch, self.next) = (start.epoch, start.offset);
        }
        plan
    }

    fn read(&mut self, count: u64, millis: u64) {
        let epoch = self.epoch;
        let read = (self.next..self.next + count).map(|offset| {
            let place = Place { partition: 0, epoch, offset };
            let delivery =
                Delivery { record: Record::new("x"), place, attempt: None, ticket: Ticket::new(0) };
            (usize::try_from(offset % 2).unwrap(), delivery)
        });
        self.next += count;
        let read: Vec<_> = read.collect();
        self.readers.hand_out(
            read,
            &[(0, crate::store::Witness { offset: self.next - 1, time: None, hash: 0 })],
            at(millis),
        );
    }

    fn take(&mut self, home: usize) -> Vec<u64> {
        self.readers.take(home, 1000).iter().map(|delivery| delivery.place.offset).collect()
    }
}

#[test]
fn s10_a_home_that_takes_nothing_is_left_out_and_read_for_again() {
    let mut stage = Stage::new();
    stage.read(20, 0);
    assert_eq!(stage.take(1).len(), 10);
    let held = stage.plan(1);
    assert_eq!((held.credits, held.until), (0, Some(at(1) + HOLD)), "for a moment all wait");
    let mut given = 0;
    for step in 0..100 {
        let now = 200 + step;
        let plan = stage.plan(now);
        assert_eq!((plan.credits, plan.starts.len()), (PULL_MAX, 0));
        stage.read(10, now);
        given += stage.take(1).len();
    }
    assert_eq!(given, 500, "the other goes on");
    assert_eq!(stage.take(0), (0..20).step_by(2).collect::<Vec<_>>(), "no more than its room lay here");
    // There is room: the reader goes back to the first that was left out, not at once.
    let plan = stage.plan(299);
    let back = plan.until.unwrap();
    assert!(plan.starts.is_empty() && back > at(299));
    let plan = stage.plan(900);
    assert_eq!(plan.starts, [Start { partition: 0, offset: 20, epoch: stage.epoch }]);
    stage.read(6, 900);
    assert_eq!(stage.take(0), [20, 22, 24]);
    assert!(stage.take(1).is_empty(), "the other had these");
    // And forward again, when its time is over.
    assert_eq!(stage.plan(1_000).starts, []);
    let plan = stage.plan(1_500);
    assert_eq!(plan.starts, [Start { partition: 0, offset: 1_020, epoch: stage.epoch }]);
    stage.read(2, 1_500);
    assert_eq!((stage.take(0), stage.take(1)), (vec![], vec![1_021]), "it goes on at 26 later, in order");
    assert_eq!(stage.plan(2_100).starts, [Start { partition: 0, offset: 26, epoch: stage.epoch }]);
}

#[test]
fn s10_what_comes_of_an_older_epoch_is_dropped() {
    let mut stage = Stage::new();
    stage.read(4, 0);
    assert_eq!((stage.take(0), stage.take(1)), (vec![0, 2], vec![1, 3]));
    // A home that starts further back makes the reader go there at once.
    stage.readers.start(0, &Start { partition: 0, offset: 0, epoch: 4 }, at(1));
    let before = stage.epoch;
    stage.plan(1);
    let (epoch, next) = (std::mem::replace(&mut stage.epoch, before), std::mem::replace(&mut stage.next, 4));
    stage.read(4, 1);
    assert_eq!((stage.take(0), stage.take(1)), (vec![], vec![]));
    (stage.epoch, stage.next) = (epoch, next);
    stage.read(8, 1);
    assert_eq!((stage.take(0), stage.take(1)), (vec![0, 2, 4, 6], vec![5, 7]));
}

#[test]
fn s10_the_base_is_the_least_of_all_homes() {
    let mut stage = Stage::new();
    let base = |offset| [Base { partition: 0, epoch: 3, offset }];
    assert_eq!(stage.readers.commit(0, &base(8)), [], "the other never said");
    let told = |offset| [Base { partition: 0, epoch: stage.epoch, offset }];
    let (five, eight) = (told(5), told(8));
    assert_eq!(stage.readers.commit(1, &base(5)), five);
    assert_eq!(stage.readers.commit(1, &base(5)), [], "that is told already");
    assert_eq!(stage.readers.commit(1, &base(11)), eight);
    let stale = Base { partition: 0, epoch: 2, offset: 90 };
    assert_eq!(stage.readers.commit(0, &[stale]), []);
    assert_eq!(stage.readers.tell_again(&[Start { partition: 0, offset: 0, epoch: 0 }]), eight);
}

#[test]
fn s10_a_home_hears_that_nothing_was_there_for_it_once_a_second() {
    let mut stage = Stage::new();
    stage.read(3, 0);
    assert_eq!(stage.readers.passed(1, at(5_000)).map(drop), Err(None), "what lies here comes first");
    assert_eq!(stage.take(1), [1]);
    assert_eq!(stage.readers.passed(1, at(999)).unwrap_err(), Some(at(1_000)));
    let passed = stage.readers.passed(1, at(1_000)).unwrap();
    assert_eq!((passed.below, passed.epoch, passed.last.map(|last| last.offset)), (3, 3, Some(2)));
    assert_eq!(stage.readers.passed(1, at(9_000)), Err(None), "it knows");
}

#[test]
fn l2_a_home_is_shown_what_it_has_finished_whomever_it_was_for() {
    let mut stage = Stage::new();
    stage.readers.seat(1, 0).unwrap().will_show(4, 3);
    stage.readers.start(1, &Start { partition: 0, offset: 1, epoch: 4 }, at(1));
    stage.read(7, 1);
    assert_eq!((stage.take(0), stage.take(1)), (vec![0, 2, 4, 6], vec![1, 2, 3, 5]));
}

#[test]
fn s10_what_lies_here_of_a_paused_partition_keeps_a_home_from_no_other() {
    let mut stage = Stage::new();
    stage.read(20, 0);
    assert_eq!(stage.plan(0).credits, 0, "it is full");
    let others = stage.take(1).len();
    // Long after the others stopped waiting; one more home is idle from now on.
    stage.readers.assigned(1, at(500));
    for home in 0..2 {
        stage.readers.start(home, &Start { partition: 1, offset: 0, epoch: 3 }, at(500));
    }
    stage.readers.set_paused(1, None, true);
    assert_eq!((others, stage.readers.plan(at(500)).credits), (10, 0));
    stage.readers.set_paused(0, Some(&[0]), true);
    let plan = stage.readers.plan(at(501));
    assert_eq!((plan.credits, plan.starts.len()), (PULL_MAX, 1), "partition 1 is read for it");
}

#[test]
fn s10_the_epoch_grows_from_worker_to_worker_though_a_home_begins_late() {
    let mut stage = Stage::new();
    let before = stage.epoch;
    // Another worker, whose second home takes over later, at the place where the first is.
    stage.readers = Readers::new(2, ROOM);
    stage.readers.assigned(0, at(0));
    stage.readers.start(0, &Start { partition: 0, offset: 0, epoch: 4 }, at(0));
    stage.epoch = 0;
    stage.plan(0);
    stage.read(2, 0);
    assert_eq!(stage.take(0), [0]);
    stage.readers.start(1, &Start { partition: 0, offset: 2, epoch: 4 }, at(1));
    let starts = stage.plan(1).starts;
    assert_eq!(starts.iter().map(|start| start.offset).collect::<Vec<_>>(), [2], "where it was");
    assert!(stage.epoch > before, "{} and {before}", stage.epoch);
    assert_eq!(stage.plan(2).starts, [], "once");
    stage.read(3, 2);
    assert_eq!((stage.take(0), stage.take(1)), (vec![2, 4], vec![3]));
}
