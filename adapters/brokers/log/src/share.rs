//! Which partitions of a stream belong to which member of a group: pure, and the same for everyone who
//! looks at the same rows.
//!
//! Shares differ by one at most, and as few partitions move as that allows: who has more than its share
//! gives up the highest ones, who has less takes free ones. Nothing moves from a living member to another
//! directly: it becomes free first, by its owner's doing. So every member can compute this by itself, at
//! its own time, from whatever it sees then, and the group comes to rest.

use keylane::broker::Partition;
use uuid::Uuid;

/// What one member has to do to come to its share.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Moves {
    /// To be taken: nobody has them.
    pub take: Vec<Partition>,
    /// To be given up, since others lack them.
    pub give: Vec<Partition>,
}

/// The moves of `me` in a group of living `members`, where `owners[p]` has partition p. Owners that are
/// no members count as nobody.
pub(crate) fn moves(me: Uuid, members: &[Uuid], owners: &[Option<Uuid>]) -> Moves {
    let owned_by = |member: Uuid| owners.iter().filter(move |owner| **owner == Some(member)).count();
    let mut order: Vec<(usize, Uuid)> = members.iter().map(|member| (owned_by(*member), *member)).collect();
    // Who has most keeps most: only then does a group at rest stay at rest.
    order.sort_unstable_by(|(a, x), (b, y)| b.cmp(a).then(x.cmp(y)));
    order.dedup();
    let mut free: Vec<Partition> = (0..)
        .zip(owners)
        .filter(|(_, owner)| !owner.is_some_and(|o| members.contains(&o)))
        .map(|(p, _)| p)
        .collect();
    free.reverse();
    for (at, (owned, member)) in order.iter().enumerate() {
        let share = share(owners.len(), order.len(), at);
        let missing = share.saturating_sub(*owned).min(free.len());
        let take = free.split_off(free.len() - missing);
        if *member == me {
            return Moves { take: take.into_iter().rev().collect(), give: surplus(me, owners, share) };
        }
    }
    Moves::default()
}

/// How many of `partitions` the member at place `at` of `members` gets.
fn share(partitions: usize, members: usize, at: usize) -> usize {
    partitions / members + usize::from(at < partitions % members)
}

fn surplus(me: Uuid, owners: &[Option<Uuid>], share: usize) -> Vec<Partition> {
    (0..).zip(owners).filter(|(_, owner)| **owner == Some(me)).map(|(p, _)| p).skip(share).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member(n: u8) -> Uuid {
        Uuid::from_u128(u128::from(n))
    }

    fn counts(members: &[Uuid], owners: &[Option<Uuid>]) -> Vec<usize> {
        members.iter().map(|m| owners.iter().filter(|o| **o == Some(*m)).count()).collect()
    }

    /// One member's turn: what it gives up becomes free, what is free it takes.
    fn turn(me: Uuid, members: &[Uuid], owners: &mut [Option<Uuid>]) -> usize {
        let moves = moves(me, members, owners);
        for p in &moves.give {
            assert_eq!(owners[*p as usize], Some(me), "gives up only its own");
            owners[*p as usize] = None;
        }
        for p in &moves.take {
            assert!(
                owners[*p as usize].is_none_or(|owner| !members.contains(&owner)),
                "takes only what is free"
            );
            owners[*p as usize] = Some(me);
        }
        moves.give.len() + moves.take.len()
    }

    #[test]
    fn the_first_member_takes_all() {
        let all = moves(member(1), &[member(1)], &[None; 4]);
        assert_eq!(all, Moves { take: vec![0, 1, 2, 3], give: vec![] });
    }

    #[test]
    fn a_second_member_gets_half_only_when_it_is_free() {
        let two = [member(1), member(2)];
        let mut owners = vec![Some(member(1)); 5];
        assert_eq!(moves(member(2), &two, &owners), Moves::default());
        assert_eq!(moves(member(1), &two, &owners), Moves { take: vec![], give: vec![3, 4] });
        owners[3..].fill(None);
        assert_eq!(moves(member(2), &two, &owners), Moves { take: vec![3, 4], give: vec![] });
    }

    #[test]
    fn a_dead_members_partitions_are_free() {
        let owners = [Some(member(1)), Some(member(9)), Some(member(1)), Some(member(9))];
        assert_eq!(moves(member(1), &[member(1)], &owners), Moves { take: vec![1, 3], give: vec![] });
    }

    #[test]
    fn who_is_no_member_has_no_share() {
        assert_eq!(moves(member(3), &[member(1)], &[None; 2]), Moves::default());
    }

    proptest! {
        /// From any state, members that act one at a time in any order come to equal shares, and rest.
        #[test]
        fn a_group_comes_to_rest(
            members in 1_u8..7,
            start in proptest::collection::vec(proptest::option::of(0_u8..9), 0..40),
            turns in proptest::collection::vec(any::<prop::sample::Index>(), 64),
        ) {
            let members: Vec<Uuid> = (0..members).map(member).collect();
            let mut owners: Vec<Option<Uuid>> = start.into_iter().map(|o| o.map(member)).collect();
            let fair = (owners.len() / members.len(), owners.len().div_ceil(members.len()));
            let mut moved = 0;
            for at in turns {
                moved += turn(members[at.index(members.len())], &members, &mut owners);
            }
            for me in members.iter().chain(&members) {
                moved += turn(*me, &members, &mut owners);
            }
            prop_assert!(counts(&members, &owners).iter().all(|c| (fair.0..=fair.1).contains(c)), "{owners:?}");
            prop_assert!(moved <= 2 * owners.len(), "{moved} moves");
            for me in &members {
                prop_assert_eq!(moves(*me, &members, &owners), Moves::default());
            }
        }
    }
}
