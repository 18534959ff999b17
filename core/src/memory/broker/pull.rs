//! What a pull finds on the server at one moment.

use super::assign::Hold;
use super::log::Log;
use super::server::{Group, News, Source};
use crate::broker::Partition;
use crate::delivery::{Delivery, Place, Ticket};
use crate::env::Instant;

/// What a look brought.
pub(super) enum Look {
    Change(News),
    Deliveries(Vec<Delivery>),
    /// Nothing before somebody changes something, or this instant.
    Nothing(Option<Instant>),
}

/// Changes come before deliveries, so that nothing of a partition is delivered after the word that it is
/// going. `None`: the member is not there.
pub(super) fn look(source: &mut Source, group: &str, member: u64, credits: usize) -> Option<Look> {
    let of_group = source.groups.get_mut(group)?;
    let deadline = of_group.deadline();
    let news = &mut of_group.members.get_mut(&member)?.news;
    if !news.is_empty() {
        return Some(Look::Change(news.remove(0)));
    }
    if let Some(broken) = broken(source, group, member) {
        return Some(Look::Change(broken));
    }
    let deliveries = deliveries(source, group, member, credits);
    Some(if deliveries.is_empty() { Look::Nothing(deadline) } else { Look::Deliveries(deliveries) })
}

/// L2: a gap is never passed over in silence.
fn broken(source: &mut Source, group: &str, number: u64) -> Option<News> {
    let Source { partitions, groups, .. } = source;
    let member = groups.get_mut(group)?.members.get_mut(&number)?;
    let low_of = |at: Partition| partitions.get(at as usize).map_or(0, Log::low);
    let overtaken = member.reading.iter_mut().find(|(at, r)| !r.broken && r.next < low_of(**at));
    let (partition, reading) = overtaken?;
    reading.broken = true;
    Some(News::Broken { partition: *partition, reading: *reading, low: low_of(*partition) })
}

fn deliveries(source: &mut Source, group: &str, number: u64, credits: usize) -> Vec<Delivery> {
    let Source { partitions, groups, .. } = source;
    let Some(Group { members, holds, .. }) = groups.get_mut(group) else { return Vec::new() };
    let Some(member) = members.get_mut(&number) else { return Vec::new() };
    // Nothing more of a partition once its revocation began.
    let mine = |at: &Partition| matches!(holds.get(at), Some(Hold::Held(of)) if *of == number);
    let whole = member.reading.iter().filter(|(_, reading)| !reading.broken).map(|(at, _)| at);
    let open = whole.filter(|at| mine(at) && !member.paused.contains(at));
    let mut open: Vec<Partition> = open.copied().collect();
    let first = open.iter().position(|partition| *partition >= member.turn).unwrap_or(0);
    open.rotate_left(first);
    let mut deliveries = Vec::new();
    for partition in open {
        if deliveries.len() == credits {
            break;
        }
        member.turn = partition + 1;
        let Some(reading) = member.reading.get_mut(&partition) else { continue };
        while deliveries.len() < credits
            && let Some((offset, record)) = partitions[partition as usize].from(reading.next)
        {
            reading.next = offset + 1;
            let place = Place { partition, epoch: reading.epoch, offset };
            // This broker settles positions; nobody asks a ticket's number.
            deliveries.push(Delivery {
                record: record.clone(),
                place,
                attempt: None,
                ticket: Ticket::new(offset),
            });
        }
    }
    deliveries
}
