//! Who has which partition: balanced, sticky, and handed over only after the handback or its limit.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use super::server::{Group, Member, News};
use crate::broker::{Base, Partition};
use crate::env::Instant;

/// Who has a partition.
#[derive(Clone, Copy)]
pub(super) enum Hold {
    Free,
    Held(u64),
    /// On its way from this member to someone else; until then, or until the instant, it is nobody else's.
    Revoking(u64, Instant),
}

impl Hold {
    pub(super) fn member(&self) -> Option<u64> {
        match self {
            Self::Free => None,
            Self::Held(member) | Self::Revoking(member, _) => Some(*member),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Revoking(_, deadline) => Some(*deadline),
            Self::Free | Self::Held(_) => None,
        }
    }
}

impl Group {
    /// Takes a member in. Revocations that this brings wait for their handback until `limit`.
    pub(super) fn join(&mut self, member: u64, partitions: usize, limit: Instant) {
        for partition in 0..u32::try_from(partitions).unwrap_or(u32::MAX) {
            self.holds.entry(partition).or_insert(Hold::Free);
        }
        self.members.insert(member, Member::default());
        self.balance(limit);
    }

    /// Takes a member out; what it had is free at once.
    pub(super) fn leave(&mut self, member: u64, limit: Instant) {
        self.members.remove(&member);
        for hold in self.holds.values_mut().filter(|hold| hold.member() == Some(member)) {
            *hold = Hold::Free;
        }
        self.balance(limit);
    }

    /// The member has let go: commits its last bases and passes the partitions on.
    pub(super) fn handed_back(&mut self, member: u64, gone: &[Partition], bases: &[Base], limit: Instant) {
        let under_way = |partition: &Partition| matches!(self.holds.get(partition), Some(Hold::Revoking(of, _)) if *of == member);
        let gone: Vec<Partition> = gone.iter().copied().filter(under_way).collect();
        let bases: Vec<Base> = bases.iter().copied().filter(|base| gone.contains(&base.partition)).collect();
        self.commit(member, &bases);
        self.end(member, &gone);
        self.balance(limit);
    }

    /// Ends revocations whose limit has passed: the partitions are lost to who had them.
    pub(super) fn expire(&mut self, now: Instant, handback_limit: Duration) -> bool {
        let mut late: BTreeMap<u64, Vec<Partition>> = BTreeMap::new();
        for (partition, hold) in &self.holds {
            if let Hold::Revoking(member, deadline) = hold
                && *deadline <= now
            {
                late.entry(*member).or_default().push(*partition);
            }
        }
        for (member, partitions) in &late {
            self.end(*member, partitions);
            if let Some(member) = self.members.get_mut(member) {
                member.news.push(News::Lost(partitions.clone()));
            }
        }
        if !late.is_empty() {
            self.balance(now + handback_limit);
        }
        !late.is_empty()
    }

    fn end(&mut self, member: u64, partitions: &[Partition]) {
        for partition in partitions {
            self.holds.insert(*partition, Hold::Free);
            if let Some(member) = self.members.get_mut(&member) {
                member.reading.remove(partition);
                // A pause belongs to a tenure.
                member.paused.remove(partition);
            }
        }
    }

    /// Revokes what a member has above its share, and gives what is free to who is below.
    fn balance(&mut self, limit: Instant) {
        let shares = self.shares();
        for (member, share) in &shares {
            let excess: Vec<Partition> = self.held(*member).into_iter().skip(*share).collect();
            self.hand(*member, excess, Hold::Revoking(*member, limit), News::Revoking);
        }
        for (member, share) in shares {
            let room = share.saturating_sub(self.held(member).len());
            let free = self.holds.iter().filter(|(_, hold)| matches!(hold, Hold::Free));
            let given: Vec<Partition> = free.map(|(partition, _)| *partition).take(room).collect();
            self.hand(member, given, Hold::Held(member), News::Assigned);
        }
    }

    /// How many partitions each member is due. Who has more already keeps the odd one.
    fn shares(&self) -> Vec<(u64, usize)> {
        let members = self.members.len().max(1);
        let (least, odd) = (self.holds.len() / members, self.holds.len() % members);
        let mut order: Vec<u64> = self.members.keys().copied().collect();
        order.sort_by_key(|member| Reverse(self.held(*member).len()));
        order.into_iter().enumerate().map(|(at, member)| (member, least + usize::from(at < odd))).collect()
    }

    fn held(&self, member: u64) -> Vec<Partition> {
        let held = self.holds.iter().filter(|(_, hold)| matches!(hold, Hold::Held(of) if *of == member));
        held.map(|(partition, _)| *partition).collect()
    }

    fn hand(
        &mut self,
        member: u64,
        partitions: Vec<Partition>,
        hold: Hold,
        news: fn(Vec<Partition>) -> News,
    ) {
        if partitions.is_empty() {
            return;
        }
        self.holds.extend(partitions.iter().map(|partition| (*partition, hold)));
        if let Some(member) = self.members.get_mut(&member) {
            member.news.push(news(partitions));
        }
    }
}
