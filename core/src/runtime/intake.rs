//! From deliveries to items: which are new, what they carry, what is known of their earlier tries.

use std::sync::Arc;

use bytes::Bytes;

use super::Item;
use super::item::{History, Mark};
use super::leases::Leases;
use super::partitions::REMEDY;
use super::subscription::Subscription;
use super::tenure::{Progress, Tenure};
use crate::delivery::{Delivery, Place};
use crate::error::{Error, ErrorKind};
use crate::event::{Decoded, Envelope, PayloadHash, Record};
use crate::store::{AttemptRow, Death, Parked, Witness};
use crate::watermark::Delivered;

use super::settings::LedgerMode;
use super::spread::{Passed, fnv};

/// Takes in what was pulled. Deliveries of a partition whose tenure ended are dropped: they belong to
/// its next owner.
pub(crate) fn take_in(sub: &Arc<Subscription>, deliveries: Vec<Delivery>) -> Vec<Item> {
    let mut items = Vec::with_capacity(deliveries.len());
    let mut deliveries = deliveries.into_iter().peekable();
    while let Some(first) = deliveries.peek() {
        let place = first.place;
        let tenure = sub
            .tenures()
            .get(&place.partition)
            .filter(|tenure| tenure.claimed().claim.epoch == place.epoch)
            .cloned();
        // A run of one partition's deliveries takes its lock once.
        let run = std::iter::from_fn(|| {
            deliveries
                .next_if(|next| next.place.partition == place.partition && next.place.epoch == place.epoch)
        });
        match tenure.filter(|tenure| tenure.may_start()) {
            Some(tenure) => take_in_run(sub, &tenure, run, &mut items),
            None => run.for_each(drop),
        }
    }
    charge(sub, &items);
    items
}

/// Takes in what was pulled from a broker without partitions: into the lobby, where it waits for its lease.
pub(crate) fn take_in_leased(
    sub: &Arc<Subscription>,
    leases: &Leases,
    deliveries: Vec<Delivery>,
) -> Vec<Item> {
    let lobby = leases.lobby();
    lobby.opened(deliveries.len());
    let by_id = sub.settings.ledger == LedgerMode::Id;
    let items = deliveries.into_iter().map(|delivery| {
        let mut item = item_of(sub, &lobby, delivery.record, delivery.place, leases.nonce);
        item.ticket = Some(delivery.ticket);
        item.again = delivery.attempt != Some(1);
        if by_id && item.envelope.meta.id.is_place() && item.history.is_none() {
            // What the next delivery of it will not be known by can't be handled once.
            item.ledger = None;
            item.history().dead = Some((Death::Undecodable, NO_ID.to_owned()));
        } else if by_id && leases.local && item.again {
            // Rule T1: no lease says that somebody died with it, but it was handed over before.
            item.history().mark = Mark::Wanted;
        }
        item
    });
    let items: Vec<Item> = items.collect();
    charge(sub, &items);
    items
}

const NO_ID: &str = "it has no id, and a broker without partitions names it by nothing else: publish one with it, say \
    by `event.id` where it stands, or give up knowing duplicates with `ledger.mode = \"off\"`";

/// The same of parked events that an operator released: whoever takes the key's lease runs them (rule P3).
pub(crate) fn take_in_released_leased(
    sub: &Arc<Subscription>,
    leases: &Leases,
    released: Vec<Parked>,
) -> Vec<Item> {
    let lobby = leases.lobby();
    let mut items = Vec::new();
    for parked in released {
        if parked.scope != sub.settings.scope || !leases.releases(parked.parked_id()) {
            continue;
        }
        let place = Place { partition: parked.partition, epoch: 0, offset: parked.offset };
        let mut item = item_of(sub, &lobby, parked.record.clone(), place, parked.generation);
        was_parked(&mut item, parked);
        items.push(item);
    }
    lobby.opened(items.len());
    charge(sub, &items);
    items
}

/// One more try than it had: a release does not begin from nothing.
fn was_parked(item: &mut Item, parked: Parked) {
    let history = item.history();
    history.row = true;
    history.attempts = history.attempts.max(parked.attempts);
    history.crashes = history.crashes.max(parked.crashes);
    history.first_at = Some(parked.first_at);
    history.parked = Some(Box::new(parked));
}

/// Takes in what did not fit the window before.
pub(crate) fn take_in_stalled(sub: &Arc<Subscription>) -> Vec<Item> {
    let mut items = Vec::new();
    let tenures: Vec<_> = sub.tenures().values().cloned().collect();
    for tenure in tenures {
        let stalled = std::mem::take(&mut tenure.claimed().progress().stalled);
        if !stalled.is_empty() {
            tenure.claimed().let_go_on(&*sub.consumer, !tenure.may_start());
            take_in_run(sub, &tenure, stalled.into_iter(), &mut items);
        }
    }
    charge(sub, &items);
    items
}

/// Rule S10: what was read of a partition had nothing for this home. Its base moves over that.
pub(crate) fn pass(sub: &Arc<Subscription>, passed: &Passed) {
    let Some(tenure) = sub.tenures().get(&passed.partition).cloned() else { return };
    let of = tenure.claimed();
    if of.claim.epoch != passed.epoch || !tenure.may_start() {
        return;
    }
    let mut progress = of.progress();
    // What did not fit the window lies below, and comes first.
    if !progress.stalled.is_empty() {
        return;
    }
    let before = progress.watermark.base();
    if let Some(last) = passed.last {
        progress.witnesses.offer(last);
    }
    progress.watermark.seen_through(passed.below);
    // What is in flight may be on its way into the store's position already, without this.
    let moved = progress.watermark.base() > before || progress.watermark.in_flight() > 0;
    drop(progress);
    if moved && of.finish_plain(&[]) {
        sub.committer.dirty(&tenure);
    }
}

/// Takes in parked events that an operator released, as far as they are of our partitions and not in a
/// lane already (rules P2, P3).
pub(crate) fn take_in_released(sub: &Arc<Subscription>, released: Vec<Parked>) -> Vec<Item> {
    let mut items = Vec::new();
    for parked in released {
        let Some(tenure) = sub.tenures().get(&parked.partition).cloned() else { continue };
        if *tenure.scope() != parked.scope || !tenure.may_start() {
            continue;
        }
        let mut progress = tenure.claimed().progress();
        if !progress.releasing.insert(parked.offset) {
            continue;
        }
        let place =
            Place { partition: parked.partition, epoch: tenure.claimed().claim.epoch, offset: parked.offset };
        let mut item = item_of(sub, &tenure, parked.record.clone(), place, parked.generation);
        let mark = progress.marks_left > 0;
        // In another generation the offset may be another event's.
        let own = progress.tried.get(&parked.offset).is_some_and(|row| row.id == item.id());
        let tried = if own { progress.tried.remove(&parked.offset) } else { None };
        recall(sub, &mut item, tried, mark);
        was_parked(&mut item, parked);
        items.push(item);
    }
    for item in &items {
        item.tenure.opened(1);
    }
    charge(sub, &items);
    items
}

fn charge(sub: &Subscription, items: &[Item]) {
    let bytes = items.iter().map(|item| item.bytes as usize).sum();
    sub.budget.charge(items.len(), bytes);
}

fn take_in_run(
    sub: &Arc<Subscription>,
    tenure: &Arc<Tenure>,
    run: impl Iterator<Item = Delivery>,
    items: &mut Vec<Item>,
) {
    let before = items.len();
    let mut finished = 0;
    let mut progress = tenure.claimed().progress();
    let mut run = run.peekable();
    while let Some(delivery) = run.next() {
        if let Err(error) = known_again(&mut progress, &delivery) {
            drop(progress);
            tenure.lose();
            sub.stir_shards();
            return sub.halt(tenure.claimed().claim.partition, &error);
        }
        let offset = delivery.place.offset;
        if !progress.stalled.is_empty() {
            progress.stalled.push_back(delivery);
            continue;
        }
        match progress.watermark.deliver(offset) {
            Delivered::Fresh => {
                if run.peek().is_none() {
                    // One a run is enough to know the log by, and costs next to nothing (rule L2).
                    progress.witnesses.offer(witness(&delivery));
                }
                // Nearly always empty: a look costs less than a search.
                let tried = if progress.tried.is_empty() { None } else { progress.tried.remove(&offset) };
                let mark = progress.marks_left > 0;
                progress.marks_left = progress.marks_left.saturating_sub(1);
                if mutant!("l2-base-from-what-started") {
                    progress.watermark.finish(offset);
                }
                let mut item = item_of(sub, tenure, delivery.record, delivery.place, tenure.generation);
                // A released letter of another generation may have left tries under the same offset.
                let tried = tried.filter(|row| row.id == item.id());
                recall(sub, &mut item, tried, mark);
                items.push(item);
            }
            Delivered::AlreadyFinished => finished += 1,
            Delivered::Repeated => {}
            Delivered::OutOfWindow => {
                tenure.claimed().hold_back(&*sub.consumer);
                progress.stalled.push_back(delivery);
            }
        }
    }
    drop(progress);
    if finished > 0 {
        sub.chain.trace.duplicates(finished);
    }
    tenure.opened(items.len() - before);
}

/// Rule L2: the first record read must be the one that lay there when the position was written.
fn known_again(progress: &mut Progress, delivery: &Delivery) -> Result<(), Error> {
    let Some(expected) = progress.expected.take() else { return Ok(()) };
    let offset = delivery.place.offset;
    let record = &delivery.record;
    let same = offset > expected.offset
        || (fingerprint(record.key.as_ref(), &record.payload) == expected.hash
            && record.time == expected.time);
    if same {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::LogChanged,
        format!(
            "the record at offset {offset} is not the one that was handled there: the log was recreated or restored; \
             {REMEDY}"
        ),
    ))
}

pub(crate) fn witness(delivery: &Delivery) -> Witness {
    let record = &delivery.record;
    let hash = fingerprint(record.key.as_ref(), &record.payload);
    Witness { offset: delivery.place.offset, time: record.time, hash }
}

/// A hash that every process computes alike. It tells logs apart, it does not authenticate.
fn fingerprint(key: Option<&Bytes>, payload: &Bytes) -> u64 {
    fnv(key.map_or(&[][..], |key| key).iter().chain(payload.iter()))
}

fn item_of(
    sub: &Arc<Subscription>,
    tenure: &Arc<Tenure>,
    record: Record,
    place: Place,
    generation: u64,
) -> Item {
    let bytes = u32::try_from(record.footprint()).unwrap_or(u32::MAX);
    let (mut envelope, dead) = match sub.decoder.decode(record, place) {
        Decoded::Event(envelope) => (Arc::new(envelope), None),
        Decoded::Dead { envelope, death, why } => (Arc::new(envelope), Some((death, why))),
    };
    if generation > 0 {
        Arc::make_mut(&mut envelope).meta.id.read_in(generation);
    }
    let hash = sub.lane_hash(&envelope);
    let ledger =
        (sub.settings.ledger == LedgerMode::Id && !never_admitted(dead.as_ref())).then(|| digest(&envelope));
    let history = dead.map(|dead| Box::new(History { dead: Some(dead), ..History::default() }));
    Item {
        hash,
        envelope,
        tenure: tenure.clone(),
        ledger,
        bytes,
        ticket: None,
        flying: false,
        aside: false,
        again: true,
        history,
    }
}

/// What has no id of its own can't be looked up by it.
fn never_admitted(dead: Option<&(Death, String)>) -> bool {
    dead.is_some()
}

fn digest(envelope: &Envelope) -> PayloadHash {
    PayloadHash::of(envelope.body())
}

/// What earlier owners left of an event (rule T1).
pub(crate) fn recall(sub: &Subscription, item: &mut Item, tried: Option<AttemptRow>, mark: bool) {
    if mark && tried.is_none() {
        item.history().mark = Mark::Wanted;
    }
    let Some(row) = tried else { return };
    let history = item.history();
    history.row = true;
    history.attempts = row.attempts;
    // Begun, and not ended by who began it: that worker died with it, unless that is us, who lost a session.
    let begun = row.started_by.is_some();
    let died = row.started_by.is_some_and(|session| !sub.committer.had(session));
    history.crashes = row.crashes + u32::from(died && !mutant!("t1-deaths-are-not-counted"));
    history.first_at = Some(row.first_at);
    history.failures = if row.failure.is_empty() { Vec::new() } else { vec![row.failure] };
    if mark || begun {
        history.mark = Mark::Wanted;
    }
}
